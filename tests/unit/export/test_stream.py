from io import BytesIO

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from onnx import helper, numpy_helper
from prep_triton.errors import ExportError
from prep_triton.export import stream as writer


def skeleton() -> onnx.ModelProto:
    node = helper.make_node("Identity", ["a"], ["b"], name="copy")
    return helper.make_model(helper.make_graph([node], "main", [], []), producer_name="test")


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=200),
        arrays(np.float32, array_shapes(min_dims=0, max_dims=3, max_side=20)) | arrays(np.int64, st.just((3,))),
        max_size=5,
    )
)
def test_streamed_model_reads_as_one_that_onnx_wrote(weights):
    stream = BytesIO()
    writer.write_model(stream, skeleton(), weights)
    read = onnx.load_from_string(stream.getvalue())
    assert (read.producer_name, read.graph.node[0].name) == ("test", "copy")
    assert [tensor.name for tensor in read.graph.initializer] == list(weights)
    for tensor in read.graph.initializer:
        np.testing.assert_array_equal(numpy_helper.to_array(tensor), weights[tensor.name])
    assert onnx.load_from_string(read.SerializeToString()) == read


def test_transposed_weight_is_written_in_its_own_order():
    stream = BytesIO()
    array = np.arange(6, dtype=np.float32).reshape(2, 3).T
    writer.write_model(stream, skeleton(), {"w": array})
    (tensor,) = onnx.load_from_string(stream.getvalue()).graph.initializer
    np.testing.assert_array_equal(numpy_helper.to_array(tensor), array)


def test_graph_longer_than_protobuf_allows_is_refused_before_a_byte_is_written(monkeypatch):
    monkeypatch.setattr(writer, "MAX_MESSAGE_BYTES", 1000)
    stream = BytesIO()
    with pytest.raises(ExportError, match="at most 2 GiB") as caught:
        writer.write_model(stream, skeleton(), {"w": np.zeros(1000, np.float32)})
    assert "smaller" in caught.value.hint
    assert stream.getvalue() == b""
