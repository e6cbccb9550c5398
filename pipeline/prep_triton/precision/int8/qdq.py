"""Explicit symmetric Q/DQ in an FP32 graph: INT8 linear layers as TensorRT reads them.

::

    x -> Mul (smoothing) -> QuantizeLinear -> DequantizeLinear -> MatMul
               INT8 weight, scale per output channel -> DequantizeLinear -^

Only the inputs and weights of linear layers are quantised: quantising their outputs, the residual sums or LayerNorm
costs BERT most of its accuracy. Zero points are 0 (TensorRT takes no other), and every scale and multiplier is an FP16
number already, so that the FP16 form of the graph (`prep_triton.precision.fp16.graph`) rounds to the same INT8 values.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from prep_triton.errors import PrecisionError
from prep_triton.precision.rewrite.weights import check_finite

SWITCHES = "int8_switches"

# Signed 8 bits, symmetric: -127..127.
_LARGEST = 127
# The smallest normal FP16 number; a smaller scale would lose its own bits.
SMALLEST_SCALE = 2.0**-14
# FP16 scales in QuantizeLinear and DequantizeLinear (onnx, docs/Changelog.md, opset 19).
_SMALLEST_OPSET = 19
_ZERO = "int8_zero"
# Query, key, value, attention output, FFN up, FFN down.
_LINEARS_IN_LAYER = 6

Array = NDArray[Any]


@dataclass(frozen=True)
class Linear:
    """A MatMul with a constant weight [size_in, size_out].

    `name` is its module's (``encoder.layer.0.output.dense``), `source` the tensor it reads, `product` the one it makes.
    """

    name: str
    source: str
    weight: str
    product: str
    size_in: int
    size_out: int

    @property
    def flops(self) -> int:
        """Multiplications and additions for one token."""
        return 2 * self.size_in * self.size_out


@dataclass(frozen=True)
class InputScale:
    """How one tensor becomes INT8: ``round(x * multiplier / scale)``.

    `multiplier` [channels] is the inverse of the smoothing that goes into the weights, or None.
    """

    scale: float
    multiplier: NDArray[np.float32] | None = None


def find_linears(proto: ModelProto) -> tuple[Linear, ...]:
    """Return the linear layers of the encoder, in graph order: six in each layer, none of a head.

    Raises:
        PrecisionError: The graph is not an encoder of BERT or DistilBERT, or its opset has no FP16 scales.
    """
    opset = max((entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), default=0)
    if opset < _SMALLEST_OPSET:
        raise PrecisionError(
            f"the graph has opset {opset}; INT8 with FP16 scales needs {_SMALLEST_OPSET} or more",
            hint="export the model again: prep export MODEL",
        )
    shapes = {tensor.name: tuple(tensor.dims) for tensor in proto.graph.initializer}
    attentions = sum(node.op_type == "Softmax" for node in proto.graph.node)
    products = [
        _linear_from_node(node, shapes[node.input[1]])
        for node in proto.graph.node
        if node.op_type == "MatMul" and len(shapes.get(node.input[1], ())) == 2
    ]
    encoder = products[: _LINEARS_IN_LAYER * attentions]  # what follows is a head
    if not attentions or len(encoder) != _LINEARS_IN_LAYER * attentions:
        raise PrecisionError(
            f"the graph holds {attentions} attentions and {len(encoder)} linear layers of an encoder, "
            f"expected {_LINEARS_IN_LAYER} for each attention",
            hint="serve it as it is (prep assemble), or export the checkpoint itself: its graph can be quantised",
        )
    return tuple(encoder)


def _linear_from_node(node: NodeProto, shape: Sequence[int]) -> Linear:
    name = node.input[1].removesuffix(".T").removesuffix(".weight")
    return Linear(name, node.input[0], node.input[1], node.output[0], *shape)


def insert_qdq(proto: ModelProto, linears: Collection[Linear], scales: Mapping[str, InputScale]) -> None:
    """Quantise linear layers, in place.

    Args:
        proto: The FP32 graph, with its weights.
        linears: Those to quantise.
        scales: For the tensor that each of them reads.

    Raises:
        PrecisionError: A weight is not finite.
    """
    graph = proto.graph
    by_product = {linear.product: linear for linear in linears}
    weights = {tensor.name: tensor for tensor in graph.initializer}
    nodes: list[NodeProto] = []
    dequantized_inputs: dict[str, str] = {}
    graph.initializer.append(numpy_helper.from_array(np.zeros((), np.int8), _ZERO))
    for node in graph.node:
        linear = by_product.get(node.output[0])
        if linear:
            if linear.source not in dequantized_inputs:
                dequantized_inputs[linear.source] = _add_input(graph, nodes, linear, scales[linear.source])
            weight = numpy_helper.to_array(weights[linear.weight])
            smoothed = smooth_weight(weight, scales[linear.source].multiplier)
            dequantized_weight = _add_weight(graph, nodes, linear, smoothed)
            node.input[:] = [dequantized_inputs[linear.source], dequantized_weight]
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    _drop_unread(graph)


def smooth_weight(weight: Array, multiplier: NDArray[np.float32] | None) -> Array:
    """Undo in a weight [in, out] what the multiplier does to its input."""
    return weight if multiplier is None else weight / multiplier[:, None]


def quantize_weight(weight: Array) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Round a weight [in, out] to INT8 with one scale for each output channel."""
    scale = round_up_to_half(np.abs(weight).max(axis=0) / _LARGEST)
    return np.clip(np.rint(weight / scale), -_LARGEST, _LARGEST).astype(np.int8), scale


