"""Reads an ONNX file without its weights, and writes one with weights that are made as they are written.

A BERT's graph is a few hundred kilobytes and its weights are hundreds of megabytes, so a rewrite of
the graph need not hold them: memory stays flat whatever the model. The layout is that of protocol
buffers (https://protobuf.dev/programming-guides/encoding) and of onnx.proto: a weight is an initializer of
the model's graph, and its values are the raw bytes of that tensor. `onnx` itself reads a whole file or nothing.
Where one file cannot hold the weights, they lie in another beside it (`prep_triton.external_data`).
"""

import mmap
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, TensorProto
from onnx.external_data_helper import uses_external_data

from prep_triton.errors import PrecisionError
from prep_triton.external_data import (
    PAGE_BYTES,
    RawSpan,
    find_span,
    forget_place,
    iterate_external,
    point_beside,
    take_in,
)
from prep_triton.layout import ONE_FILE_BYTES, WEIGHTS_NAME

_GRAPH = ModelProto.DESCRIPTOR.fields_by_name["graph"].number
_INITIALIZER = GraphProto.DESCRIPTOR.fields_by_name["initializer"].number
_RAW = TensorProto.DESCRIPTOR.fields_by_name["raw_data"].number
_VALUES = frozenset(field.number for field in TensorProto.DESCRIPTOR.fields if field.name.endswith("_data")) - {
    TensorProto.DESCRIPTOR.fields_by_name["external_data"].number
}
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
# Smaller constants (shapes, scalars) stay in the graph, where a rewrite can read them.
_INLINE_BYTES = 1024

_EXPORT_AGAIN = "export the model again: prep export MODEL"


class Weight(Protocol):
    """A weight to write: its description, and its bytes made chunk by chunk."""

    def header(self) -> TensorProto:
        """Return the tensor without its bytes."""

    def size_bytes(self) -> int:
        """Return how many bytes `chunks` will give."""

    def chunks(self) -> Iterator[memoryview | bytes]:
        """Yield the bytes."""


@dataclass(frozen=True)
class ArrayWeight:
    """A weight that lies in an array, of any shape and stride; copied only where its bytes are not in the file's order.

    Args:
        name: The initializer's name.
        array: Its values.
    """

    name: str
    array: NDArray[Any]

    def header(self) -> TensorProto:
        """Return the tensor without its bytes."""
        data_type = onnx.helper.np_dtype_to_tensor_dtype(self.array.dtype)
        return TensorProto(name=self.name, dims=self.array.shape, data_type=data_type)

    def size_bytes(self) -> int:
        """Return the size of the array."""
        return self.array.nbytes

    def chunks(self) -> Iterator[memoryview | bytes]:
        """Yield the array as one little-endian buffer."""
        array = np.ascontiguousarray(self.array)
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)
        yield little.reshape(-1).view(np.uint8).data


@dataclass(frozen=True)
class TensorWeight:
    """A weight that lies in a tensor.

    Args:
        tensor: The tensor, whose values are raw bytes.
    """

    tensor: TensorProto

    def header(self) -> TensorProto:
        """Return the tensor without its bytes."""
        return _copy_without(self.tensor, "raw_data")

    def size_bytes(self) -> int:
        """Return the size of its bytes."""
        return len(self.tensor.raw_data)

    def chunks(self) -> Iterator[memoryview | bytes]:
        """Yield them at once."""
        yield self.tensor.raw_data


def load_model(path: Path) -> ModelProto:
    """Read an ONNX file, weights and all, also those in a file beside it.

    Raises:
        PrecisionError: The file is missing, empty, cut short, or no ONNX model; or its weights beside it are.
    """
    try:
        model = onnx.load(path, load_external_data=False)
        if not model.graph.node:
            raise ValueError("it holds no graph")
        for tensor in iterate_external(model.graph):
            take_in(tensor, find_span(tensor, path.parent))
    except (OSError, ValueError, DecodeError) as err:
        raise PrecisionError(f"{path} is not a whole ONNX file: {err}", hint=_EXPORT_AGAIN) from err
    return model


