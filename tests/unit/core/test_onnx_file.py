import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto
from prep_triton import onnx_file
from prep_triton.errors import PrecisionError
from prep_triton.onnx_file import load_without_weights, save_with_weights
from prep_triton.precision.rewrite.weights import ConvertedWeight

from tests.fakes.onnx_bert import make_bert


def as_fp32(model, spans):
    """Take the float initializers out of a model, to be streamed back unchanged."""
    floats = [tensor for tensor in model.graph.initializer if tensor.data_type == TensorProto.FLOAT]
    others = [tensor for tensor in model.graph.initializer if tensor.data_type != TensorProto.FLOAT]
    del model.graph.initializer[:]
    model.graph.initializer.extend(others)
    return [ConvertedWeight(tensor.name, TensorProto.FLOAT, tensor, spans.get(tensor.name)) for tensor in floats]


def by_name(model):
    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


@pytest.mark.parametrize("external", [False, True])
def test_a_model_streams_through_unchanged(tmp_path, external):
    path = tmp_path / "a.onnx"
    onnx.save(make_bert(), path, save_as_external_data=external, location="a.onnx.data", size_threshold=0)
    model, spans = load_without_weights(path)
    assert spans["words"].length == 97 * 32 * 4
    save_with_weights(model, as_fp32(model, spans), tmp_path / "b.onnx")
    onnx.checker.check_model(tmp_path / "b.onnx", full_check=True)
    before, after = make_bert(), onnx.load(tmp_path / "b.onnx")
    assert list(after.graph.node) == list(before.graph.node)
    assert (after.opset_import, after.ir_version) == (before.opset_import, before.ir_version)
    expected, found = by_name(before), by_name(after)
    assert expected.keys() == found.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)


def test_integers_stay_in_the_graph_whatever_their_size(tmp_path):
    proto = make_bert(layers=1)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.arange(4096), "position_ids"))
    onnx.save(proto, tmp_path / "a.onnx")
    model, spans = load_without_weights(tmp_path / "a.onnx")
    assert "position_ids" not in spans
    assert by_name(proto)["position_ids"].tolist() == list(range(4096))
    assert model.graph.initializer[-1].raw_data == proto.graph.initializer[-1].raw_data


@pytest.mark.parametrize("keep", [0, 10, 5000, -1])
def test_refuses_a_file_cut_short(tmp_path, keep):
    whole = make_bert(layers=1).SerializeToString()
    (tmp_path / "a.onnx").write_bytes(whole[:keep])
    with pytest.raises(PrecisionError, match="is not a whole ONNX file") as caught:
        load_without_weights(tmp_path / "a.onnx")
    assert "prep export" in caught.value.hint


def test_refuses_a_file_that_is_not_there(tmp_path):
    with pytest.raises(PrecisionError, match=r"is not a whole ONNX file: .*No such file"):
        load_without_weights(tmp_path / "a.onnx")


def test_refuses_to_write_more_than_one_file_holds(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_file, "MAX_FILE_BYTES", 1000)
    with pytest.raises(PrecisionError, match="one ONNX file holds 1000 at most") as caught:
        save_with_weights(make_bert(layers=1), [], tmp_path / "a.onnx")
    assert "smaller model" in caught.value.hint
    assert not (tmp_path / "a.onnx").exists()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=150)
@given(st.data())
def test_arbitrary_bytes_are_read_or_refused(tmp_path, data):
    whole = bytearray(make_bert(layers=1).SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / "a.onnx").write_bytes(data.draw(st.sampled_from([bytes(whole), bytes(whole[:300])])))
    try:
        model, _ = load_without_weights(tmp_path / "a.onnx")
    except PrecisionError:
        return
    assert model.graph.node
