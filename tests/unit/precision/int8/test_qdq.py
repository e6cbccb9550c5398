import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, numpy_helper
from prep_triton.errors import PrecisionError
from prep_triton.precision.fp16.graph import rewrite_to_fp16
from prep_triton.precision.int8.qdq import (
    SMALLEST_SCALE,
    SWITCHES,
    InputScale,
    QuantizedTensors,
    QuantizedWeight,
    find_linears,
    insert_qdq,
    insert_switches,
    round_up_to_half,
    scale_from_range,
    smooth_weight,
    weight_scale,
)

from tests.fakes.onnx_bert import HIDDEN, make_bert

SIX = ("query", "key", "value", "out", "up", "down")


def nodes_of(proto, op):
    return [node for node in proto.graph.node if node.op_type == op]


def quantize(proto, *, names=None, multiplier=None, shift=None):
    linears = [linear for linear in find_linears(proto) if names is None or linear.name in names]
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    weights = {}
    for linear in linears:
        weight = smooth_weight(stored[linear.weight], multiplier)
        weights[linear.name] = QuantizedWeight(
            np.rint(weight / weight_scale(weight)).astype(np.int8), weight_scale(weight)
        )
    inputs = {linear.source: InputScale(0.0625, multiplier, shift) for linear in linears}
    insert_qdq(proto, linears, QuantizedTensors(inputs, weights))
    return linears


def test_the_six_linear_layers_of_each_encoder_layer_are_found_in_order():
    linears = find_linears(make_bert(layers=2))
    assert [linear.name for linear in linears] == [f"layer{layer}.{role}" for layer in (0, 1) for role in SIX]
    assert len({linear.source for linear in linears}) == 2 * 4
    assert {linear.flops for linear in linears} == {2 * HIDDEN * HIDDEN, 4 * HIDDEN * HIDDEN}


def test_the_head_is_not_part_of_the_encoder():
    proto = make_bert(layers=1)
    proto.graph.initializer.append(numpy_helper.from_array(np.ones((HIDDEN, 2), np.float32), "classifier.weight"))
    proto.graph.node.append(onnx.helper.make_node("MatMul", ["last_hidden_state", "classifier.weight"], ["logits"]))
    assert [linear.name for linear in find_linears(proto)] == [f"layer0.{role}" for role in SIX]


def test_what_widens_the_embeddings_is_not_part_of_the_encoder():
    proto = make_bert(layers=2)
    proto.graph.initializer.append(numpy_helper.from_array(np.eye(HIDDEN, dtype=np.float32), "project.weight"))
    place = next(index for index, node in enumerate(proto.graph.node) if node.op_type == "MatMul")
    source = proto.graph.node[place].input[0]
    node = onnx.helper.make_node("MatMul", [source, "project.weight"], ["projected"])
    nodes = [*proto.graph.node[:place], node, *proto.graph.node[place:]]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    assert [linear.name for linear in find_linears(proto)] == [f"layer{n}.{role}" for n in (0, 1) for role in SIX]


def test_a_graph_that_is_no_encoder_is_refused():
    proto = make_bert(layers=1)
    del proto.graph.node[-5:]  # the last linear layer among them
    with pytest.raises(PrecisionError, match="1 attentions and 5 linear layers") as caught:
        find_linears(proto)
    assert "export" in caught.value.hint


def test_an_opset_without_fp16_scales_is_refused():
    proto = make_bert(layers=1)
    proto.opset_import[0].version = 17
    with pytest.raises(PrecisionError, match="opset 17; INT8 with FP16 scales needs 19") as caught:
        find_linears(proto)
    assert "export" in caught.value.hint


def test_inputs_are_quantised_once_and_weights_per_output_channel():
    proto = make_bert(layers=1)
    quantize(proto)
    onnx.checker.check_model(proto, full_check=True)
    assert len(nodes_of(proto, "QuantizeLinear")) == 4  # query, key and value share one
    assert len(nodes_of(proto, "DequantizeLinear")) == 4 + 6
    weights = {tensor.name: tensor for tensor in proto.graph.initializer}
    assert weights["layer0.up/weight_int8"].data_type == TensorProto.INT8
    assert list(weights["layer0.up/weight_scale"].dims) == [2 * HIDDEN]
    assert numpy_helper.to_array(weights["int8_zero"]) == 0
    assert not [name for name in weights if name in {f"layer0.{role}.weight" for role in SIX}]