def load_without_weights(path: Path) -> tuple[ModelProto, dict[str, RawSpan]]:
    """Read an ONNX file, leaving large FP32 weights where they are.

    Returns:
        The model, whose large FP32 initializers have no bytes, and where the bytes of each lie, by name.

    Raises:
        PrecisionError: The file is missing, empty, cut short, or no ONNX model.
    """
    try:
        with _map_file(path) as mapped:
            model, spans = _parse_model(mapped, path)
        for tensor in model.graph.initializer:
            if uses_external_data(tensor) and tensor.data_type == TensorProto.FLOAT:
                spans[tensor.name] = find_span(tensor, path.parent)
                forget_place(tensor)
        for tensor in iterate_external(model.graph):
            take_in(tensor, find_span(tensor, path.parent))
    except (OSError, ValueError) as err:
        raise PrecisionError(f"{path} is not a whole ONNX file: {err}", hint=_EXPORT_AGAIN) from err
    return model, spans


def load_skeleton(path: Path) -> ModelProto:
    """Read an ONNX file without the values of any initializer; weights beside the file are not looked for.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is empty, cut short, or no ONNX model; the reason is one line.
    """
    with _map_file(path) as mapped:
        model, fields = _split_model(mapped)
        for field in fields:
            tensor, _ = _parse_tensor(mapped, field, lambda inner: inner.number in _VALUES)
            model.graph.initializer.append(tensor)
    return model


def save_with_weights(
    model: ModelProto, weights: Iterable[Weight], path: Path, *, one_file_bytes: int = ONE_FILE_BYTES
) -> None:
    """Write an ONNX file: the model's own graph, and more initializers streamed into it.

    Where the file would be too long, large initializers go into `WEIGHTS_NAME` beside it, each from a page's begin on.

    Args:
        model: The model, with the initializers that are not among `weights`.
        weights: What is written behind them, in this order.
        path: The file.
        one_file_bytes: The longest file that holds its weights itself.
    """
    weights = list(weights)
    if not is_one_file(model, weights, one_file_bytes=one_file_bytes):
        _save_weights_beside(model, weights, path)
        return
    head, graph = _copy_without(model, "graph").SerializeToString(), model.graph.SerializeToString()
    records = [(_render_record_head(weight), weight) for weight in weights]
    size = len(graph) + sum(len(start) + weight.size_bytes() for start, weight in records)
    with path.open("wb") as stream:
        stream.write(head + _render_tag(_GRAPH, size) + graph)
        for start, weight in records:
            stream.write(start)
            for chunk in weight.chunks():
                stream.write(chunk)


def is_one_file(model: ModelProto, weights: Iterable[Weight] = (), *, one_file_bytes: int = ONE_FILE_BYTES) -> bool:
    """Whether an ONNX file can hold a model with its own initializers and `weights`."""
    shell, large = _take_apart(model)
    records = [len(_render_record_head(weight)) + weight.size_bytes() for weight in (*large, *weights)]
    size = len(shell.graph.SerializeToString()) + sum(records)
    shell.ClearField("graph")
    return len(shell.SerializeToString()) + len(_render_tag(_GRAPH, size)) + size <= one_file_bytes


def _save_weights_beside(model: ModelProto, weights: Iterable[Weight], path: Path) -> None:
    shell, large = _take_apart(model)
    with path.with_name(WEIGHTS_NAME).open("wb") as stream:
        for weight in (*large, *weights):
            tensor = weight.header()
            if weight.size_bytes() < _INLINE_BYTES:
                tensor.raw_data = b"".join(weight.chunks())
            else:
                stream.write(bytes(-stream.tell() % PAGE_BYTES))
                point_beside(tensor, stream.tell(), weight.size_bytes())
                for chunk in weight.chunks():
                    stream.write(chunk)
            shell.graph.initializer.append(tensor)
    path.write_bytes(shell.SerializeToString())


def _take_apart(model: ModelProto) -> tuple[ModelProto, list[TensorWeight]]:
    """Return a copy of a model without its large initializers, and these."""
    shell = _copy_without(model, "graph")
    shell.graph.CopyFrom(_copy_without(model.graph, "initializer"))
    large = []
    for tensor in model.graph.initializer:
        if len(tensor.raw_data) >= _INLINE_BYTES:
            large.append(TensorWeight(tensor))
        else:
            shell.graph.initializer.append(tensor)
    return shell, large


def _copy_without(message: Any, name: str) -> Any:
    """Return a copy of a message without one of its fields, which is never copied: it may be larger than the rest."""
    copy = type(message)()
    for field, value in message.ListFields():
        if field.name == name:
            continue
        if hasattr(value, "extend"):  # repeated
            getattr(copy, field.name).extend(value)
        elif hasattr(value, "CopyFrom"):
            getattr(copy, field.name).CopyFrom(value)
        else:
            setattr(copy, field.name, value)
    return copy


