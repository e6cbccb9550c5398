"""The FP32 -> FP16 rewrite of an ONNX graph.

Every float tensor becomes FP16 but for these:

- **LayerNormalization** runs in FP32 between two Casts. Its variance overflows FP16 (NVIDIA/TensorRT
  issues 2564 and 4493), and a strongly typed network has no other way to ask for FP32 statistics: the
  ``compute_precision`` of a normalization layer is gone, so ``stash_type`` alone promises nothing.
- **Pooling and normalisation** of an embedding run in FP32: they add a value for each of hundreds of tokens, and
  squares. A Dense module between them is a matrix product like any other.
- **Counted positions** (RoBERTa's) are FP32 sums: FP16 holds no odd number beyond 2048.
- **Graph outputs** stay FP32, so that a client sees the same types whatever the precision. BERT ends
  in a LayerNormalization (no Cast at all) or a small head (one Cast of a few numbers).
- **What FP16 cannot hold** on measured rows runs in FP32, and its matrix products are scaled
  (`prep_triton.precision.fp16.remedy`).
- **Mask constants** beyond FP16 (-3.4e38, -inf) become -1e4: as -inf they turn a fully masked row
  into NaN, and -1e4 already gives a softmax weight of exactly 0.

Softmax stays in FP16: its runtimes subtract the maximum first, so that nothing in it overflows.

Chosen by measurement (MiniLM, 16 reference rows, onnxruntime 1.32 on the CPU, cosine to PyTorch FP32):

==========================================  =====  =====  ===============  ===============
FP16 form                                   nodes  Casts  1 - mean cosine  1 - min cosine
==========================================  =====  =====  ===============  ===============
this rewrite                                  220     26  1.5e-7           2.8e-7
onnxruntime's converter, LayerNorm blocked    222     28  1.5e-7           3.0e-7
onnxruntime's converter                       196      2  4.3e-7           7.6e-7
torch export of ``model.half()``              196      2  4.3e-7           7.7e-7
==========================================  =====  =====  ===============  ===============

The Casts are those around LayerNormalization, which a builder fuses with it. The converter clamps weights that overflow
without a word, where this rewrite names them and stops. ModelOpt's AutoCast was not measured: it needs sample data.
"""

import logging
import math
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper
from onnx.helper import make_tensor_value_info

from prep_triton.errors import PrecisionError
from prep_triton.precision.fp16.remedy import FP32_OPS, NOTHING, Remedy, apply_remedy
from prep_triton.precision.rewrite.checks import MASK_VALUE, check_rewritable
from prep_triton.precision.rewrite.weights import FP16_MAX, half_from_array
from prep_triton.tasks import NORMALIZE_SCOPE, POOLING_SCOPE, POSITIONS_SCOPE

log = logging.getLogger(__name__)

_FP32, _FP16 = TensorProto.FLOAT, TensorProto.FLOAT16
_MASK_OPS = frozenset({"Add", "Mul", "Where"})


@dataclass(frozen=True)
class PlannedWeight:
    """An initializer of the rewritten graph: its name, its type, and the FP32 one that `factor` makes it from."""

    name: str
    data_type: int
    source: TensorProto
    factor: float = 1.0


def rewrite_to_fp16(
    proto: ModelProto, *, remedy: Remedy = NOTHING, allow_quantized: bool = False
) -> list[PlannedWeight]:
    """Rewrite a graph to FP16, in place, without reading its weights.

    Args:
        proto: A graph of standard operators whose float tensors are all FP32. Large initializers need
            not hold their bytes.
        remedy: What stays out of FP16, planned for this graph.
        allow_quantized: Accept explicit Q/DQ, whose scales become FP16 like everything else.

    Returns:
        The float initializers that the rewritten graph reads; it holds none itself.

    Raises:
        PrecisionError: The graph is FP16 or quantised already, holds subgraphs, functions or operators
            that are not ONNX's own.
    """
    check_rewritable(proto, allow_quantized=allow_quantized)
    graph = proto.graph
    _lift_constants(graph)
    _forget_initializer_inputs(graph)
    kept_out, factors = apply_remedy(graph, remedy)
    fp32 = kept_out | _find_sums(graph)
    float_names = _find_float_tensors(proto)
    _clamp_masks(graph)
    _retype_attributes(graph, fp32)
    read_weights = _Rewiring(graph, float_names, fp32).run()
    planned = _plan_weights(graph, read_weights, factors)
    del graph.value_info[:]  # it names the old types; shape inference gives the new ones
    infer_types(proto, planned)
    return planned


