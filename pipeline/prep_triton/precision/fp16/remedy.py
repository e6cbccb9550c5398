"""Keeps the values that FP16 cannot hold out of it, and every matrix product in it.

A value is kept out that comes within `MARGIN` of FP16's largest, 65504. The nodes that make or read it compute in FP32,
which costs what LayerNormalization's Casts cost. A matrix product is not among them: TensorRT-RTX has no FP32 products
for Turing, and on other GPUs they run at an eighth of the speed. It stays in FP16 and is scaled instead: an operand is
divided by a power of two, and the product multiplied by it in FP32::

    x -> MatMul(W / 4) in FP16 -> Cast to FP32 -> Mul(4) -> Add, LayerNormalization, ... in FP32

A power of two moves the exponent and no digit, so that the scaled graph answers, in FP32, bit for bit what the other
does. What carries it is a weight that nobody else reads, or a weight's INT8 scale; between two activations, the first.
"""

import copy
import math
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

from prep_triton.artifact import OverflowRecord
from prep_triton.errors import PrecisionError
from prep_triton.precision.rewrite.weights import FP16_MAX

# Other texts reach further than the rows that were measured: half of the range is left to them.
MARGIN = 2.0
# These run in FP32 in any case: see `prep_triton.precision.fp16.graph`.
FP32_OPS = frozenset({"LayerNormalization"})

_PRODUCTS = frozenset({"Gemm", "Einsum", "Conv", "Attention"})
_SMALLEST_HALF = 2.0**-24


@dataclass(frozen=True)
class Remedy:
    """What of a graph stays out of FP16.

    Args:
        layers: The largest magnitude that was seen in each layer that is kept out, in the order of the graph.
        fp32: The first output of each node that computes in FP32.
        exponents: For each product, by its output, the powers of two that its operands are divided by.
        sole_weights: Initializers that one node alone reads.
    """

    layers: Mapping[str, float] = field(default_factory=dict)
    fp32: frozenset[str] = frozenset()
    exponents: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    sole_weights: frozenset[str] = frozenset()

    def record(self) -> OverflowRecord | None:
        """Return what the artifact's record says of it; None where nothing was kept out."""
        return OverflowRecord(kept_out=tuple(self.layers), largest=dict(self.layers)) if self.layers else None


NOTHING = Remedy()


