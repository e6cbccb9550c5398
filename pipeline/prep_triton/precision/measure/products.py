"""What a graph computes in which precision: its products with weights, by the type that the weights are stored in."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from onnx import GraphProto, NodeProto, TensorProto

from prep_triton.errors import PrecisionError
from prep_triton.onnx_file import load_skeleton

_WORDS = {
    TensorProto.FLOAT: "fp32",
    TensorProto.FLOAT16: "fp16",
    TensorProto.BFLOAT16: "bf16",
    TensorProto.INT8: "int8",
    TensorProto.UINT8: "int8",
}
# Where the weight of a product stands among its inputs.
_PRODUCTS = {"MatMul": 1, "Gemm": 1, "MatMulInteger": 1, "MatMulIntegerToFloat": 1, "DynamicQuantizeMatMul": 1}
# What may stand between a stored weight and the product that reads it.
_FOLDED = ("DequantizeLinear", "Transpose", "Identity", "Mul", "Reshape")


@dataclass(frozen=True)
class Products:
    """A graph's products with weights: `share` of their FLOPs by precision, 0..1, and `layers`, how many they are."""

    share: Mapping[str, float]
    layers: Mapping[str, int]


def count_products(path: Path) -> Products:
    """Read a graph, without its weights, and say in which precision its products with weights are.

    FLOPs are those of one token, so that a head which works once for each text weighs as much as one that works token
    by token. Products of activations with each other are not in it: their precision is no stored type.

    Raises:
        PrecisionError: It is not a whole ONNX file.
    """
    try:
        graph = load_skeleton(path).graph
    except (OSError, ValueError) as err:
        raise PrecisionError(
            f"{path} is not a whole ONNX file: {err}", hint="name another file, or make it again"
        ) from err
    weights = _find_weights(graph)
    flops, layers = defaultdict[str, int](int), Counter[str]()
    for node in graph.node:
        place = _PRODUCTS.get(node.op_type)
        weight = weights.get(node.input[place]) if place is not None and len(node.input) > place else None
        if weight is not None:
            word = _WORDS.get(weight.data_type, "other")
            flops[word] += weight.dims[0] * weight.dims[1]
            layers[word] += 1
    total = sum(flops.values())
    return Products({word: value / total for word, value in flops.items()} if total else {}, dict(layers))


def _find_weights(graph: GraphProto) -> dict[str, TensorProto]:
    """Return the matrix behind every tensor that is one, or is made of one alone."""
    weights = {tensor.name: tensor for tensor in graph.initializer if len(tensor.dims) == 2}
    for node in graph.node:
        if node.op_type == "Constant":
            weights |= _find_constant(node)
        elif node.op_type in _FOLDED and node.input[0] in weights:
            weights[node.output[0]] = weights[node.input[0]]
        elif node.op_type == "Cast" and node.input[0] in weights:
            weights[node.output[0]] = _cast(weights[node.input[0]], node)
    return weights


def _find_constant(node: NodeProto) -> dict[str, TensorProto]:
    tensors = [attribute.t for attribute in node.attribute if attribute.name == "value"]
    return dict(zip(node.output, (tensor for tensor in tensors if len(tensor.dims) == 2), strict=False))


def _cast(weight: TensorProto, node: NodeProto) -> TensorProto:
    return TensorProto(data_type=node.attribute[0].i, dims=weight.dims)
