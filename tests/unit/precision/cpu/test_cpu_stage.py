import numpy as np
import onnx
import pytest
from onnx import TensorProto
from prep_triton.errors import PrecisionError
from prep_triton.precision.cpu import stage as cpu
from prep_triton.precision.cpu.stage import quantize_for_cpu
from prep_triton.workspace import Workspace

from tests.fakes.cpu_bert import store_with_reference
from tests.fakes.onnx_bert import make_bert


def test_artifact_keeps_the_model_and_what_was_measured(workspace):
    model = store_with_reference(workspace, make_bert(layers=1))
    quantized = quantize_for_cpu(model, workspace).artifact
    assert (quantized.name, quantized.precision, quantized.parity) == ("tiny-int8-cpu", "int8", None)
    assert (quantized.model_inputs, quantized.model_outputs) == (model.model_inputs, model.model_outputs)
    assert quantized.inputs == {"onnx": model.key}
    assert quantized.files.keys() == {"model.onnx", "reference.npz", "tokenizer.json"}
    assert quantized.path("reference.npz").samefile(model.path("reference.npz"))
    assert quantized.quantization.scheme == "dynamic W8A8"
    assert quantized.quantization.linear_flops_share == 1.0
    assert quantized.fidelity.rows == 3
    assert 0.99 < quantized.fidelity.min_cosine <= quantized.fidelity.mean_cosine < 1
    assert quantized.fidelity.runtime.startswith("onnxruntime ")


def test_second_quantisation_is_reused(workspace):
    model = store_with_reference(workspace, make_bert(layers=1))
    first, second = quantize_for_cpu(model, workspace), quantize_for_cpu(model, workspace)
    assert (first.reused, second.reused) == (False, True)
    assert first.artifact == second.artifact


def test_same_input_gives_the_same_bytes(workspace, tmp_path):
    model = store_with_reference(workspace, make_bert(layers=1))
    quantized = [quantize_for_cpu(model, Workspace(tmp_path / name)).artifact for name in ("a", "b")]
    assert quantized[0].files["model.onnx"] == quantized[1].files["model.onnx"]


def test_progress_never_goes_back(workspace):
    seen = []
    model = store_with_reference(workspace, make_bert(layers=1))
    quantize_for_cpu(model, workspace, progress=lambda phase, fraction=None: seen.append(fraction))
    assert seen == sorted(seen)
    assert len(seen) > 5


def test_refuses_a_model_that_is_quantised_already(workspace):
    quantized = quantize_for_cpu(store_with_reference(workspace, make_bert(layers=1)), workspace).artifact
    with pytest.raises(PrecisionError, match="tiny-int8-cpu is already int8") as caught:
        quantize_for_cpu(quantized, workspace)
    assert "export" in caught.value.hint


def test_refuses_a_graph_that_is_quantised_already_though_its_record_says_fp32(workspace):
    quantized = quantize_for_cpu(store_with_reference(workspace, make_bert(layers=1)), workspace).artifact
    lying = quantized.model_copy(update={"precision": "fp32"})
    with pytest.raises(PrecisionError, match="quantised already") as caught:
        quantize_for_cpu(lying, workspace)
    assert "export" in caught.value.hint


def test_refuses_nan_weights_and_leaves_nothing(workspace):
    proto = make_bert(layers=1)
    (weight,) = [tensor for tensor in proto.graph.initializer if tensor.name == "layer0.up.weight"]
    weight.raw_data = b"\x00\x00\xc0\x7f" * (len(weight.raw_data) // 4)
    model = store_with_reference(workspace, make_bert(layers=1))
    onnx.save(proto, model.path("model.onnx"))
    with pytest.raises(PrecisionError, match=r"'layer0\.up\.weight' holds NaN") as caught:
        quantize_for_cpu(model, workspace)
    assert "checkpoint" in caught.value.hint
    assert list((workspace.root / "precision" / "tiny-int8-cpu").iterdir()) == []


def test_refuses_a_graph_without_linear_layers(workspace):
    model = store_with_reference(workspace, make_bert(layers=1))
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    infos = [onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    onnx.save(
        onnx.helper.make_model(onnx.helper.make_graph([node], "none", infos[:1], infos[1:])), model.path("model.onnx")
    )
    with pytest.raises(PrecisionError, match="has no linear layer that can be quantised") as caught:
        quantize_for_cpu(model, workspace)
    assert "export" in caught.value.hint


def test_refuses_a_file_that_is_no_graph(workspace):
    model = store_with_reference(workspace, make_bert(layers=1))
    model.path("model.onnx").write_bytes(b"\xff" * 100)
    with pytest.raises(PrecisionError, match="is not a whole ONNX file"):
        quantize_for_cpu(model, workspace)


def test_refuses_a_damaged_reference(workspace):
    model = store_with_reference(workspace, make_bert(layers=1))
    model.path("reference.npz").write_bytes(b"reference")
    with pytest.raises(PrecisionError, match="is not a reference file") as caught:
        quantize_for_cpu(model, workspace)
    assert "export" in caught.value.hint


@pytest.mark.parametrize(("arrays", "message"), [({}, "output/last_hidden_state"), ({"rows": 0}, "rows")])
def test_refuses_the_reference_of_another_model(workspace, arrays, message):
    model = store_with_reference(workspace, make_bert(layers=1))
    empty = {"input/input_ids": np.zeros((0, 4), np.int64), "input/attention_mask": np.zeros((0, 4), np.int64)}
    if arrays:
        empty["output/last_hidden_state"] = np.zeros((0, 4, 32), np.float32)
    np.savez(model.path("reference.npz"), **empty)
    with pytest.raises(PrecisionError, match=f"has no .*{message}"):
        quantize_for_cpu(model, workspace)


def test_weights_beside_the_graph_are_taken_into_it(workspace):
    model = store_with_reference(workspace, make_bert(layers=1))
    expected = quantize_for_cpu(model, workspace).artifact.files["model.onnx"]
    onnx.save(make_bert(layers=1), model.path("model.onnx"), save_as_external_data=True, location="model.onnx.data")
    model = model.model_copy(update={"key": "external", "files": {**model.files, "model.onnx.data": expected}})
    quantized = quantize_for_cpu(model, workspace).artifact
    assert "model.onnx.data" not in quantized.files
    assert quantized.fidelity.min_cosine > 0.99


def test_importing_the_stage_imports_no_vendor():
    assert not {"np", "onnx", "onnxruntime"} & vars(cpu).keys()
