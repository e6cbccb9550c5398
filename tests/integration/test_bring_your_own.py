"""Models from elsewhere: a checkpoint on a bucket, and graphs that other tools exported."""

import json
import logging
import shutil
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
from google.cloud import storage
from onnx import TensorProto, helper, numpy_helper
from prep_triton.architectures import Architecture
from prep_triton.cli.app import app
from prep_triton.errors import ParityError, SourceError
from prep_triton.export.heads import class_name
from prep_triton.export.source import name_from_place
from prep_triton.precision.fp16.stage import convert_to_fp16
from prep_triton.precision.int8.stage import quantize_for_openvino
from prep_triton.run.export import export_from_anywhere
from prep_triton.spec import CalibrationSpec, GateSpec, ModelSpec, QuantizationSpec
from prep_triton.workspace import Workspace
from typer.testing import CliRunner

from tests.fakes.architectures import draw_architecture
from tests.fakes.bert_checkpoint import CONFIG, write_checkpoint

pytestmark = pytest.mark.integration


def upload(bucket: str, folder: Path, prefix: str) -> None:
    for path in folder.iterdir():
        storage.Client().bucket(bucket).blob(f"{prefix}/{path.name}").upload_from_filename(path)


def test_a_checkpoint_on_a_bucket_is_fetched_once_and_exported_as_from_a_folder(
    gcs_bucket: str, tmp_path: Path
) -> None:
    bucket = gcs_bucket.removeprefix("gs://").split("/")[0]
    upload(bucket, write_checkpoint(tmp_path / "folder"), "a/my-bert")
    workspace = Workspace(tmp_path / "build")
    spec = ModelSpec(model=f"gs://{bucket}/a/my-bert/")
    exported = export_from_anywhere(spec, workspace)
    assert exported.artifact.name == "my-bert" == name_from_place(spec.model)
    assert exported.artifact.source.startswith(f"gs://{bucket}/a/my-bert@")
    assert exported.artifact.parity.max_abs_error < 1e-4
    assert export_from_anywhere(spec, workspace).reused
    upload(bucket, write_checkpoint(tmp_path / "trained", seed=1), "a/my-bert")
    again = export_from_anywhere(spec, workspace)
    assert not again.reused
    local = export_from_anywhere(ModelSpec(model=str(tmp_path / "trained")), Workspace(tmp_path / "other"))
    assert again.artifact.path("model.onnx").read_bytes() == local.artifact.path("model.onnx").read_bytes()


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with a head, as save_pretrained() writes it."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    folder = write_checkpoint(tmp_path_factory.mktemp("byo") / "classifier")
    sizes = {key: value for key, value in CONFIG.items() if key not in ("model_type", "architectures")}
    torch.manual_seed(1)
    config = BertConfig(**sizes, num_labels=3, initializer_range=0.3)
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder


def trace(checkpoint: Path, path: Path, **more: object) -> Path:
    """Export with torch.onnx's tracing, named as optimum names inputs and axes."""
    import torch
    from transformers import BertForSequenceClassification

    model = BertForSequenceClassification.from_pretrained(checkpoint, attn_implementation="eager").eval()
    ids = torch.randint(0, 100, (2, 9))
    names = ["input_ids", "attention_mask", "token_type_ids"]
    axes = {name: {0: "batch_size", 1: "sequence_length"} for name in names}
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "token_type_ids": torch.zeros_like(ids)}
    options = {"input_names": names, "output_names": ["logits"], "dynamic_axes": axes, "opset_version": 17, **more}
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model, (), str(path), kwargs=inputs, dynamo=False, **options)
    return path


