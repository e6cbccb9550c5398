"""An ONNX graph that another tool exported: what it must be, and the same graph with the names that prep gives.

`torch.onnx` (by tracing and by dynamo), optimum and MLflow write BERT with the inputs of transformers, and name axes
and outputs as they like. Nothing of what the graph computes is changed.
"""

import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx.inliner
import onnx.version_converter
from onnx import AttributeProto, GraphProto, ModelProto, TensorProto, ValueInfoProto, numpy_helper
from onnx.helper import make_node, make_tensor, make_tensor_value_info

from prep_triton.artifact import TensorSpec
from prep_triton.errors import PrecisionError, SourceError
from prep_triton.export.heads import OPSET
from prep_triton.external_data import find_span, iterate_external
from prep_triton.files import digest_file
from prep_triton.onnx_file import is_one_file, load_model, load_skeleton

log = logging.getLogger(__name__)

# The first opset with a quantisation scale for each channel (DequantizeLinear), which INT8 needs.
MIN_OPSET = 13
_FIRST_WITH_LAYER_NORM = 17
# What else the inputs are called: google-research/bert, and ONNX's own model zoo.
_INPUT_ALIASES = {"input_mask": "attention_mask", "segment_ids": "token_type_ids"}
_OUTPUT_ALIASES = {"token_embeddings": "last_hidden_state", "sentence_embedding": "embedding"}
_STANDARD_DOMAINS = ("", "ai.onnx")
_RUNTIME_DOMAIN = "com.microsoft"
_QUANTIZED = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "QLinearMatMul")
_DYNAMIC = "export it with dynamic axes: the first of each input is the batch, the second the sequence"


