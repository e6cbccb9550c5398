"""Explicit symmetric Q/DQ in an FP32 graph: INT8 linear layers as TensorRT reads them.

::

    x -> Mul (smoothing) -> Sub (shift) -> QuantizeLinear -> DequantizeLinear -> MatMul -> Add (bias)
                            INT8 weight, scale per output channel -> DequantizeLinear -^

Only the inputs and weights of linear layers are quantised: quantising their outputs, the residual sums or LayerNorm
costs BERT most of its accuracy. Zero points are 0 (TensorRT takes no other), and every scale and multiplier is an FP16
number already, so that the FP16 form of the graph (`prep_triton.precision.fp16.graph`) rounds to the same INT8 values.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from prep_triton.errors import PrecisionError

SWITCHES = "int8_switches"

# Signed 8 bits, symmetric: -127..127.
LARGEST = 127
# The smallest normal FP16 number; a smaller scale would lose its own bits.
SMALLEST_SCALE = 2.0**-14
# FP16 scales in QuantizeLinear and DequantizeLinear (onnx, docs/Changelog.md, opset 19).
_SMALLEST_OPSET = 19
_ZERO = "int8_zero"
_SHIFTED = "_shifted"
# In BERT's layers and those of its relatives, behind each attention: its output, FFN up, FFN down.
_LINEARS_AFTER_ATTENTION, _PRODUCTS_IN_ATTENTION = 3, 2

Array = NDArray[Any]


@dataclass(frozen=True)
class Linear:
    """A MatMul with a constant weight [size_in, size_out].

    `name` is its module's (``encoder.layer.0.output.dense``), `source` the tensor it reads, `product` the one it makes.
    `bias` is the constant that alone is added to the product, or None.
    """

    name: str
    source: str
    weight: str
    product: str
    size_in: int
    size_out: int
    bias: str | None = None

    @property
    def flops(self) -> int:
        """Multiplications and additions for one token."""
        return 2 * self.size_in * self.size_out


@dataclass(frozen=True)
class InputScale:
    """How one tensor becomes INT8: ``round((x * multiplier - shift) / scale)``.

    `multiplier` [channels] is the inverse of the smoothing that goes into the weights, or None. `shift` [channels]
    moves what is almost all on one side of zero (GELU) to both, and goes into the biases; None where nothing is moved.
    It stands for the zero point that TensorRT does not take.
    """

    scale: float
    multiplier: NDArray[np.float32] | None = None
    shift: NDArray[np.float32] | None = None

    def smooth(self, values: Array) -> Array:
        """Return what is rounded of a tensor [..., channels]."""
        smoothed = values if self.multiplier is None else values * self.multiplier
        return smoothed if self.shift is None else smoothed - self.shift

    def quantize(self, values: Array) -> Array:
        """Return a tensor [..., channels] as it is after its rounding, with the shift undone and the smoothing not."""
        steps: Array = np.clip(np.rint(self.smooth(values) / np.float32(self.scale)), -LARGEST, LARGEST)
        rounded: Array = steps * np.float32(self.scale)
        return rounded if self.shift is None else rounded + self.shift


@dataclass(frozen=True)
class QuantizedWeight:
    """A weight in INT8, `values` [size_in, size_out], with a `scale` for each output channel [size_out]."""

    values: NDArray[np.int8]
    scale: NDArray[np.float32]


@dataclass(frozen=True)
class QuantizedTensors:
    """How every linear layer becomes INT8: `inputs` by the tensor that it reads, `weights` by its name."""

    inputs: Mapping[str, InputScale]
    weights: Mapping[str, QuantizedWeight]


def find_linears(proto: ModelProto, *, in_layer: int = 6) -> tuple[Linear, ...]:
    """Return the linear layers of the encoder, in graph order: as many in each layer, none of embeddings or of a head.

    Args:
        proto: The FP32 graph.
        in_layer: How many a layer has: BERT's query, key, value, attention output, FFN up, FFN down.

    Raises:
        PrecisionError: The graph is not an encoder of that kind, or its opset has no FP16 scales.
    """
    opset = max((entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), default=0)
    if opset < _SMALLEST_OPSET:
        raise PrecisionError(
            f"the graph has opset {opset}; INT8 with FP16 scales needs {_SMALLEST_OPSET} or more",
            hint="export the model again: prep export MODEL",
        )
    shapes = {tensor.name: tuple(tensor.dims) for tensor in proto.graph.initializer}
    attentions = sum(node.op_type == "Softmax" for node in proto.graph.node)
    biases = _find_biases(proto.graph, shapes)
    products = [
        node for node in proto.graph.node if node.op_type == "MatMul" and len(shapes.get(node.input[1], ())) == 2
    ]
    # What comes before is the embeddings' own, what follows is a head.
    first = _count_before_layers(proto.graph, products, in_layer - _LINEARS_AFTER_ATTENTION)
    encoder = products[first : first + in_layer * attentions]
    if not attentions or len(encoder) != in_layer * attentions:
        raise PrecisionError(
            f"the graph holds {attentions} attentions and {len(encoder)} linear layers of an encoder, "
            f"expected {in_layer} for each attention",
            hint="serve it as it is (prep assemble), or export the checkpoint itself: its graph can be quantised",
        )
    return tuple(_linear_from_node(node, shapes[node.input[1]], biases.get(node.output[0])) for node in encoder)


def _count_before_layers(graph: GraphProto, products: Sequence[NodeProto], before_attention: int) -> int:
    """Count the linear layers that stand before the first layer's, as ELECTRA's projection of its embeddings.

    Query, key and value stand before the second product of their attention, in whatever order.
    """
    known = {node.output[0] for node in products}
    is_linear = [node.output[0] in known for node in graph.node if node.op_type == "MatMul"]
    attention = [place for place, linear in enumerate(is_linear) if not linear][:_PRODUCTS_IN_ATTENTION]
    return max(sum(is_linear[: attention[-1]]) - before_attention, 0) if attention else 0


def _linear_from_node(node: NodeProto, shape: Sequence[int], bias: str | None) -> Linear:
    name = node.input[1].removesuffix(".T").removesuffix(".weight")
    return Linear(name, node.input[0], node.input[1], node.output[0], shape[0], shape[1], bias)


def _find_biases(graph: GraphProto, shapes: Mapping[str, Sequence[int]]) -> dict[str, str]:
    """Return the constant that is added to each tensor which nothing else reads."""
    readings = Counter(name for node in graph.node for name in node.input)
    readings.update(info.name for info in graph.output)
    sums = [(node.input[0], node.input[1]) for node in graph.node if node.op_type == "Add"]
    sums += [(second, first) for first, second in sums]
    return {name: bias for name, bias in sums if readings[name] == 1 and len(shapes.get(bias, ())) == 1}


def insert_qdq(proto: ModelProto, linears: Collection[Linear], tensors: QuantizedTensors) -> None:
    """Quantise linear layers, in place.

    Args:
        proto: The FP32 graph, with its weights.
        linears: Those to quantise.
        tensors: What they become.
    """
    graph = proto.graph
    by_product = {linear.product: linear for linear in linears}
    by_sum = {frozenset((linear.product, linear.bias)): linear for linear in linears}
    nodes: list[NodeProto] = []
    dequantized_inputs: dict[str, str] = {}
    graph.initializer.append(numpy_helper.from_array(np.zeros((), np.int8), _ZERO))
    for node in graph.node:
        linear = by_product.get(node.output[0])
        if linear:
            if linear.source not in dequantized_inputs:
                dequantized_inputs[linear.source] = _add_input(graph, nodes, linear, tensors.inputs[linear.source])
            dequantized_weight = _add_weight(graph, nodes, linear, tensors.weights[linear.name])
            node.input[:] = [dequantized_inputs[linear.source], dequantized_weight]
        elif node.op_type == "Add" and (linear := by_sum.get(frozenset(node.input))):
            _undo_shift(graph, node, linear, tensors)
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    _drop_unread(graph)


def smooth_weight(weight: Array, multiplier: NDArray[np.float32] | None) -> Array:
    """Undo in a weight [in, out] what the multiplier does to its input."""
    return weight if multiplier is None else weight / multiplier[:, None]


def weight_scale(weight: Array) -> NDArray[np.float32]:
    """Return the INT8 step of each output channel of a weight [in, out]."""
    return round_up_to_half(np.abs(weight).max(axis=0) / LARGEST)


def round_up_to_half(values: Array) -> NDArray[np.float32]:
    """Return the smallest normal FP16 numbers that are no less than positive values, as FP32."""
    half = np.asarray(values, np.float32).astype(np.float16)
    half = np.where(half.astype(np.float32) < values, np.nextafter(half, np.float16(np.inf)), half)
    return np.maximum(half.astype(np.float32), np.float32(SMALLEST_SCALE))


def scale_from_range(largest: float) -> float:
    """Return the INT8 step of a symmetric range, as a number that FP16 holds."""
    return float(round_up_to_half(np.array(largest / LARGEST)))


def _add_input(graph: GraphProto, nodes: list[NodeProto], linear: Linear, scale: InputScale) -> str:
    """Quantise a tensor once for all of its readers; return the dequantised one."""
    prefix, source = f"{linear.name}/input", linear.source
    if scale.multiplier is not None:
        graph.initializer.append(numpy_helper.from_array(scale.multiplier, f"{prefix}_multiplier"))
        source = _add_node(nodes, "Mul", [source, f"{prefix}_multiplier"], f"{prefix}_smoothed")
    if scale.shift is not None:
        graph.initializer.append(numpy_helper.from_array(scale.shift, f"{prefix}_shift"))
        source = _add_node(nodes, "Sub", [source, f"{prefix}_shift"], f"{prefix}{_SHIFTED}")
    step = f"{prefix}_scale"
    graph.initializer.append(numpy_helper.from_array(np.asarray(scale.scale, np.float32), step))
    quantized = _add_node(nodes, "QuantizeLinear", [source, step, _ZERO], f"{prefix}_int8")
    return _add_node(nodes, "DequantizeLinear", [quantized, step, _ZERO], f"{prefix}_dequantized")


def _add_weight(graph: GraphProto, nodes: list[NodeProto], linear: Linear, weight: QuantizedWeight) -> str:
    prefix = f"{linear.name}/weight"
    graph.initializer.append(numpy_helper.from_array(weight.values, f"{prefix}_int8"))
    graph.initializer.append(numpy_helper.from_array(weight.scale, f"{prefix}_scale"))
    return _add_node(nodes, "DequantizeLinear", [f"{prefix}_int8", f"{prefix}_scale"], f"{prefix}_dequantized", axis=1)


def _undo_shift(graph: GraphProto, bias_node: NodeProto, linear: Linear, tensors: QuantizedTensors) -> None:
    """Add to a layer's bias what the shift of its input took from its product."""
    shift, weight = tensors.inputs[linear.source].shift, tensors.weights[linear.name]
    if shift is None or linear.bias is None:
        return
    stored = next(tensor for tensor in graph.initializer if tensor.name == linear.bias)
    lost = (shift.astype(np.float64) @ weight.values) * weight.scale
    bias = (numpy_helper.to_array(stored) + lost).astype(np.float32)
    graph.initializer.append(numpy_helper.from_array(bias, _bias_name(linear)))
    bias_node.input[:] = [linear.product, _bias_name(linear)]


def _bias_name(linear: Linear) -> str:
    return f"{linear.name}/bias"


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
    unrounded input and weight, and its own bias.

    Args:
        proto: A graph that `insert_qdq` made.
        linears: Quantised layers.
        weights: Their smoothed, unrounded weights, and their biases, by name.
    """
    graph = proto.graph
    numbers = {linear.product: number for number, linear in enumerate(linears)}
    biases = {_bias_name(linear): number for number, linear in enumerate(linears)}
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
            if unrounded.endswith(_SHIFTED):
                unrounded = makers[unrounded].input[0]
            node.input[:] = [
                _add_node(nodes, "Where", [switch, node.input[0], unrounded], f"{switch}_input"),
                _add_node(nodes, "Where", [switch, node.input[1], weight], f"{switch}_weight"),
            ]
        elif node.op_type == "Add" and node.input[1] in biases:
            number, own = biases[node.input[1]], node.input[1]
            bias = linears[number].bias or own
            graph.initializer.append(numpy_helper.from_array(weights[bias], bias))
            node.input[1] = _add_node(nodes, "Where", [switches[number], own, bias], f"{switches[number]}_bias")
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