def plan_remedy(graph: GraphProto, largest: Mapping[str, float]) -> Remedy:
    """Decide what is kept out of FP16.

    Args:
        graph: An FP32 graph; it is not changed.
        largest: The largest magnitude of each float tensor that a node makes. What is not finite is left as it is: it
            is not finite in FP32 either.

    Raises:
        PrecisionError: A product that is not a MatMul overflows; names it.
    """
    beyond = {name for name, value in largest.items() if math.isfinite(value) and value * MARGIN > FP16_MAX}
    if not beyond:
        return NOTHING
    readers = Counter(name for node in graph.node for name in node.input)
    sole = frozenset(tensor.name for tensor in graph.initializer if readers[tensor.name] == 1)
    carriers = sole | {node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    layers: dict[str, float] = {}
    fp32: set[str] = set()
    exponents: dict[str, tuple[int, int]] = {}
    for node in graph.node:
        touched = beyond.intersection((*node.input, *node.output))
        if not touched:
            continue
        value = max(largest[name] for name in touched)
        if node.op_type == "MatMul":
            exponents[node.output[0]] = _choose_exponents(node, largest, carriers)
        elif node.op_type in _PRODUCTS:
            raise _overflow_error(node, value)
        else:
            fp32.add(node.output[0])
        if node.op_type not in FP32_OPS | {"QuantizeLinear", "DequantizeLinear"}:
            layer = name_layer(node)
            layers[layer] = max(value, layers.get(layer, 0.0))
    return Remedy(layers, frozenset(fp32), exponents, sole)


def name_layer(node: NodeProto) -> str:
    """Return the name of the module that a node belongs to: ``encoder.layer.0.output.dense``."""
    name: str = node.name
    return name.rpartition("/")[0] or name or node.output[0]


def describe_kept_out(layers: Mapping[str, float]) -> str:
    """Name layers and what they reach, for a person."""
    return ", ".join(f"{name} ({value:.6g})" for name, value in layers.items())


def _choose_exponents(node: NodeProto, largest: Mapping[str, float], carriers: Collection[str]) -> tuple[int, int]:
    """Bring both operands and the product into range; what the product needs more goes onto the weights."""
    left, right = (_exponent_of(largest.get(name, 0.0)) for name in node.input)
    more = max(0, _exponent_of(largest[node.output[0]]) - left - right)
    return (left, right + more) if node.input[1] in carriers else (left + more, right)


def _exponent_of(value: float) -> int:
    """Return the power of two that brings a magnitude into range."""
    ratio = value * MARGIN / FP16_MAX
    return max(0, math.ceil(math.log2(ratio))) if ratio > 1 and math.isfinite(ratio) else 0


def _overflow_error(node: NodeProto, value: float) -> PrecisionError:
    return PrecisionError(
        f"{node.op_type} '{node.name}' overflows fp16: it reads or gives {value:.6g}, and fp16 holds {FP16_MAX:g} at "
        "most; only MatMul can be scaled",
        hint="build it in fp32, for a GPU newer than the T4: --fp32 --gpu l4",
    )


def apply_remedy(graph: GraphProto, remedy: Remedy) -> tuple[frozenset[str], dict[str, float]]:
    """Scale the products of an FP32 graph, in place.

    Returns:
        The first output of each node that computes in FP32, and what each scaled weight is to be multiplied by.
    """
    if not remedy.exponents:
        return remedy.fp32, {}
    return _Scaling(graph, remedy).run()


class _Scaling:
    """Rewires each scaled product; its result keeps the name that it has."""

    def __init__(self, graph: GraphProto, remedy: Remedy) -> None:
        self.graph = graph
        self.remedy = remedy
        self.makers = {name: node for node in graph.node for name in node.output}
        self.stored = {tensor.name: tensor for tensor in graph.initializer}
        self.nodes: list[NodeProto] = []
        self.fp32 = set(remedy.fp32)
        self.factors: dict[str, float] = {}

    def run(self) -> tuple[frozenset[str], dict[str, float]]:
        for node in self.graph.node:
            output = node.output[0]
            exponents = self.remedy.exponents.get(output)
            if exponents is None:
                self.nodes.append(node)
                continue
            for index, exponent in enumerate(exponents):
                if exponent:
                    node.input[index] = self._divide(node.input[index], exponent, f"{output}.operand{index}")
            node.output[0] = f"{output}.scaled"
            self.nodes.append(node)
            self._multiply(node.output[0], 2.0 ** sum(exponents), output)
        read = {name for node in self.nodes for name in node.input}
        kept = [node for node in self.nodes if node.op_type != "DequantizeLinear" or node.output[0] in read]
        del self.graph.node[:]
        self.graph.node.extend(kept)
        return frozenset(self.fp32), self.factors

    def _divide(self, name: str, exponent: int, target: str) -> str:
        """Divide an operand by a power of two, and return the name of the result."""
        maker = self.makers.get(name)
        if name in self.remedy.sole_weights:
            self.factors[name] = 2.0**-exponent
            return name
        if maker is None or maker.op_type != "DequantizeLinear":
            return self._multiply(name, 2.0**-exponent, target)
        scale = numpy_helper.to_array(self.stored[maker.input[1]])
        scaled = np.maximum(scale * np.float32(2.0**-exponent), np.float32(_SMALLEST_HALF))
        self.graph.initializer.append(numpy_helper.from_array(scaled, f"{target}_scale"))
        dequantize = copy.deepcopy(maker)
        dequantize.name = dequantize.output[0] = target
        dequantize.input[1] = f"{target}_scale"
        self.nodes.append(dequantize)
        return target

    def _multiply(self, source: str, factor: float, target: str) -> str:
        """Multiply a tensor in FP32, and return the name of the result."""
        constant = helper.make_tensor(f"{target}_factor", TensorProto.FLOAT, [], [factor])
        self.graph.initializer.append(constant)
        self.nodes.append(helper.make_node("Mul", [source, constant.name], [target], name=f"{target}_factor"))
        self.fp32.add(target)
        return target