@pytest.fixture(scope="module")
def traced(classifier: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trace(classifier, tmp_path_factory.mktemp("traced") / "model.onnx")


def bring(graph: Path, workspace: Path, **more: object):
    return export_from_anywhere(ModelSpec(model=str(graph), **more), Workspace(workspace)).artifact


def test_a_traced_graph_answers_as_pytorch_and_goes_through_the_chain(
    classifier: Path, traced: Path, tmp_path: Path
) -> None:
    model = bring(traced, tmp_path, checkpoint=str(classifier), name="own")
    assert model.reference == "pytorch" and model.parity.max_abs_error < 1e-4
    assert model.labels == ("LABEL_0", "LABEL_1", "LABEL_2") and model.task == "text-classification"
    assert [tensor.name for tensor in model.model_inputs] == ["input_ids", "attention_mask", "token_type_ids"]
    assert {"model.onnx", "reference.npz", "tokenizer.json", "library.json"} <= set(model.files)
    half = convert_to_fp16(model, Workspace(tmp_path)).artifact
    assert half.precision == "fp16" and half.graph_bytes < 0.7 * model.graph_bytes
    rows = np.random.default_rng(0).integers(5, CONFIG["vocab_size"], (100, 12))
    np.savez(tmp_path / "rows.npz", input_ids=rows, attention_mask=np.ones_like(rows))
    spec = QuantizationSpec(calibration=CalibrationSpec(path=str(tmp_path / "rows.npz"), samples=32), search=False)
    quantized = quantize_for_openvino(model, spec, Workspace(tmp_path), gate=GateSpec(min_cosine=0.9)).artifact
    assert quantized.quantization.linear_flops_share > 0.9


def test_without_weights_it_is_compared_with_itself_and_says_so(
    classifier: Path, traced: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    beside = tmp_path / "exported"
    shutil.copytree(classifier, beside, ignore=shutil.ignore_patterns("*.safetensors"))
    shutil.copy(traced, beside)
    with caplog.at_level(logging.WARNING):
        model = bring(beside / "model.onnx", tmp_path / "build")
    assert model.name == "exported" and model.reference == "onnxruntime" and model.parity is None
    assert "with itself in ONNX Runtime alone" in caplog.text


def test_weights_beside_the_graph_and_int32_ids_are_taken(classifier: Path, traced: Path, tmp_path: Path) -> None:
    proto = onnx.load(traced)
    for entry in proto.graph.input:
        entry.type.tensor_type.elem_type = TensorProto.INT32
    proto.graph.output[0].name = "1234"
    for node in proto.graph.node:
        node.output[:] = ["1234" if name == "logits" else name for name in node.output]
    casts = []
    for entry in proto.graph.input:  # what reads the ids takes INT64
        casts.append(helper.make_node("Cast", [entry.name], [f"{entry.name}_64"], to=TensorProto.INT64))
        for node in proto.graph.node:
            node.input[:] = [f"{entry.name}_64" if name == entry.name else name for name in node.input]
    nodes = [*casts, *proto.graph.node]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    path = tmp_path / "mine.onnx"
    onnx.save(proto, path, save_as_external_data=True, location="weights.bin", size_threshold=64)
    model = bring(path, tmp_path / "build", checkpoint=str(classifier))
    assert model.name == "mine" and model.reference == "pytorch"
    assert {tensor.dtype for tensor in model.model_inputs} == {"INT64"}
    assert [tensor.name for tensor in model.model_outputs] == ["logits"]


def trace_architecture(architecture: Architecture, folder: Path, names: tuple[str, ...]) -> tuple[Path, Path]:
    """Draw a classifier and trace it with these inputs; return its folder and the graph."""
    import torch
    import transformers

    checkpoint = draw_architecture(folder / architecture, architecture, "text-classification")
    kind = getattr(transformers, class_name(architecture, "text-classification"))
    model = kind.from_pretrained(checkpoint).eval()
    ids = torch.randint(5, 20, (2, 9))
    values = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "token_type_ids": torch.zeros_like(ids)}
    axes = {name: {0: "batch_size", 1: "sequence_length"} for name in names}
    options = {"input_names": list(names), "output_names": ["logits"], "dynamic_axes": axes, "opset_version": 17}
    inputs, path = {name: values[name] for name in names}, folder / "model.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model, (), str(path), kwargs=inputs, dynamo=False, **options)
    return checkpoint, path


IDS = ("input_ids", "attention_mask")


@pytest.mark.parametrize(
    ("architecture", "names", "taken"),
    [
        ("roberta", IDS, IDS),
        ("roberta", (*IDS, "token_type_ids"), IDS),
        ("mpnet", IDS, IDS),
        ("electra", (*IDS, "token_type_ids"), (*IDS, "token_type_ids")),
    ],
)
def test_other_architectures_have_the_inputs_of_their_own_exports(architecture, names, taken, tmp_path: Path) -> None:
    """RoBERTa's class takes token types, of which it has one: in the graph they are zeros."""
    checkpoint, graph = trace_architecture(architecture, tmp_path, names)
    model = bring(graph, tmp_path / "build", checkpoint=str(checkpoint))
    assert (model.architecture, model.reference) == (architecture, "pytorch")
    assert model.parity.max_abs_error < 1e-4
    assert tuple(tensor.name for tensor in model.model_inputs) == taken


def test_token_types_that_are_only_0_are_fed_to_a_graph_without_weights_and_unknown_inputs_refused(
    tmp_path: Path,
) -> None:
    checkpoint, graph = trace_architecture("roberta", tmp_path, (*IDS, "token_type_ids"))
    (checkpoint / "model.safetensors").unlink()
    assert bring(graph, tmp_path / "build", checkpoint=str(checkpoint)).reference == "onnxruntime"
    proto = onnx.load(graph)
    proto.graph.input.add().CopyFrom(helper.make_tensor_value_info("position_ids", TensorProto.INT64, ["b", "s"]))
    onnx.save(proto, graph)
    with pytest.raises(SourceError, match="expected input_ids, attention_mask, and not position_ids") as refused:
        bring(graph, tmp_path / "build", checkpoint=str(checkpoint))
    assert refused.value.hint == "export it with input_ids, attention_mask alone, and these names in input_names"


def change(traced: Path, target: Path, edit) -> Path:
    proto = onnx.load(traced)
    edit(proto)
    onnx.save(proto, target)
    return target


def add_custom(proto) -> None:
    proto.graph.node[0].domain = "my.company"


def add_fixed_axis(proto) -> None:
    proto.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 128


def drop_mask(proto) -> None:
    del proto.graph.input[1]


def rename_output(proto) -> None:
    proto.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 7
    proto.graph.output[0].name = "scores"


def age(proto) -> None:
    proto.opset_import[0].version = 11


def quantize(proto, zero: int = 0) -> None:
    """Quantise one weight, as others do: explicit Q/DQ with a zero point."""
    weight = next(tensor for tensor in proto.graph.initializer if len(tensor.dims) == 2)
    values = np.clip(np.rint(numpy_helper.to_array(weight) * 100) + zero, -128, 127).astype(np.int8)
    constants = {"stored": values, "scale": np.float32(0.01), "zero": np.int8(zero)}
    name = weight.name
    proto.graph.initializer.remove(weight)
    proto.graph.initializer.extend(numpy_helper.from_array(np.asarray(value), key) for key, value in constants.items())
    proto.graph.node.insert(0, helper.make_node("DequantizeLinear", [*constants], [name]))


def shift_zero_point(proto) -> None:
    quantize(proto, zero=5)


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (add_custom, "custom operators my.company"),
        (add_fixed_axis, "expected two free axes"),
        (drop_mask, "lacks attention_mask"),
        (rename_output, "has the outputs scores"),
        (age, "opset 11; prep takes 13"),
        (quantize, r"is quantized already \(DequantizeLinear\), expected an FP32"),
        (shift_zero_point, r"\(DequantizeLinear, with zero points other than 0, which TensorRT refuses and OpenVINO"),
    ],
)
def test_what_is_not_such_a_graph_is_refused_in_a_sentence(
    edit, sentence: str, classifier: Path, traced: Path, tmp_path: Path
) -> None:
    with pytest.raises(SourceError, match=sentence):
        bring(change(traced, tmp_path / "m.onnx", edit), tmp_path / "build", checkpoint=str(classifier))


