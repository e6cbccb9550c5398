"""In which numbers OpenVINO executes a graph on this CPU, read off its compiled model as an inspector reads an engine.

The products and their FLOPs are those of the graph that was read. The compiled model fuses, renames and drops nodes,
and each of its nodes lists the names that went into it: a product is executed by the node that lists it, or else by the
first operator behind it. Its type is the widest of the operands that come in there; what a compiled node says of itself
(``runtimePrecision``) is of whichever input came first, which for a fused attention may be its mask's.

The graph is compiled for one shape, so that shapes and kernels are known: products have the same types as with any.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import openvino

from prep_triton.precision.measure.execution import Execution
from prep_triton.precision.measure.openvino_runner import DEVICE, InferencePrecision, compile_graph, describe_runtime

# What OpenVINO calls a type, from the narrowest to the widest.
_WORDS = {"i8": "int8", "u8": "int8", "bf16": "bf16", "f16": "fp16", "f32": "fp32"}
_WIDTHS = (*dict.fromkeys(_WORDS.values()), "unknown")
# Compiled nodes that hold the whole of an attention, and where its queries, keys and values come in.
_FUSED = {"Subgraph": (0, 1, -1), "ScaledDotProductAttention": (0, 1, 2)}
_PRODUCT = (0, 1)
# How OpenVINO names the scale that a quantised product becomes, and the weight that it turns around for it.
_SCALE_SUFFIX, _WEIGHT_SUFFIX = "/DequantizationMultiply", "/transpose_b"
_WITH_WEIGHTS = "FullyConnected"
# Query, key and value, where they are not one: whatever their order, they stand before the second product of their
# attention. Behind it stand its output, FFN up and FFN down.
_MOST_BEFORE_ATTENTION, _PRODUCTS_IN_ATTENTION, _AFTER_ATTENTION = 3, 2, 3
_USUAL_LENGTH = 128


def read_execution(path: Path, longest: int, precision: InferencePrecision | None = None) -> Execution:
    """Compile a graph for this CPU, and read what its products are executed in.

    Args:
        path: The ONNX graph.
        longest: Tokens that it takes at most.
        precision: As of `OpenVinoRunner`.

    Raises:
        PrecisionError: OpenVINO refuses the graph.
    """
    shape = (1, min(longest, _USUAL_LENGTH))
    graph, compiled = compile_graph(path, precision, shape=shape)
    executed_by = _index_nodes(compiled.get_runtime_model())
    encoder, others, attention = _split_products(graph)
    nodes = {operator: _find_node(operator, executed_by) for operator in (*encoder, *others, *attention)}
    holding = {node.get_friendly_name(): node for node in nodes.values() if node}
    inside = [nodes[operator] for operator in attention]
    return Execution(
        runtime=describe_runtime(),
        processor=str(openvino.Core().get_property(DEVICE, "FULL_DEVICE_NAME")).strip(),
        inference_precision=compiled.get_property("INFERENCE_PRECISION_HINT").to_string(),
        weighed_at=shape,
        gemm_flops_share=_share_flops(nodes),
        linear_flops_share=_share_flops({operator: nodes[operator] for operator in encoder}),
        attention_flops_share=_share_flops({operator: nodes[operator] for operator in attention}),
        fused_attention=bool(inside) and all(node and _info(node, "layerType") in _FUSED for node in inside),
        kernels=dict(Counter(_info(node, "primitiveType") for node in holding.values())),
    )


def _info(node: Any, key: str) -> str:
    return str(node.get_rt_info()[key].astype(str))


def _index_nodes(compiled: Any) -> Mapping[str, Any]:
    """Return the compiled node that each operator of the graph went into, by the operator's name.

    A product with weights may have lost its own name to the scale behind it; its weight has kept it.
    """
    index: dict[str, Any] = {}
    for node in compiled.get_ops():
        if _info(node, "layerType") == _WITH_WEIGHTS:
            weight = node.input_value(1).get_node().get_friendly_name()
            if weight.endswith(_WEIGHT_SUFFIX):
                index[weight.removesuffix(_WEIGHT_SUFFIX)] = node
    for node in compiled.get_ops():
        if _info(node, "layerType") != "Const":
            for name in (node.get_friendly_name(), *_info(node, "originalLayersNames").split(",")):
                index.setdefault(name.removesuffix(_SCALE_SUFFIX), node)
    return index


def _split_products(graph: Any) -> tuple[list[Any], list[Any], list[Any]]:
    """Return the encoder's products with weights, all others with weights, and products of activations."""
    operators = graph.get_ordered_ops()
    constant: dict[str, bool] = {}
    with_weights, without = list[Any](), list[Any]()
    first = last = 0  # before the layers stands what the embeddings have of their own, behind them a head
    for operator in operators:  # what an operator reads comes before it
        sources = [value.get_source_output().get_node().get_friendly_name() for value in operator.inputs()]
        kind = operator.get_type_name()
        constant[operator.get_friendly_name()] = kind != "Parameter" and all(constant[name] for name in sources)
        if kind == "MatMul" and not all(constant[name] for name in sources):
            has_weights = any(constant[name] for name in sources)
            (with_weights if has_weights else without).append(operator)
            if not has_weights and len(without) == _PRODUCTS_IN_ATTENTION:
                first = max(len(with_weights) - _MOST_BEFORE_ATTENTION, 0)
            if not has_weights:
                last = len(with_weights) + _AFTER_ATTENTION
    return with_weights[first:last], with_weights[:first] + with_weights[last:], without


def _find_node(product: Any, executed_by: Mapping[str, Any]) -> Any | None:
    """Return the compiled node that executes a product: of its own name, or else of what reads it first."""
    waiting = [product]
    for operator in waiting:
        if node := executed_by.get(operator.get_friendly_name()):
            return node
        readers = [target.get_node() for output in operator.outputs() for target in output.get_target_inputs()]
        waiting += [reader for reader in readers if reader.get_type_name() not in ("MatMul", "Result")]
    return None


def _share_flops(nodes: Mapping[Any, Any | None]) -> dict[str, float]:
    flops = defaultdict[str, int](int)
    for operator, node in nodes.items():
        flops[_type_of(node)] += _count_flops(operator)
    total = sum(flops.values())
    return {word: flops[word] / total for word in _WIDTHS if flops.get(word)}


def _count_flops(product: Any) -> int:
    """Two for each of the additions to each value."""
    summed = product.input(0).get_shape()[-2 if product.get_attributes()["transpose_a"] else -1]
    return 2 * prod(map(int, product.output(0).get_shape())) * int(summed)


def _type_of(node: Any | None) -> str:
    """Return the widest type among the operands of a compiled node's products."""
    if node is None:
        return "unknown"
    inputs: Sequence[Any] = node.inputs()
    places: Iterable[int] = _FUSED.get(_info(node, "layerType"), _PRODUCT)
    if len(inputs) < len(_PRODUCT):
        return "unknown"
    words = [_WORDS.get(inputs[place].get_element_type().get_type_name(), "unknown") for place in places]
    return max(words, key=_WIDTHS.index)
