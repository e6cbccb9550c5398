"""What an ONNX graph takes and gives, read without its weights."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from prep_triton.artifact import TensorSpec

# onnx.TensorProto.DataType to Triton's word (onnxruntime_backend, src/onnxruntime_utils.cc)
_TYPES = {
    1: "FP32", 2: "UINT8", 3: "INT8", 4: "UINT16", 5: "INT16", 6: "INT32", 7: "INT64", 8: "STRING", 9: "BOOL",
    10: "FP16", 11: "FP64", 12: "UINT32", 13: "UINT64", 16: "BF16",
}  # fmt: skip

_FP16 = 10
_QUANTIZERS = ("QuantizeLinear", "DequantizeLinear")  # (x, scale, zero point)

_ONNX_DOMAINS = ("", "ai.onnx")
# onnxruntime, core/session/environment.cc (the domains that it registers) and core/graph/constants.h (their names)
SERVED_DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft", "com.microsoft.nchwc", "com.ms.internal.nhwc")


class DamagedGraphError(Exception):
    """A file is not a complete ONNX model; the text says why, after the file's name."""


@dataclass(frozen=True)
class Signature:
    """Inputs and outputs of a model; an input that an initializer stands in for is optional.

    `is_partial` means that some tensor's rank is not written down. `custom_operators` are those of domains that ONNX
    Runtime does not bring, ``domain:Operator``, without the functions that the file itself defines. `operators` are the
    names of ONNX's own. `has_fp16_scales` means that something is quantised with a scale in FP16.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    optional_inputs: frozenset[str] = field(default=frozenset())
    is_partial: bool = False
    custom_operators: tuple[str, ...] = ()
    operators: frozenset[str] = field(default=frozenset())
    has_fp16_scales: bool = False


def read_signature(path: Path) -> Signature:
    """Read an ONNX file.

    Raises:
        DamagedGraphError: It is empty, truncated, no ONNX model, or its weights beside it are not whole.
    """
    from prep_triton.external_data import find_span, iterate_external
    from prep_triton.onnx_file import load_skeleton

    try:
        model = load_skeleton(path)
    except (ValueError, OSError) as err:
        size = path.stat().st_size
        raise DamagedGraphError(f"is not an ONNX model, or is truncated ({size} bytes: {_brief(err)})") from err
    if not model.graph.output or not model.opset_import:
        raise DamagedGraphError(f"does not hold a complete graph ({path.stat().st_size} bytes)")
    try:
        for tensor in iterate_external(model.graph):
            find_span(tensor, path.parent)
    except ValueError as err:
        raise DamagedGraphError(f"is not whole: {err}") from err
    initial = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in initial]
    values = [*inputs, *model.graph.output]
    try:
        return Signature(
            inputs=tuple(map(_tensor_from_value, inputs)),
            outputs=tuple(map(_tensor_from_value, model.graph.output)),
            optional_inputs=frozenset(initial),
            is_partial=any(not value.type.tensor_type.HasField("shape") for value in values),
            custom_operators=_find_custom_operators(model),
            operators=frozenset(node.op_type for node in _walk_nodes(model.graph.node) if node.domain in _ONNX_DOMAINS),
            has_fp16_scales=_has_fp16_scales(model),
        )
    except ValidationError as err:  # onnx.proto is proto2, whose strings may be no UTF-8
        raise DamagedGraphError("has a name that is not text") from err


def _find_custom_operators(model: Any) -> tuple[str, ...]:
    own = {(function.domain, function.name) for function in model.functions}
    bodies = (model.graph.node, *(function.node for function in model.functions))
    used = {(node.domain, node.op_type) for body in bodies for node in _walk_nodes(body)}
    return tuple(sorted(f"{domain}:{name}" for domain, name in used - own if domain not in SERVED_DOMAINS))


def _has_fp16_scales(model: Any) -> bool:
    halves = {tensor.name for tensor in model.graph.initializer if tensor.data_type == _FP16}
    nodes = list(_walk_nodes(model.graph.node))
    for node in nodes:
        if node.op_type == "Constant" and any(attribute.t.data_type == _FP16 for attribute in node.attribute):
            halves.update(node.output)
    scales = {node.input[1] for node in nodes if node.op_type in _QUANTIZERS and len(node.input) > 1}
    return not scales.isdisjoint(halves)


def _walk_nodes(nodes: Iterable[Any]) -> Iterator[Any]:
    """Yield nodes, and those of the graphs inside them (branches and loops)."""
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        yield node
        for attribute in node.attribute:
            waiting += attribute.g.node
            waiting += [inner for graph in attribute.graphs for inner in graph.node]


def _brief(err: Exception) -> str:
    return " ".join(str(err).split())[:120]


def _tensor_from_value(value: Any) -> TensorSpec:
    tensor = value.type.tensor_type
    shape = tuple(size.dim_value if size.HasField("dim_value") else size.dim_param or "?" for size in tensor.shape.dim)
    return TensorSpec(name=value.name, dtype=_TYPES.get(tensor.elem_type, "INVALID"), shape=shape)
