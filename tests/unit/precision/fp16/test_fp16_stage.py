import onnx
import pytest
from prep_triton.errors import PrecisionError
from prep_triton.precision.fp16.stage import convert_to_fp16

from tests.fakes.onnx_bert import make_bert, store_model


def test_artifact_keeps_the_model_and_its_files(workspace):
    model = store_model(workspace, make_bert(layers=1))
    converted = convert_to_fp16(model, workspace).artifact
    assert (converted.name, converted.precision, converted.parity) == ("tiny-fp16", "fp16", None)
    assert (converted.model_inputs, converted.model_outputs) == (model.model_inputs, model.model_outputs)
    assert converted.inputs == {"onnx": model.key}
    assert converted.files.keys() == {"model.onnx", "reference.npz", "tokenizer.json"}
    assert converted.path("reference.npz").samefile(model.path("reference.npz"))
    onnx.checker.check_model(converted.path("model.onnx"), full_check=True)


def test_second_conversion_is_reused(workspace):
    model = store_model(workspace, make_bert(layers=1))
    first, second = convert_to_fp16(model, workspace), convert_to_fp16(model, workspace)
    assert (first.reused, second.reused) == (False, True)
    assert first.artifact == second.artifact


def test_external_weights_do_not_lie_beside_the_new_graph(workspace, tmp_path):
    model = store_model(workspace, make_bert(layers=1))
    onnx.save(make_bert(layers=1), model.path("model.onnx"), save_as_external_data=True, location="model.onnx.data")
    model = model.model_copy(update={"files": {**model.files, "model.onnx.data": model.files["model.onnx"]}})
    assert "model.onnx.data" not in convert_to_fp16(model, workspace).artifact.files


def test_refuses_a_model_that_is_fp16_already(workspace):
    converted = convert_to_fp16(store_model(workspace, make_bert(layers=1)), workspace).artifact
    with pytest.raises(PrecisionError, match="tiny-fp16 is already fp16") as caught:
        convert_to_fp16(converted, workspace)
    assert "prep export" in caught.value.hint


def test_a_refused_conversion_leaves_nothing(workspace):
    proto = make_bert(layers=1)
    proto.graph.initializer[0].raw_data = b"\x00\x00\xc0\x7f" * (len(proto.graph.initializer[0].raw_data) // 4)
    model = store_model(workspace, proto)
    with pytest.raises(PrecisionError, match="'words' holds NaN"):
        convert_to_fp16(model, workspace)
    assert [path.name for path in (workspace.root / "precision" / "tiny-fp16").iterdir()] == []