class _Field(NamedTuple):
    """A field of a message: where its tag, its value and what follows it begin."""

    number: int
    kind: int
    start: int
    body: int
    end: int


@contextmanager
def _map_file(path: Path) -> Iterator[mmap.mmap]:
    """Map a file; what protobuf cannot decode in it is a ValueError of one line, as a file cut short is."""
    try:
        with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            yield mapped
    except DecodeError as err:
        raise ValueError(" ".join(str(err).split())) from err


def _parse_model(mapped: mmap.mmap, path: Path) -> tuple[ModelProto, dict[str, RawSpan]]:
    model, fields = _split_model(mapped)
    if not model.graph.node:
        raise ValueError("it holds no graph")
    spans = {}
    for field in fields:
        tensor, raw = _parse_tensor(mapped, field, _is_large_raw)
        if raw and tensor.data_type == TensorProto.FLOAT:
            spans[tensor.name] = RawSpan(path, raw.body, raw.end - raw.body)
        elif raw:  # integers are shapes and indices: the graph needs them
            tensor.raw_data = mapped[raw.body : raw.end]
        model.graph.initializer.append(tensor)
    return model, spans


def _is_large_raw(field: _Field) -> bool:
    return field.number == _RAW and field.end - field.body >= _INLINE_BYTES


def _split_model(mapped: mmap.mmap) -> tuple[ModelProto, list[_Field]]:
    """Return the model without its initializers, and where each of them lies."""
    small, initializers = bytearray(), []
    for field in _iterate_fields(mapped, 0, len(mapped)):
        if (field.number, field.kind) != (_GRAPH, _LENGTH):
            small += mapped[field.start : field.end]
            continue
        graph = bytearray()
        for inner in _iterate_fields(mapped, field.body, field.end):
            if (inner.number, inner.kind) == (_INITIALIZER, _LENGTH):
                initializers.append(inner)
            else:
                graph += mapped[inner.start : inner.end]
        small += _render_tag(_GRAPH, len(graph)) + graph
    return ModelProto.FromString(bytes(small)), initializers


def _parse_tensor(
    mapped: mmap.mmap, tensor: _Field, is_left_out: Callable[[_Field], bool]
) -> tuple[TensorProto, _Field | None]:
    """Return a tensor without some of its fields, and the last one of those."""
    small, left_out = bytearray(), None
    for field in _iterate_fields(mapped, tensor.body, tensor.end):
        if is_left_out(field):
            left_out = field
        else:
            small += mapped[field.start : field.end]
    return TensorProto.FromString(bytes(small)), left_out


def _iterate_fields(mapped: mmap.mmap, begin: int, stop: int) -> Iterator[_Field]:
    position = begin
    while position < stop:
        start = position
        tag, body = _read_varint(mapped, position, stop)
        kind = tag & 7
        if kind == _VARINT:
            _, position = _read_varint(mapped, body, stop)
        elif kind == _LENGTH:
            length, body = _read_varint(mapped, body, stop)
            position = body + length
        elif kind in (_FIXED64, _FIXED32):
            position = body + (8 if kind == _FIXED64 else 4)
        else:
            raise ValueError(f"unknown wire type {kind} at byte {start}")
        if position > stop:
            raise ValueError(f"it is cut short: a field at byte {start} ends {position - stop} bytes beyond its end")
        yield _Field(tag >> 3, kind, start, body, position)


def _read_varint(mapped: mmap.mmap, begin: int, stop: int) -> tuple[int, int]:
    """Return a number, and where what follows it begins; ten bytes of seven bits hold 64."""
    value = 0
    for position in range(begin, min(begin + 10, stop)):
        byte = mapped[position]
        value |= (byte & 0x7F) << 7 * (position - begin)
        if byte < 0x80:
            return value, position + 1
    raise ValueError(f"it is cut short, or damaged: no number at byte {begin}")


def _render_varint(value: int) -> bytes:
    rendered = bytearray()
    while value > 0x7F:
        rendered.append(value & 0x7F | 0x80)
        value >>= 7
    rendered.append(value)
    return bytes(rendered)


def _render_tag(number: int, length: int) -> bytes:
    return _render_varint(number << 3 | _LENGTH) + _render_varint(length)


def _render_record_head(weight: Weight) -> bytes:
    header: bytes = weight.header().SerializeToString() + _render_tag(_RAW, weight.size_bytes())
    return _render_tag(_INITIALIZER, len(header) + weight.size_bytes()) + header
