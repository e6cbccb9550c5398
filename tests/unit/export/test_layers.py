import pytest
from onnx import TensorProto, helper
from prep_triton.export.layers import LayersDifferError, Weight, repeat_layers

STACK = "encoder.layer"


def node(name: str, inputs: str, output: str | None = None, outputs: tuple[str, ...] = ()):
    return helper.make_node(name.rsplit("/", 1)[1], inputs.split(), outputs or [output or name], name=name)


def layer(index: int, given: str, result: str | None = None) -> list:
    """A residual layer that reads what layer 0 makes for all, as the exporter shares shapes."""
    place = f"{STACK}.{index}"
    return [
        node(f"{place}.dense/MatMul", f"{given} {place}.dense.weight.T"),
        node(f"{place}.dense/Reshape", f"{place}.dense/MatMul {STACK}.0/Shape"),
        node(f"{place}/Add", f"{place}.dense/Reshape {given}", result),
    ]


def two_layers(*after, result: str | None = "y"):
    nodes = [
        node("embed/Gather", "table x"),
        node(f"{STACK}.0/Shape", "embed/Gather"),
        *layer(0, "embed/Gather"),
        *layer(1, f"{STACK}.0/Add", None if after else result),
        *after,
    ]
    value = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    return helper.make_graph(nodes, "main", [], [value])


def weights_of(*layers: int) -> dict[str, Weight]:
    own = {f"{STACK}.{n}.dense.weight.T": Weight(f"{STACK}.{n}.dense.weight", is_transposed=True) for n in layers}
    return {"table": Weight("table"), **own}


def test_repeated_layers_read_each_other_the_shared_values_and_their_own_weights():
    graph, weights = two_layers(), weights_of(0, 1)
    repeat_layers(graph, weights, STACK, 4)
    expected = [*layer(1, f"{STACK}.0/Add"), *layer(2, f"{STACK}.1/Add"), *layer(3, f"{STACK}.2/Add", "y")]
    assert list(graph.node)[5:] == expected
    assert weights == weights_of(0, 1, 2, 3)


def test_what_follows_reads_the_last_layer():
    graph = two_layers(node("head/Relu", f"{STACK}.1/Add", "y"))
    repeat_layers(graph, weights_of(0, 1), STACK, 12)
    assert len(graph.node) == 2 + 3 * 12 + 1
    assert list(graph.node[-1].input) == [f"{STACK}.11/Add"]
    assert len({entry.name for entry in graph.node}) == len(graph.node)


def test_two_layers_stay_as_they_are():
    graph, weights = two_layers(), weights_of(0, 1)
    repeat_layers(graph, weights, STACK, 2)
    assert graph == two_layers()
    assert weights == weights_of(0, 1)


def move_a_node(graph):
    graph.node.insert(0, graph.node[-2])
    del graph.node[-2]


def let_two_values_leave(graph):
    graph.node.append(node("head/Mul", f"{STACK}.1.dense/Reshape y", "z"))


def end_the_first_otherwise(graph):
    graph.node[4].name = f"{STACK}.0/Sub"


def skip_the_first(graph):
    for entry in list(graph.node)[5:]:
        entry.input[:] = ["embed/Gather" if name == f"{STACK}.0/Add" else name for name in entry.input]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (move_a_node, "the nodes of encoder.layer.1 are not one run"),
        (let_two_values_leave, "leave a layer, expected one"),
        (end_the_first_otherwise, "encoder.layer.0/Add does not make what the next layer reads"),
        (skip_the_first, "encoder.layer.0/Add does not make what the next layer reads"),
    ],
)
def test_layers_of_another_form_are_not_repeated(change, message):
    graph = two_layers()
    change(graph)
    before = graph.SerializeToString()
    with pytest.raises(LayersDifferError, match=message):
        repeat_layers(graph, weights_of(0, 1), STACK, 4)
    assert graph.SerializeToString() == before


def test_layer_with_a_weight_of_another_module_is_not_repeated():
    weights = {**weights_of(0, 1), f"{STACK}.1.dense.weight.T": Weight("shared.weight")}
    with pytest.raises(LayersDifferError, match=r"is shared\.weight, which is not the layer's own"):
        repeat_layers(two_layers(), weights, STACK, 3)