def test_layers_that_are_not_named_keep_their_weights():
    proto = make_bert(layers=1)
    quantize(proto, names=["layer0.query"])
    (product,) = [node for node in nodes_of(proto, "MatMul") if node.input[1] == "layer0.key.weight"]
    assert product.input[0] == "embedding_norm" or "/input" not in product.input[0]
    assert len(nodes_of(proto, "QuantizeLinear")) == 1


def test_smoothing_multiplies_the_input_and_divides_the_weight():
    multiplier = np.full(HIDDEN, 4.0, np.float32)
    plain, smoothed = make_bert(layers=1), make_bert(layers=1)
    quantize(plain, names=["layer0.out"])
    quantize(smoothed, names=["layer0.out"], multiplier=multiplier)
    scales = [
        numpy_helper.to_array(tensor)
        for proto in (plain, smoothed)
        for tensor in proto.graph.initializer
        if tensor.name == "layer0.out/weight_scale"
    ]
    assert scales[0] == pytest.approx(scales[1] * 4, rel=2e-3)
    assert len(nodes_of(smoothed, "Mul")) == len(nodes_of(plain, "Mul")) + 1


def test_a_shift_goes_into_the_bias():
    shift = np.linspace(0.5, 1.0, 2 * HIDDEN).astype(np.float16).astype(np.float32)
    proto = make_bert(layers=1)
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    quantize(proto, names=["layer0.down"], shift=shift)
    onnx.checker.check_model(proto, full_check=True)
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    rounded = weights["layer0.down/weight_int8"] * weights["layer0.down/weight_scale"]
    assert weights["layer0.down/bias"] == pytest.approx(stored["layer0.down.bias"] + shift @ rounded, abs=1e-5)
    assert "layer0.down.bias" not in weights
    (sub,) = [node for node in nodes_of(proto, "Sub") if "/input" in node.output[0]]
    assert sub.input[1] == "layer0.down/input_shift"


def test_a_switch_that_is_off_gives_the_unquantised_answer():
    """Its input, its weight and its bias: with a shift, the three belong together."""
    proto, plain = make_bert(layers=1), make_bert(layers=1)
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    linears = quantize(proto, names=["layer0.down"], shift=np.full(2 * HIDDEN, 0.5, np.float32))
    insert_switches(proto, linears, stored)
    inputs = {"input_ids": [[5, 6, 7]], "attention_mask": [[1, 1, 1]], "token_type_ids": [[0, 0, 0]]}
    feed = {name: np.array(value, np.int64) for name, value in inputs.items()}
    session = onnxruntime.InferenceSession(plain.SerializeToString(), providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, feed)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    (off,), (on,) = (session.run(None, {**feed, SWITCHES: np.array([switch])}) for switch in (False, True))
    np.testing.assert_allclose(off, expected, atol=1e-5)
    assert np.abs(on - expected).max() > 1e-3


def test_the_fp16_form_has_fp16_scales_and_int8_weights():
    proto = make_bert(layers=1)
    quantize(proto, multiplier=None)
    types = {weight.name: weight.data_type for weight in rewrite_to_fp16(proto, allow_quantized=True)}
    scales = {name: kind for name, kind in types.items() if name.endswith("_scale")}
    assert len(scales) == 4 + 6
    assert set(scales.values()) == {TensorProto.FLOAT16}
    assert {tensor.data_type for tensor in proto.graph.initializer if tensor.name.endswith("_int8")} == {
        TensorProto.INT8
    }


def test_a_quantised_graph_is_refused_by_the_fp16_rewrite_unless_allowed():
    proto = make_bert(layers=1)
    quantize(proto)
    with pytest.raises(PrecisionError, match="quantised already"):
        rewrite_to_fp16(proto)


def test_switches_stand_before_each_layer():
    proto = make_bert(layers=1)
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    insert_switches(proto, quantize(proto), weights)
    onnx.checker.check_model(proto, full_check=True)
    assert len(nodes_of(proto, "Where")) == 2 * 6  # its input and its weight
    assert [info.name for info in proto.graph.input][-1] == SWITCHES


@given(st.lists(st.floats(0, 6e4, width=32), min_size=1, max_size=30))
def test_scales_round_up_to_normal_fp16_numbers(values):
    given_values = np.array(values, np.float32)
    rounded = round_up_to_half(given_values)
    assert (rounded >= given_values).all()
    assert (rounded >= SMALLEST_SCALE).all()
    assert (rounded.astype(np.float16) == rounded).all()
    large = given_values >= SMALLEST_SCALE
    assert (rounded[large] <= given_values[large] * (1 + 2**-10)).all()


def test_a_range_becomes_127_steps():
    assert scale_from_range(127.0) == 1.0
    assert scale_from_range(0.0) == SMALLEST_SCALE