def round_up_to_half(values: Array) -> NDArray[np.float32]:
    """Return the smallest normal FP16 numbers that are no less than positive values, as FP32."""
    half = np.asarray(values, np.float32).astype(np.float16)
    half = np.where(half.astype(np.float32) < values, np.nextafter(half, np.float16(np.inf)), half)
    return np.maximum(half.astype(np.float32), np.float32(SMALLEST_SCALE))


def scale_from_range(largest: float) -> float:
    """Return the INT8 step of a symmetric range, as a number that FP16 holds."""
    return float(round_up_to_half(np.array(largest / _LARGEST)))


def _add_input(graph: GraphProto, nodes: list[NodeProto], linear: Linear, scale: InputScale) -> str:
    """Quantise a tensor once for all of its readers; return the dequantised one."""
    prefix, source = f"{linear.name}/input", linear.source
    if scale.multiplier is not None:
        graph.initializer.append(numpy_helper.from_array(scale.multiplier, f"{prefix}_multiplier"))
        source = _add_node(nodes, "Mul", [source, f"{prefix}_multiplier"], f"{prefix}_smoothed")
    step = f"{prefix}_scale"
    graph.initializer.append(numpy_helper.from_array(np.asarray(scale.scale, np.float32), step))
    quantized = _add_node(nodes, "QuantizeLinear", [source, step, _ZERO], f"{prefix}_int8")
    return _add_node(nodes, "DequantizeLinear", [quantized, step, _ZERO], f"{prefix}_dequantized")


def _add_weight(graph: GraphProto, nodes: list[NodeProto], linear: Linear, weight: Array) -> str:
    check_finite(weight, linear.weight)
    values, scale = quantize_weight(weight)
    prefix = f"{linear.name}/weight"
    graph.initializer.append(numpy_helper.from_array(values, f"{prefix}_int8"))
    graph.initializer.append(numpy_helper.from_array(scale, f"{prefix}_scale"))
    return _add_node(nodes, "DequantizeLinear", [f"{prefix}_int8", f"{prefix}_scale"], f"{prefix}_dequantized", axis=1)


def _add_node(nodes: list[NodeProto], kind: str, inputs: list[str], output: str, **attributes: int) -> str:
    nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
    return output


def _drop_unread(graph: GraphProto) -> None:
    read = {name for node in graph.node for name in node.input} | {info.name for info in graph.output}
    # One by one: to extend a list is to copy its messages, and protobuf copies none beyond 2 GiB.
    for index in reversed(range(len(graph.initializer))):
        if graph.initializer[index].name not in read:
            del graph.initializer[index]


def insert_switches(proto: ModelProto, linears: Sequence[Linear], weights: Mapping[str, Array]) -> None:
    """Let a run decide which layers are rounded to INT8, in place.

    The graph gets one more input, `SWITCHES` (bool, one for each of `linears`): where it is False, the layer reads its
    unrounded input and weight.

    Args:
        proto: A graph that `insert_qdq` made.
        linears: Quantised layers.
        weights: Their smoothed, unrounded weights, by name.
    """
    graph = proto.graph
    numbers = {linear.product: number for number, linear in enumerate(linears)}
    makers = {node.output[0]: node for node in graph.node}
    switches = [f"{SWITCHES}_{number}" for number in range(len(linears))]
    graph.input.append(helper.make_tensor_value_info(SWITCHES, TensorProto.BOOL, [len(linears)]))
    nodes = [helper.make_node("Split", [SWITCHES], switches, name=SWITCHES, axis=0, num_outputs=len(linears))]
    for node in graph.node:
        number = numbers.get(node.output[0])
        if number is not None:
            switch, weight = switches[number], linears[number].weight
            graph.initializer.append(numpy_helper.from_array(weights[weight], weight))
            unrounded = makers[makers[node.input[0]].input[0]].input[0]  # DequantizeLinear <- QuantizeLinear <- it
            node.input[:] = [
                _add_node(nodes, "Where", [switch, node.input[0], unrounded], f"{switch}_input"),
                _add_node(nodes, "Where", [switch, node.input[1], weight], f"{switch}_weight"),
            ]
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
