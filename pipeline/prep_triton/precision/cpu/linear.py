"""Linear layers in INT8: weights once and for all, activations as they come.

A layer is ``MatMulIntegerToFloat``: UINT8 activations times INT8 weights, scaled back to FP32 and biased in one
pass. Its activations come from one ``DynamicQuantizeLinear``, which query, key and value share; where a layer has
one for itself, ONNX Runtime fuses the two when it loads the graph.

- Weights have a scale for each output: one for the whole matrix costs MiniLM 0.03 of cosine.
- Weights are signed and symmetric: a zero point that is 0 needs no correction by the activations' sums.
- On x86-64 processors without VNNI (before 2019 or so) ONNX Runtime adds pairs of products in 16 bits, which can
  saturate (https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html): `fidelity` was measured
  on the machine that quantised.

Blockwise ``MatMulNBits`` with 8 bits was more faithful and 2 to 3 times slower (onnxruntime 1.32, 128 tokens).
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto
from onnx.helper import make_node

from prep_triton.precision.cpu.graph import MICROSOFT_DOMAIN, Graph
from prep_triton.progress import Progress, ignore_progress

# Heads that answer logits are narrow: they take no time and are the most sensitive, so they stay FP32.
FEWEST_OUTPUTS = 32


@dataclass
class Linear:
    """``product = MatMul(input, weight)``, and where there is one, ``sum = Add(product, bias)``.

    Args:
        product: The MatMul node.
        sum: The Add node, or None.
        weight: The weight's name, [inputs, outputs].
        outputs: The number of outputs.
        bias: The bias' name, [outputs], or None.
        head_size: Set to widen each head of `head_size` outputs by one output.
        head_fill: The value of that output, for every token.
    """

    product: NodeProto
    sum: NodeProto | None
    weight: str
    outputs: int
    bias: str | None
    head_size: int | None = None
    head_fill: float = 0.0

    @property
    def output(self) -> str:
        """The name of the tensor that the layer makes."""
        name: str = (self.sum or self.product).output[0]
        return name

    @property
    def is_wide(self) -> bool:
        """Whether it has enough outputs to be quantised."""
        return self.outputs >= FEWEST_OUTPUTS


def find_linears(graph: Graph) -> list[Linear]:
    """Find every product of a constant matrix: the encoder's linear layers, and heads that work token by token."""
    return [
        _with_bias(graph, node)
        for node in graph.proto.graph.node
        if node.op_type == "MatMul" and _is_matrix(graph.constants.get(node.input[1]))
    ]


def quantize_linears(graph: Graph, linears: list[Linear], *, progress: Progress = ignore_progress) -> float:
    """Replace linear layers by INT8 ones, all but those with few outputs.

    Returns:
        The share of the layers' FLOPs that is INT8, 0..1.

    Raises:
        PrecisionError: A weight is not finite.
    """
    quantized: set[str] = set()
    flops = int8_flops = 0
    for number, linear in enumerate(linears):
        progress("quantising the linear layers", 0.1 + 0.6 * number / len(linears))
        size = math.prod(graph.constants[linear.weight].dims)
        flops += size
        if linear.is_wide:
            _quantize_linear(graph, linear, quantized)
            int8_flops += size
    return int8_flops / flops


def int8_from_weight(weight: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Quantise a weight [inputs, outputs] symmetrically: INT8 values in -127..127, and a scale for each output."""
    scales = np.maximum(weight.max(axis=0), -weight.min(axis=0)) / np.float32(127)
    # An output without weights has any scale; a subnormal one would divide into infinities.
    scales = np.where(scales < np.finfo(np.float32).tiny, np.float32(1), scales)
    return np.rint(weight / scales).astype(np.int8), scales.astype(np.float32)


def _quantize_linear(graph: Graph, linear: Linear, quantized: set[str]) -> None:
    weight: NDArray[Any]
    scales: NDArray[Any]
    weight, scales = int8_from_weight(graph.read_constant(linear.weight))
    bias: NDArray[Any] | None = graph.read_constant(linear.bias) if linear.bias else None
    if linear.head_size:
        zeros = np.zeros_like(scales)
        weight = _widen_heads(weight, linear.head_size, 0)
        bias = _widen_heads(zeros if bias is None else bias, linear.head_size, linear.head_fill)
        scales = _widen_heads(scales, linear.head_size, 1)
    source, output = linear.product.input[0], linear.output
    values, scale, zero = f"{source}.uint8", f"{source}.scale", f"{source}.zero"
    nodes = []
    if source not in quantized:
        quantized.add(source)
        nodes.append(make_node("DynamicQuantizeLinear", [source], [values, scale, zero], name=f"{source}.quantize"))
    names = (
        values,
        graph.add_constant(f"{output}.int8.weight", weight),
        scale,
        graph.add_constant(f"{output}.int8.scale", scales),
        zero,
        "",  # the weights' zero point: 0
        "" if bias is None else graph.add_constant(f"{output}.int8.bias", bias),
    )
    label = linear.product.name or output
    nodes.append(make_node("MatMulIntegerToFloat", names, [output], name=f"{label}.int8", domain=MICROSOFT_DOMAIN))
    graph.replace(linear.product, nodes)
    if linear.sum:
        graph.replace(linear.sum, [])


def _widen_heads(array: NDArray[Any], head_size: int, fill: float) -> NDArray[Any]:
    """Give each head of the last axis one more element: [..., heads * size] to [..., heads * (size + 1)]."""
    heads = array.reshape(*array.shape[:-1], -1, head_size)
    extra = np.full((*heads.shape[:-1], 1), fill, array.dtype)
    widened: NDArray[Any] = np.concatenate([heads, extra], axis=-1).reshape(*array.shape[:-1], -1)
    return widened


def _with_bias(graph: Graph, product: NodeProto) -> Linear:
    reader = graph.follow(product.output[0])
    weight = product.input[1]
    outputs = graph.constants[weight].dims[1]
    if reader is not None and reader.op_type == "Add":
        (other,) = [name for name in reader.input if name != product.output[0]] or [""]
        tensor = graph.constants.get(other)
        if tensor is not None and list(tensor.dims) == [outputs]:
            return Linear(product, reader, weight, outputs, other)
    return Linear(product, None, weight, outputs, None)


def _is_matrix(tensor: TensorProto | None) -> bool:
    return tensor is not None and len(tensor.dims) == 2 and tensor.data_type == TensorProto.FLOAT