@dataclass(frozen=True)
class Interface:
    """What a graph has to take and to answer.

    `inputs` are all that it may have, of which the first two it must; INT64 [batch, sequence]. `outputs` it must have.
    `zeros` are inputs that it may have as well and that can only be 0, which prep computes in the graph.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    zeros: tuple[str, ...] = ()


@dataclass(frozen=True)
class ForeignGraph:
    """A graph that was checked: `proto` has prep's names, `fed` and `read` map these to those of its file.

    `fed` has the inputs that `proto` computes as zeros too.
    """

    proto: ModelProto
    opset: int
    inputs: tuple[TensorSpec, ...]
    fed: Mapping[str, str]
    read: Mapping[str, str]
    int32: frozenset[str]


def digest_graph(path: Path) -> str:
    """Return the SHA-256 of a graph and of the weights beside it.

    Raises:
        SourceError: It cannot be read, or its weights lie outside of its folder.
    """
    try:
        tensors = iterate_external(load_skeleton(path).graph)
        files = {path, *(find_span(tensor, path.parent).path for tensor in tensors)}
        digests = sorted(f"{file.relative_to(path.parent)}:{digest_file(file)}" for file in files)
    except (OSError, ValueError) as err:
        raise _unreadable(path, err) from err
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def answers_embedding(path: Path) -> bool:
    """Whether a graph has an output that is called an embedding of the whole text.

    Raises:
        SourceError: It cannot be read.
    """
    try:
        outputs = load_skeleton(path).graph.output
    except (OSError, ValueError) as err:
        raise _unreadable(path, err) from err
    return any(_OUTPUT_ALIASES.get(entry.name, entry.name) == "embedding" for entry in outputs)


def load_foreign(path: Path, interface: Interface) -> ForeignGraph:
    """Load a graph, check it, and give its inputs and outputs the names of an interface.

    Raises:
        SourceError: It is damaged, or is not a graph that prep can serve; says what it should be.
    """
    try:
        proto = load_model(path)
    except PrecisionError as err:
        raise SourceError(err.message, hint="copy it again, with the weights that lie beside it") from err
    if proto.functions:
        proto = onnx.inliner.inline_local_functions(proto)
    opset = _find_opset(proto, path)
    _check_operators(proto, path)
    graph = proto.graph
    fed = _match_inputs(graph, interface, path)
    read = _match_outputs(graph, interface, path)
    int32 = frozenset(name for name, entry in fed.items() if _type_of(entry) == TensorProto.INT32)
    specs = tuple(spec for spec in interface.inputs if spec.name in fed)
    _rename(graph, {entry.name: name for name, entry in {**fed, **read}.items()})
    names = {name: entry.name for name, entry in fed.items()}, {name: entry.name for name, entry in read.items()}
    zeros = [name for name in interface.zeros if name in fed]
    _declare(graph, Interface(specs, interface.outputs, tuple(zeros)), int32)
    _drop_unread(graph)
    return ForeignGraph(*_raise_opset(proto, opset, path), specs, *names, int32)


def count_embedding_rows(graph: GraphProto) -> int | None:
    """Return how many rows the table has that ``input_ids`` chooses from; None where it is not seen."""
    shapes = {tensor.name: tensor.dims for tensor in graph.initializer}
    ids = {"input_ids"}
    for node in graph.node:
        if node.op_type in ("Cast", "Identity") and node.input[0] in ids:
            ids.add(node.output[0])
        elif node.op_type == "Gather" and node.input[1] in ids and node.input[0] in shapes:
            return int(shapes[node.input[0]][0])
    return None


def _unreadable(path: Path, err: Exception) -> SourceError:
    return SourceError(f"{path} is not a whole ONNX file: {err}", hint="copy it again, with the weights beside it")


def _find_opset(proto: ModelProto, path: Path) -> int:
    opset = next((entry.version for entry in proto.opset_import if entry.domain in _STANDARD_DOMAINS), 0)
    newest = onnx.defs.onnx_opset_version()
    if not MIN_OPSET <= opset <= newest:
        raise SourceError(
            f"{path} has opset {opset}; prep takes {MIN_OPSET} to {newest}", hint="export it with opset_version=18"
        )
    return int(opset)


def _raise_opset(proto: ModelProto, opset: int, path: Path) -> tuple[ModelProto, int]:
    """Return a graph in prep's own opset, whose Q/DQ INT8 needs; as it is where onnx cannot convert it.

    What it answers is compared afterwards.
    """
    if opset < _FIRST_WITH_LAYER_NORM:
        log.warning(
            "%s has opset %d, which has no LayerNormalization: what stands for it may not hold in FP16; for FP16, INT8 "
            "and engines export it with opset_version=%d", path.name, opset, _FIRST_WITH_LAYER_NORM,
        )  # fmt: skip
    is_plain = all(entry.domain in _STANDARD_DOMAINS for entry in proto.opset_import)
    if opset >= OPSET or not is_plain or not is_one_file(proto):
        return proto, opset
    try:
        onnx.checker.check_model(proto)  # the converter crashes on what is not valid
        return onnx.version_converter.convert_version(proto, OPSET), OPSET
    except Exception as err:  # both raise many types
        log.debug("%s stays at opset %d: %s", path.name, opset, err)
        return proto, opset


def _has_zero_points(proto: ModelProto) -> bool:
    """Whether something of an explicit Q/DQ graph is asymmetric: a third input that is not 0 throughout."""
    pairs = (node for node in _walk_nodes(proto.graph) if node.op_type in ("QuantizeLinear", "DequantizeLinear"))
    names = {node.input[2] for node in pairs if len(node.input) > 2}
    return any(numpy_helper.to_array(tensor).any() for tensor in proto.graph.initializer if tensor.name in names)


def _check_operators(proto: ModelProto, path: Path) -> None:
    """Refuse operators that no server has, and weights that are not FP32; say what the rest cannot become."""
    nodes = list(_walk_nodes(proto.graph))
    custom = sorted({f"{node.domain}.{node.op_type}" for node in nodes if node.domain not in _STANDARD_DOMAINS})
    foreign = [name for name in custom if not name.startswith(f"{_RUNTIME_DOMAIN}.")]
    if foreign:
        raise SourceError(
            f"{path} has the custom operators {', '.join(foreign[:3])}",
            hint="export it with ONNX's own operators alone",
        )
    if quantized := next((node.op_type for node in nodes if node.op_type in _QUANTIZED), None):
        shifted = ", with zero points other than 0, which TensorRT refuses and OpenVINO takes"
        raise SourceError(
            f"{path} is quantized already ({quantized}{shifted if _has_zero_points(proto) else ''}), expected an FP32 "
            "graph",
            hint="bring the graph it was quantized from; prep quantizes it with --int8",
        )
    halves = (TensorProto.FLOAT16, TensorProto.BFLOAT16)
    if half := next((tensor for tensor in proto.graph.initializer if tensor.data_type in halves), None):
        kind = TensorProto.DataType.Name(half.data_type)
        raise SourceError(
            f"{path} has {kind} weights ({half.name}), expected an FP32 graph",
            hint="export it in FP32; prep makes FP16 of it with --fp16",
        )
    bodies = any(len(node.attribute) and _has_body(node) for node in nodes)
    if custom or bodies:
        what = f"operators of ONNX Runtime alone ({', '.join(custom[:3])})" if custom else "loops or branches"
        log.warning(
            "%s has %s: it is served as it is, FP32 in ONNX Runtime, and becomes neither FP16, INT8 nor an engine",
            path.name, what,
        )  # fmt: skip


def _walk_nodes(graph: GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):
                yield from _walk_nodes(body)


def _has_body(node: onnx.NodeProto) -> bool:
    return any(attribute.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS) for attribute in node.attribute)


def _type_of(entry: ValueInfoProto) -> int:
    return int(entry.type.tensor_type.elem_type)


def _shape_of(entry: ValueInfoProto) -> list[int | str]:
    dims = entry.type.tensor_type.shape.dim
    return [dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "?" for dim in dims]


def _match_inputs(graph: GraphProto, interface: Interface, path: Path) -> dict[str, ValueInfoProto]:
    """Return the graph's inputs by prep's names."""
    stored = {tensor.name for tensor in graph.initializer}
    entries = {_INPUT_ALIASES.get(entry.name, entry.name): entry for entry in graph.input if entry.name not in stored}
    known = [spec.name for spec in interface.inputs]
    taken = [*known, *interface.zeros]
    has = ", ".join(entry.name for entry in entries.values())
    if unknown := [name for name in entries if name not in taken]:
        raise SourceError(
            f"{path} has the inputs {has}; expected {', '.join(known)}, and not {', '.join(unknown)}",
            hint=f"export it with {', '.join(known)} alone, and these names in input_names",
        )
    if missing := [name for name in known[:2] if name not in entries]:
        raise SourceError(
            f"{path} has the inputs {has}, and lacks {' and '.join(missing)}",
            hint=f"export it with {' and '.join(missing)} among its inputs",
        )
    for name, entry in entries.items():
        if _type_of(entry) not in (TensorProto.INT64, TensorProto.INT32):
            kind = TensorProto.DataType.Name(_type_of(entry))
            raise SourceError(f"input {name} of {path} is {kind}, expected INT64", hint="export it with integer ids")
        shape = _shape_of(entry)
        if len(shape) != 2 or any(isinstance(size, int) for size in shape):
            raise SourceError(f"input {name} of {path} has the shape {shape}, expected two free axes", hint=_DYNAMIC)
    return {name: entries[name] for name in taken if name in entries}


def _match_outputs(graph: GraphProto, interface: Interface, path: Path) -> dict[str, ValueInfoProto]:
    """Return the outputs that a task has: by their names, or by their shape where no others come into question."""
    entries = {_OUTPUT_ALIASES.get(entry.name, entry.name): entry for entry in graph.output}
    names = [spec.name for spec in interface.outputs]
    if all(name in entries for name in names):
        chosen = [entries[name] for name in names]
    else:
        chosen = [entry for entry in graph.output if _could_be(entry, interface.outputs[0])]
        if len(chosen) != len(names):
            described = ", ".join(f"{entry.name} {_shape_of(entry)}" for entry in graph.output)
            expected = ", ".join(f"{spec.name} {list(spec.shape)}" for spec in interface.outputs)
            raise SourceError(
                f"{path} has the outputs {described}; its task has {expected}",
                hint="say the --task that it was exported for, or export it with these names in output_names",
            )
    for entry in chosen:
        if _type_of(entry) != TensorProto.FLOAT:
            kind = TensorProto.DataType.Name(_type_of(entry))
            raise SourceError(f"output {entry.name} of {path} is {kind}, expected FLOAT", hint="export it in FP32")
    return dict(zip(names, chosen, strict=True))


def _could_be(entry: ValueInfoProto, spec: TensorSpec) -> bool:
    shape = _shape_of(entry)
    same_rank = len(shape) == len(spec.shape)
    return same_rank and all(
        isinstance(size, str) or isinstance(expected, str) or size == expected
        for size, expected in zip(shape, spec.shape, strict=True)
    )


def _rename(graph: GraphProto, names: Mapping[str, str]) -> None:
    """Give tensors other names; a tensor that has one of these already makes room."""
    names = {old: new for old, new in names.items() if old != new}
    names |= {new: f"{new}_before" for new in names.values() if new not in names}

    def rename_all(words: "Sequence[str]") -> list[str]:
        return [names.get(word, word) for word in words]

    for node in _walk_nodes(graph):
        node.input[:], node.output[:] = rename_all(node.input), rename_all(node.output)
    for entry in (*graph.input, *graph.output, *graph.initializer):
        entry.name = names.get(entry.name, entry.name)


def _declare(graph: GraphProto, interface: Interface, int32: frozenset[str]) -> None:
    """Declare inputs and outputs as prep does: INT64 and FP32, with the axes' names; make zeros of what is only 0."""
    _rename(graph, {name: f"{name}_int32" for name in int32})
    casts = [make_node("Cast", [name], [f"{name}_int32"], name=f"{name}_cast", to=TensorProto.INT32) for name in int32]
    nodes = [*_make_zeros(interface.zeros), *casts, *graph.node]
    del graph.node[:], graph.input[:], graph.output[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.input.extend(make_tensor_value_info(spec.name, TensorProto.INT64, spec.shape) for spec in interface.inputs)
    graph.output.extend(make_tensor_value_info(spec.name, TensorProto.FLOAT, spec.shape) for spec in interface.outputs)


def _make_zeros(names: Iterable[str]) -> Iterator[onnx.NodeProto]:
    """Yield what computes zeros of the shape of ``input_ids`` under each name."""
    for name in names:
        yield make_node("Shape", ["input_ids"], [f"{name}_shape"], name=f"{name}_shape")
        zero = make_tensor("zero", TensorProto.INT64, [1], [0])
        yield make_node("ConstantOfShape", [f"{name}_shape"], [name], name=f"{name}_zeros", value=zero)


def _drop_unread(graph: GraphProto) -> None:
    """Drop the nodes and weights that no output reads: those of outputs that the task does not have."""
    read = {entry.name for entry in graph.output}
    kept = []
    for node in reversed(graph.node):
        if any(name in read for name in node.output):
            kept.append(node)
            read |= {name for inner in _with_bodies(node) for name in inner.input}
    kept.reverse()
    weights = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(kept)
    graph.initializer.extend(weights)


def _with_bodies(node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    yield node
    for attribute in node.attribute:
        for body in (attribute.g, *attribute.graphs):
            yield from _walk_nodes(body)
