import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from prep_triton.errors import PrecisionError
from prep_triton.precision.fp16.graph import rewrite_to_fp16
from prep_triton.precision.rewrite.checks import MASK_VALUE

from tests.fakes.onnx_bert import make_bert

FP16, FP32 = TensorProto.FLOAT16, TensorProto.FLOAT


def make_model(nodes, constants=(), *, inputs=("x",), outputs=("y",), made_shape=("batch", 4)):
    infos = [helper.make_tensor_value_info(name, FP32, ["batch", 4]) for name in inputs]
    output_infos = [helper.make_tensor_value_info(name, FP32, made_shape) for name in outputs]
    graph = helper.make_graph(nodes, "g", infos, output_infos, list(constants))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def constant(name, value):
    return numpy_helper.from_array(np.asarray(value, np.float32), name)


def nodes_of(proto, op):
    return [node for node in proto.graph.node if node.op_type == op]


def cast_targets(proto):
    return {node.output[0]: node.attribute[0].i for node in nodes_of(proto, "Cast")}


def test_every_weight_is_fp16_but_those_of_layer_normalization():
    proto = make_bert()
    types = {weight.name: weight.data_type for weight in rewrite_to_fp16(proto)}
    assert {name for name, kind in types.items() if kind == FP32} == {
        f"{norm}.{part}"
        for norm in ("embedding_norm", *(f"layer{i}.norm{j}" for i in (0, 1) for j in (1, 2)))
        for part in ("weight", "bias")
    }
    assert types["words"] == types["layer0.up.weight"] == types["one"] == FP16


def test_no_cast_reads_another_cast():
    proto = make_bert()
    rewrite_to_fp16(proto)
    cast = cast_targets(proto)
    assert not [node for node in nodes_of(proto, "Cast") if node.input[0] in cast]
    assert len(cast) == 1 + 5 + 5 + 1  # the mask; into and out of each LayerNormalization; the output


def test_graph_ends_without_a_cast_where_layer_normalization_makes_the_output():
    proto = make_model(
        [helper.make_node("LayerNormalization", ["x", "w"], ["y"], name="ln")], [constant("w", [1.0, 1.0, 1.0, 1.0])]
    )
    rewrite_to_fp16(proto)
    assert [node.op_type for node in proto.graph.node] == ["LayerNormalization"]


