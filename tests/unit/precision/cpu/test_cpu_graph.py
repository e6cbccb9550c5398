import logging

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from onnx import helper, numpy_helper
from prep_triton.precision.cpu.convert import quantize_file_for_cpu
from prep_triton.precision.cpu.linear import int8_from_weight

from tests.fakes.onnx_bert import Graph, make_bert


def rewrite(proto, tmp_path):
    onnx.save(proto, tmp_path / "fp32.onnx")
    share = quantize_file_for_cpu(tmp_path / "fp32.onnx", tmp_path / "int8.onnx")
    return onnx.load(tmp_path / "int8.onnx"), share


def count(proto, op_type):
    return sum(node.op_type == op_type for node in proto.graph.node)


def read(proto):
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}


def find(proto, op_type):
    return next(node for node in proto.graph.node if node.op_type == op_type)


def make_head(outputs):
    graph = Graph(0)
    product = graph.node("MatMul", "x", graph.weight("body", 32, 64))
    graph.node("MatMul", product, graph.weight("head", 64, outputs), output="y")
    infos = [helper.make_tensor_value_info(name, 1, ["batch", "sequence", None]) for name in "xy"]
    inner = helper.make_graph(graph.nodes, "head", infos[:1], infos[1:], graph.constants)
    return helper.make_model(inner, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


@given(arrays(np.float32, (5, 7), elements=st.floats(-(2.0**100), 2.0**100, width=32)))
def test_int8_weights_lie_within_half_a_step_of_the_weights(weight):
    values, scales = int8_from_weight(weight)
    assert (values.dtype, scales.dtype, scales.shape) == (np.dtype(np.int8), np.dtype(np.float32), (7,))
    assert (scales > 0).all()
    assert values.min() >= -127
    steps = np.abs(values.astype(np.float64) - weight.astype(np.float64) / scales)
    assert steps.max() <= 0.5 + 1e-4


def test_every_output_has_its_own_scale():
    values, scales = int8_from_weight(np.array([[1.0, 100.0], [-0.5, 50.0]], np.float32))
    np.testing.assert_allclose(scales, [1 / 127, 100 / 127])
    assert values.tolist() == [[127, 127], [-64, 64]]


def test_linear_layers_and_attention_are_fused(tmp_path):
    rewritten, share = rewrite(make_bert(layers=2), tmp_path)
    assert share == 1.0
    assert count(rewritten, "MatMul") == count(rewritten, "Softmax") == count(rewritten, "Transpose") == 0
    assert (count(rewritten, "MatMulIntegerToFloat"), count(rewritten, "MultiHeadAttention")) == (12, 2)
    assert {opset.domain: opset.version for opset in rewritten.opset_import} == {"": 20, "com.microsoft": 1}
    assert rewritten.ir_version == 10


def test_query_key_and_value_share_their_quantised_input(tmp_path):
    rewritten, _ = rewrite(make_bert(layers=2), tmp_path)
    assert count(rewritten, "DynamicQuantizeLinear") == 2 * 4


def test_mask_is_laid_out_once(tmp_path):
    rewritten, _ = rewrite(make_bert(layers=3), tmp_path)
    assert count(rewritten, "Max") == 1
    assert sum(node.op_type == "Reshape" for node in rewritten.graph.node) == 1


def test_query_heads_end_in_one_and_key_heads_in_the_mask(tmp_path):
    rewritten, _ = rewrite(make_bert(layers=1), tmp_path)
    values = read(rewritten)
    attention = find(rewritten, "MultiHeadAttention")
    producers = {name: node for node in rewritten.graph.node for name in node.output}
    query = producers[attention.input[0]]
    key = producers[producers[attention.input[1]].input[0]]
    pattern = values[producers[producers[attention.input[1]].input[1]].input[1]].reshape(2, 17)
    for linear, last in ((query, 1), (key, 0)):
        weight, bias = values[linear.input[1]].reshape(32, 2, 17), values[linear.input[6]].reshape(2, 17)
        assert not weight[..., -1].any()
        assert (bias[:, -1] == last).all()
    assert not pattern[:, :-1].any()
    np.testing.assert_allclose(pattern[:, -1], 1 / 0.25)
    assert {a.name: onnx.helper.get_attribute_value(a) for a in attention.attribute} == {"num_heads": 2, "scale": 0.25}


def test_weights_are_int8_and_embeddings_stay_fp32(tmp_path):
    rewritten, _ = rewrite(make_bert(layers=1), tmp_path)
    kinds = {name: values.dtype for name, values in read(rewritten).items() if values.ndim == 2}
    assert kinds.pop("words") == kinds.pop("types") == np.float32
    assert len(kinds) == 6
    assert set(kinds.values()) == {np.dtype(np.int8)}


@pytest.mark.parametrize(("outputs", "share"), [(2, 32 / 34), (31, 32 / 63), (32, 1.0)])
def test_narrow_heads_stay_fp32(tmp_path, outputs, share):
    rewritten, int8_share = rewrite(make_head(outputs), tmp_path)
    assert int8_share == pytest.approx(share)
    assert count(rewritten, "MatMul") == (outputs < 32)


def test_linear_layer_without_bias_gets_none(tmp_path):
    rewritten, _ = rewrite(make_head(2), tmp_path)
    assert find(rewritten, "MatMulIntegerToFloat").input[6:] in ([], [""])


def break_scale(node):
    node.op_type = "Div" if node.op_type == "Mul" and node.input[1].endswith(".scale") else node.op_type


def test_attention_of_another_form_is_left_alone_and_reported(tmp_path, caplog):
    proto = make_bert(layers=1)
    for node in proto.graph.node:
        break_scale(node)
    with caplog.at_level(logging.WARNING):
        rewritten, share = rewrite(proto, tmp_path)
    assert "1 Softmax of unknown attention form" in caplog.text
    assert (count(rewritten, "Softmax"), count(rewritten, "MultiHeadAttention"), share) == (1, 0, 1.0)


def test_mask_by_query_is_left_alone(tmp_path, caplog):
    proto = make_bert(layers=1)
    (axes,) = [tensor for tensor in proto.graph.initializer if tensor.name == "mask_axes"]
    axes.CopyFrom(numpy_helper.from_array(np.array([1], np.int64), "mask_axes"))  # [batch, 1, sequence]
    rewritten, _ = rewrite(proto, tmp_path)
    assert count(rewritten, "MultiHeadAttention") == 0
    assert "unknown attention form" in caplog.text


def test_attention_whose_weights_are_an_output_is_left_alone(tmp_path, caplog):
    proto = make_bert(layers=1)
    name = find(proto, "Softmax").output[0]
    proto.graph.output.append(helper.make_tensor_value_info(name, 1, ["batch", 2, "sequence", "sequence"]))
    rewritten, _ = rewrite(proto, tmp_path)
    assert count(rewritten, "Softmax") == 1
    assert "unknown attention form" in caplog.text