def test_a_graph_of_other_weights_than_its_checkpoint_is_refused(
    classifier: Path, traced: Path, tmp_path: Path
) -> None:
    def spoil(proto) -> None:
        weight = next(tensor for tensor in proto.graph.initializer if "word_embeddings" in tensor.name)
        weight.raw_data = bytes(len(weight.raw_data))

    with pytest.raises(ParityError, match="from PyTorch"):
        bring(change(traced, tmp_path / "m.onnx", spoil), tmp_path / "build", checkpoint=str(classifier))


def test_a_graph_alone_asks_for_its_checkpoint(traced: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no config.json beside") as refused:
        bring(traced, tmp_path)
    assert "--checkpoint" in refused.value.hint
    shutil.copy(traced, tmp_path / "m.onnx")
    (tmp_path / "config.json").write_text(json.dumps({**CONFIG, "vocab_size": 50}))
    with pytest.raises(SourceError, match="100 rows of word embeddings"):
        bring(tmp_path / "m.onnx", tmp_path / "build", task="text-classification")


def test_a_run_says_of_a_graph_alone_that_pytorch_did_not_answer(
    classifier: Path, traced: Path, tmp_path: Path
) -> None:
    beside = tmp_path / "alone"
    shutil.copytree(classifier, beside, ignore=shutil.ignore_patterns("*.safetensors"))
    shutil.copy(traced, beside)
    repository = tmp_path / "repository"
    config = {"models": [{"model": str(beside / "model.onnx"), "variants": [{"runtime": "onnxruntime"}]}]}
    path = tmp_path / "prep.yaml"
    path.write_text(json.dumps({**config, "repository": str(repository), "verify": {"enabled": False}}))
    answer = CliRunner().invoke(app, ["run", str(path), "--workspace", str(tmp_path / "build")])
    assert answer.exit_code == 0, answer.output
    assert "no PyTorch reference: compared with itself" in answer.output
    assert (repository / "alone-onnx-fp32" / "config.pbtxt").is_file()