def find_rewritten_tensors(proto: ModelProto) -> set[str]:
    """Return the names of the tensors that `rewrite_to_fp16` makes FP16; mask constants are clamped, in place.

    Those within sums that stay FP32 are not among them, what is read of a sum elsewhere is.

    Raises:
        PrecisionError: The graph is not valid ONNX.
    """
    _lift_constants(proto.graph)
    _forget_initializer_inputs(proto.graph)
    names = _find_float_tensors(proto)
    _clamp_masks(proto.graph)
    sums = _find_sums(proto.graph)
    read = {name for node in proto.graph.node if node.output[0] not in sums for name in node.input}
    return names - (sums - read)


def _find_sums(graph: GraphProto) -> set[str]:
    """Return the first output of each node that pools or normalises an embedding, or counts positions."""
    scopes = (f"{POOLING_SCOPE}/", NORMALIZE_SCOPE, f"{POSITIONS_SCOPE}/")
    return {node.output[0] for node in graph.node if node.name.startswith(scopes)}


def _lift_constants(graph: GraphProto) -> None:
    """Turn Constant nodes into initializers, so that there is one kind of constant."""
    kept = []
    for node in graph.node:
        if node.op_type != "Constant":
            kept.append(node)
            continue
        (attribute,) = node.attribute
        value = onnx.helper.get_attribute_value(attribute)
        if attribute.name == "value":
            graph.initializer.add().CopyFrom(value)
            graph.initializer[-1].name = node.output[0]
        elif attribute.name in ("value_float", "value_floats"):
            graph.initializer.append(numpy_helper.from_array(np.asarray(value, np.float32), node.output[0]))
        elif attribute.name in ("value_int", "value_ints"):
            graph.initializer.append(numpy_helper.from_array(np.asarray(value, np.int64), node.output[0]))
        else:
            kept.append(node)
    _replace_nodes(graph, kept)


def _forget_initializer_inputs(graph: GraphProto) -> None:
    """Drop graph inputs that only declare an initializer (IR version 3); their type would be wrong."""
    constants = {tensor.name for tensor in graph.initializer}
    for index in reversed(range(len(graph.input))):
        if graph.input[index].name in constants:
            del graph.input[index]


