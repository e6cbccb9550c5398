import math

import pytest
from onnx import helper
from prep_triton.errors import PrecisionError
from prep_triton.precision.fp16.remedy import NOTHING, name_layer, plan_remedy

from tests.fakes.onnx_bert import make_bert


def plan(nodes, largest, constants=()):
    return plan_remedy(helper.make_graph(nodes, "g", [], [], list(constants)), largest)


def weight(name):
    return helper.make_tensor(name, 1, [1], [1.0])


def test_a_layer_has_the_name_of_its_module():
    product = helper.make_node("MatMul", ["x", "w"], ["y"], name="encoder.layer.0.output.dense/MatMul")
    assert name_layer(product) == "encoder.layer.0.output.dense"
    assert name_layer(helper.make_node("Add", ["x", "w"], ["y"], name="node_add_3")) == "node_add_3"
    assert name_layer(helper.make_node("Add", ["x", "w"], ["y"])) == "y"


@pytest.mark.parametrize("value", [1.0, 32752.0, math.nan, math.inf])
def test_what_fits_twice_or_is_not_finite_in_fp32_either_is_left(value):
    graph = make_bert(layers=1).graph
    assert plan_remedy(graph, dict.fromkeys((name for node in graph.node for name in node.output), value)) == NOTHING


@pytest.mark.parametrize(
    ("largest", "exponents"),
    [
        ({"x": 1.0, "y": 32753.0}, (0, 1)),
        ({"x": 1.0, "y": 120_000.0}, (0, 2)),
        ({"x": 40_000.0, "y": 1.0}, (1, 0)),
        ({"x": 40_000.0, "y": 120_000.0}, (1, 1)),
    ],
)
def test_the_smallest_powers_of_two_bring_a_product_into_range(largest, exponents):
    remedy = plan([helper.make_node("MatMul", ["x", "w"], ["y"], name="m")], largest, [weight("w")])
    assert remedy.exponents == {"y": exponents}
    assert remedy.fp32 == frozenset()
    assert remedy.layers == {"m": max(largest.values())}


def test_a_weight_that_others_read_carries_no_power_of_two():
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["y"], name="m"),
        helper.make_node("Gather", ["w", "i"], ["z"], name="g"),
    ]
    assert plan(nodes, {"x": 1.0, "y": 1e5, "z": 1.0}, [weight("w")]).exponents == {"y": (2, 0)}


def test_all_that_makes_or_reads_a_large_value_computes_in_fp32():
    nodes = [
        helper.make_node("Relu", ["x"], ["large"], name="relu"),
        helper.make_node("Tanh", ["large"], ["small"], name="tanh"),
        helper.make_node("Neg", ["small"], ["y"], name="neg"),
    ]
    remedy = plan(nodes, {"large": 1e5, "small": 1.0, "y": 1.0})
    assert remedy.fp32 == {"large", "small"}
    assert tuple(remedy.layers) == ("relu", "tanh")


def test_another_product_is_refused_by_its_name():
    node = helper.make_node("Gemm", ["x", "w", "b"], ["y"], name="pooler/Gemm")
    with pytest.raises(PrecisionError, match=r"Gemm 'pooler/Gemm' overflows fp16: it reads or gives 100000") as caught:
        plan([node], {"y": 1e5})
    assert "--fp32 --gpu l4" in caught.value.hint
