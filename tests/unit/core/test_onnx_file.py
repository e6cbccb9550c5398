"""An ONNX file is read without its weights, or refused; what is streamed into one reads as what onnx wrote."""

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from onnx import TensorProto, helper, numpy_helper
from prep_triton.errors import PrecisionError
from prep_triton.onnx_file import ArrayWeight, load_skeleton, load_without_weights, save_with_weights
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
    expected, actual = by_name(before), by_name(after)
    assert expected.keys() == actual.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(actual[name], array)


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


def make_skeleton() -> onnx.ModelProto:
    node = helper.make_node("Identity", ["a"], ["b"], name="copy")
    return helper.make_model(helper.make_graph([node], "main", [], []), producer_name="test")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    weights=st.dictionaries(
        st.text(min_size=1, max_size=200),
        arrays(np.float32, array_shapes(min_dims=0, max_dims=3, max_side=20)) | arrays(np.int64, st.just((3,))),
        max_size=5,
    )
)
def test_arrays_streamed_into_a_model_read_as_what_onnx_wrote(tmp_path, weights):
    save_with_weights(make_skeleton(), [ArrayWeight(*weight) for weight in weights.items()], tmp_path / "a.onnx")
    read = onnx.load(tmp_path / "a.onnx")
    assert (read.producer_name, read.graph.node[0].name) == ("test", "copy")
    assert [tensor.name for tensor in read.graph.initializer] == list(weights)
    for tensor in read.graph.initializer:
        np.testing.assert_array_equal(numpy_helper.to_array(tensor), weights[tensor.name])
    assert onnx.load_from_string(read.SerializeToString()) == read


def test_a_transposed_array_is_written_in_its_own_order(tmp_path):
    array = np.arange(6, dtype=np.float32).reshape(2, 3).T
    save_with_weights(make_skeleton(), [ArrayWeight("w", array)], tmp_path / "a.onnx")
    (tensor,) = onnx.load(tmp_path / "a.onnx").graph.initializer
    np.testing.assert_array_equal(numpy_helper.to_array(tensor), array)


@pytest.mark.parametrize("is_raw", [True, False])
def test_a_skeleton_lacks_the_values_of_the_initializers_and_nothing_else(tmp_path, is_raw):
    whole = make_bert(layers=1)
    if not is_raw:
        whole.graph.initializer.append(helper.make_tensor("scale", TensorProto.FLOAT, [2], [1.0, 2.0]))
        whole.graph.initializer.append(helper.make_tensor("axes", TensorProto.INT64, [1], [-1]))
    onnx.save(whole, tmp_path / "a.onnx")
    for tensor in whole.graph.initializer:
        for name in ("raw_data", "float_data", "int64_data", "int32_data"):
            tensor.ClearField(name)
    assert load_skeleton(tmp_path / "a.onnx") == whole


def test_a_skeleton_keeps_where_weights_beside_the_file_lie(tmp_path):
    onnx.save(make_bert(), tmp_path / "a.onnx", save_as_external_data=True, location="a.onnx.data", size_threshold=0)
    (tmp_path / "a.onnx.data").unlink()
    tensor = load_skeleton(tmp_path / "a.onnx").graph.initializer[0]
    assert {pair.key: pair.value for pair in tensor.external_data}["location"] == "a.onnx.data"
    with pytest.raises(PrecisionError, match="is not a whole ONNX file"):
        load_without_weights(tmp_path / "a.onnx")


@pytest.mark.parametrize("content", [b"", b"\x08", b"\x3a\x7f", b"\x08" + b"\xff" * 11, b"\x0f", b"\x3a\x02\x0a\x05"])
def test_what_is_no_model_is_refused_in_one_line(tmp_path, content):
    (tmp_path / "a.onnx").write_bytes(content)
    with pytest.raises(ValueError, match=r"^[^\n]+$"):
        load_skeleton(tmp_path / "a.onnx")