def infer_types(proto: ModelProto, planned: Sequence[PlannedWeight] = ()) -> ModelProto:
    """Check the graph and infer every tensor's type, without copying or reading the weights.

    The values of a float initializer decide no type, so the checked graph declares it as an input.

    Raises:
        PrecisionError: The graph is not valid ONNX.
    """
    bare = ModelProto(ir_version=proto.ir_version, opset_import=proto.opset_import)
    bare.graph.name = proto.graph.name
    bare.graph.node.extend(proto.graph.node)
    bare.graph.input.extend(proto.graph.input)
    bare.graph.output.extend(proto.graph.output)
    for weight in planned:
        bare.graph.input.append(make_tensor_value_info(weight.name, weight.data_type, weight.source.dims))
    for tensor in proto.graph.initializer:
        if tensor.data_type in (_FP32, _FP16):
            bare.graph.input.append(make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
        else:
            bare.graph.initializer.append(tensor)
    try:
        onnx.checker.check_model(bare)
        return onnx.shape_inference.infer_shapes(bare, check_type=True, strict_mode=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as err:
        raise PrecisionError(
            f"the graph is not one that onnx can type: {str(err).strip()}",
            hint="this rewrite knows the graphs that `prep export` writes: export the model again",
        ) from err


def _find_float_tensors(proto: ModelProto) -> set[str]:
    """Return the names of every FP32 tensor of the graph."""
    inferred = infer_types(proto).graph
    declared = (*inferred.input, *inferred.value_info, *inferred.output)
    return {info.name for info in declared if info.type.tensor_type.elem_type == _FP32}


def _clamp_masks(graph: GraphProto) -> None:
    """Bring scalar mask constants into FP16's range (see the module's docstring)."""
    readers: dict[str, set[str]] = defaultdict(set)
    for node in graph.node:
        for name in node.input:
            readers[name].add(node.op_type)
    for tensor in graph.initializer:
        if tensor.data_type != _FP32 or math.prod(tensor.dims) != 1 or not readers[tensor.name] <= _MASK_OPS:
            continue
        array = numpy_helper.to_array(tensor)
        if array.item() <= -FP16_MAX:
            log.info("mask constant '%s' (%g) becomes %g in fp16", tensor.name, array.item(), MASK_VALUE)
            tensor.CopyFrom(numpy_helper.from_array(np.full_like(array, MASK_VALUE), tensor.name))


def _retype_attributes(graph: GraphProto, fp32: Collection[str]) -> None:
    """Make the nodes whose output type is an attribute (Cast, ConstantOfShape, ...) give FP16, but for `fp32`."""
    for node in graph.node:
        if node.output[0] in fp32:
            continue
        for attribute in node.attribute:
            if attribute.name in ("to", "dtype") and attribute.i == _FP32:
                attribute.i = _FP16
            elif attribute.type == AttributeProto.TENSOR and attribute.t.data_type == _FP32:
                array = numpy_helper.to_array(attribute.t)
                if array.size == 1 and array.item() <= -FP16_MAX:
                    array = np.full_like(array, MASK_VALUE)
                half = half_from_array(array, attribute.t.name or node.name)
                attribute.t.CopyFrom(numpy_helper.from_array(half, attribute.t.name))


class _Rewiring:
    """Gives every node its inputs in the type it wants, with as few Casts as possible.

    A tensor may be known in both types, under two names: `names[tensor, type]`. A Cast is added when
    a reader wants a type that is not there yet, and later readers share it.
    """

    def __init__(self, graph: GraphProto, float_names: set[str], fp32: Collection[str]) -> None:
        self.graph = graph
        self.floats = float_names
        self.fp32 = fp32
        self.weights = {tensor.name for tensor in graph.initializer}
        self.read_weights: dict[str, dict[int, str]] = defaultdict(dict)
        self.taken = float_names | {name for node in graph.node for name in (*node.input, *node.output)}
        self.names: dict[tuple[str, int], str] = {
            (info.name, _FP32): info.name for info in graph.input if info.name in float_names
        }
        self.outputs = {info.name for info in graph.output}
        self.nodes: list[NodeProto] = []

    def run(self) -> dict[str, dict[int, str]]:
        """Rewire the graph; return, for each float initializer, the names it is read by in each type."""
        for node in self.graph.node:
            data_type = _FP32 if node.op_type in FP32_OPS or node.output[0] in self.fp32 else _FP16
            for index, name in enumerate(node.input):
                if name in self.floats:
                    node.input[index] = self._name_in(name, data_type)
            self.nodes.append(node)
            for index, name in enumerate(node.output):
                if name in self.floats:
                    node.output[index] = self._declare(name, data_type)
        for info in self.graph.output:
            if info.name in self.floats:
                self._add_output(info.name)
        _replace_nodes(self.graph, self.nodes)
        return self.read_weights

    def _name_in(self, name: str, data_type: int) -> str:
        if name in self.weights:
            return self._weight_in(name, data_type)
        if (name, data_type) not in self.names:
            other = self.names[name, _FP32 if data_type == _FP16 else _FP16]
            self.names[name, data_type] = self._add_cast(other, self._fresh_name(name, data_type), data_type)
        return self.names[name, data_type]

    def _weight_in(self, name: str, data_type: int) -> str:
        names = self.read_weights[name]
        if data_type not in names:
            names[data_type] = self._fresh_name(name, data_type) if names else name
        return names[data_type]

    def _declare(self, name: str, data_type: int) -> str:
        # A graph output keeps its name for the FP32 tensor that the client sees.
        produced = self._fresh_name(name, data_type) if name in self.outputs and data_type == _FP16 else name
        self.names[name, data_type] = produced
        return produced

    def _add_output(self, name: str) -> None:
        produced = self.names.get((name, _FP32))
        if produced != name:
            self._add_cast(produced or self.names[name, _FP16], name, _FP32)

    def _add_cast(self, source: str, target: str, to: int) -> str:
        self.nodes.append(onnx.helper.make_node("Cast", [source], [target], name=f"cast_{target}", to=to))
        return target

    def _fresh_name(self, name: str, data_type: int) -> str:
        fresh = f"{name}.fp16" if data_type == _FP16 else f"{name}.fp32"
        while fresh in self.taken:
            fresh += "_"
        self.taken.add(fresh)
        return fresh


def _plan_weights(
    graph: GraphProto, read_weights: dict[str, dict[int, str]], factors: Mapping[str, float]
) -> list[PlannedWeight]:
    """Take every float initializer out of the graph; those that nobody reads are dropped."""
    planned: list[PlannedWeight] = []
    kept = []
    for tensor in graph.initializer:
        if tensor.data_type != _FP32:
            kept.append(tensor)
        for data_type, name in read_weights.get(tensor.name, {}).items():
            planned.append(PlannedWeight(name, data_type, tensor, factors.get(tensor.name, 1.0)))
    del graph.initializer[:]
    graph.initializer.extend(kept)
    return planned


def _replace_nodes(graph: GraphProto, nodes: list[NodeProto]) -> None:
    del graph.node[:]
    graph.node.extend(nodes)