def test_outputs_stay_fp32_and_keep_their_names():
    proto = make_model(
        [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Neg", ["y"], ["z"])], outputs=("y", "z")
    )
    rewrite_to_fp16(proto)
    assert list(cast_targets(proto).items()) == [("x.fp16", FP16), ("y", FP32), ("z", FP32)]  # same bytes every time
    assert nodes_of(proto, "Neg")[0].input == ["y.fp16"]
    assert [info.type.tensor_type.elem_type for info in proto.graph.output] == [FP32, FP32]


def test_a_weight_read_in_both_types_is_kept_in_both():
    proto = make_model(
        [helper.make_node("LayerNormalization", ["x", "w"], ["n"]), helper.make_node("Mul", ["n", "w"], ["y"])],
        [constant("w", [1.0, 2.0, 3.0, 4.0])],
    )
    planned = {(weight.name, weight.data_type) for weight in rewrite_to_fp16(proto)}
    assert planned == {("w", FP32), ("w.fp16", FP16)}


def test_new_names_do_not_collide_with_old_ones():
    proto = make_model([helper.make_node("Relu", ["x"], ["x.fp16"]), helper.make_node("Neg", ["x.fp16"], ["y"])])
    rewrite_to_fp16(proto)
    names = [name for node in proto.graph.node for name in node.output]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("value", [-3.4e38, -np.inf, -65504.0])
@pytest.mark.parametrize("op", ["Add", "Mul"])
def test_mask_constants_are_brought_into_range(op, value):
    proto = make_model([helper.make_node(op, ["x", "m"], ["y"])], [constant("m", value)])
    (weight,) = rewrite_to_fp16(proto)
    assert numpy_helper.to_array(weight.source) == MASK_VALUE


def test_mask_of_a_constant_node_and_of_constant_of_shape_are_brought_into_range():
    lowest = constant("value", [-3.4e38])
    nodes = [
        helper.make_node("Constant", [], ["low"], value=lowest),
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("ConstantOfShape", ["s"], ["filled"], value=lowest),
        helper.make_node("Greater", ["x", "filled"], ["keep"]),
        helper.make_node("Where", ["keep", "x", "low"], ["y"]),
    ]
    proto = make_model(nodes)
    (weight,) = rewrite_to_fp16(proto)
    filled = numpy_helper.to_array(nodes_of(proto, "ConstantOfShape")[0].attribute[0].t)
    assert (filled.dtype, filled.item()) == (np.float16, MASK_VALUE)
    assert numpy_helper.to_array(weight.source).item() == MASK_VALUE


def test_constant_nodes_of_every_float_kind_become_weights():
    nodes = [
        helper.make_node("Constant", [], ["a"], value_float=2.0),
        helper.make_node("Constant", [], ["b"], value_floats=[1.0, 2.0, 3.0, 4.0]),
        helper.make_node("Constant", [], ["axes"], value_ints=[0]),
        helper.make_node("Add", ["x", "a"], ["t"]),
        helper.make_node("Mul", ["t", "b"], ["u"]),
        helper.make_node("Unsqueeze", ["u", "axes"], ["y"]),
    ]
    proto = make_model(nodes, made_shape=(1, "batch", 4))
    assert {weight.name for weight in rewrite_to_fp16(proto)} == {"a", "b"}
    assert [tensor.name for tensor in proto.graph.initializer] == ["axes"]


def test_initializers_declared_as_inputs_are_taken_as_constants():
    proto = make_model([helper.make_node("Mul", ["x", "w"], ["y"])], [constant("w", 2.0)], inputs=("x",))
    proto.graph.input.append(helper.make_tensor_value_info("w", FP32, []))
    rewrite_to_fp16(proto)
    assert [info.name for info in proto.graph.input] == ["x"]


def test_refuses_a_quantised_graph():
    nodes = [helper.make_node("QuantizeLinear", ["x", "s"], ["y"], name="q")]
    with pytest.raises(PrecisionError, match=r"quantised already \(QuantizeLinear 'q'\)") as caught:
        rewrite_to_fp16(make_model(nodes, [constant("s", 1.0)]))
    assert "prep export" in caught.value.hint


def test_refuses_a_graph_that_is_fp16_already():
    half = numpy_helper.from_array(np.ones(4, np.float16), "w")
    with pytest.raises(PrecisionError, match="'w' is FLOAT16 already") as caught:
        rewrite_to_fp16(make_model([helper.make_node("Mul", ["x", "w"], ["y"])], [half]))
    assert "prep export" in caught.value.hint


def test_refuses_subgraphs():
    branch = helper.make_graph([helper.make_node("Constant", [], ["b"], value_float=1.0)], "b", [], [])
    node = helper.make_node("If", ["c"], ["y"], name="choice", then_branch=branch, else_branch=branch)
    with pytest.raises(PrecisionError, match="If 'choice' holds a subgraph") as caught:
        rewrite_to_fp16(make_model([node]))
    assert "prep export" in caught.value.hint


def test_refuses_functions():
    proto = make_model([helper.make_node("Relu", ["x"], ["y"])])
    opset = helper.make_opsetid("", 20)
    proto.functions.append(
        helper.make_function("f", "F", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])], [opset])
    )
    with pytest.raises(PrecisionError, match="model-local functions") as caught:
        rewrite_to_fp16(proto)
    assert "prep export" in caught.value.hint


def test_refuses_operators_that_are_not_onnx():
    with pytest.raises(PrecisionError, match=r"com\.microsoft\.Attention is not a standard") as caught:
        rewrite_to_fp16(make_model([helper.make_node("Attention", ["x"], ["y"], domain="com.microsoft")]))
    assert "prep export" in caught.value.hint


def test_refuses_a_graph_that_onnx_cannot_type():
    with pytest.raises(PrecisionError, match="not one that onnx can type") as caught:
        rewrite_to_fp16(make_model([helper.make_node("Nonsense", ["x"], ["y"])]))
    assert "prep export" in caught.value.hint
