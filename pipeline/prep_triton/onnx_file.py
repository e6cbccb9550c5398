"""Reads an ONNX file without its weights, and writes one with weights that are made as they are written.

A BERT's graph is a few hundred kilobytes and its weights are hundreds of megabytes, so a rewrite of
the graph need not hold them: memory stays flat whatever the model. The layout is that of protocol
buffers (https://protobuf.dev/programming-guides/encoding) and of onnx.proto3: field 7 of ModelProto
is the graph, field 5 of GraphProto an initializer, field 9 of TensorProto its raw bytes.
"""

import mmap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import onnx
from google.protobuf.message import DecodeError
from onnx import ModelProto, TensorProto
from onnx.external_data_helper import ExternalDataInfo, load_external_data_for_tensor, uses_external_data

from prep_triton.errors import PrecisionError

# The largest message that protocol buffers can hold.
MAX_FILE_BYTES = 2**31 - 1

_GRAPH, _INITIALIZER, _RAW = 7, 5, 9
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
# Smaller constants (shapes, scalars) stay in the graph, where a rewrite can read them.
_INLINE_BYTES = 1024

_EXPORT_AGAIN = "export the model again: prep export"


@dataclass(frozen=True)
class RawSpan:
    """Where a weight's little-endian bytes lie: `length` bytes of a file from `offset`."""

    path: Path
    offset: int
    length: int


class Weight(Protocol):
    """A weight to write: its description, and its bytes made chunk by chunk."""

    def header(self) -> TensorProto:
        """Return the tensor without its bytes."""

    def size_bytes(self) -> int:
        """Return how many bytes `chunks` will give."""

    def chunks(self) -> Iterator[memoryview | bytes]:
        """Yield the bytes."""


def load_model(path: Path) -> ModelProto:
    """Read an ONNX file, weights and all.

    Raises:
        PrecisionError: The file is missing, empty, cut short, or no ONNX model.
    """
    try:
        model = onnx.load(path)
        if not model.graph.node:
            raise ValueError("it holds no graph")
    except (OSError, ValueError, DecodeError, onnx.checker.ValidationError) as err:
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
        with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            model, spans = _parse_model(mapped, path)
    except (OSError, ValueError, IndexError, DecodeError) as err:
        raise PrecisionError(f"{path} is not a whole ONNX file: {err}", hint=_EXPORT_AGAIN) from err
    for tensor in model.graph.initializer:
        if uses_external_data(tensor):
            _take_external(tensor, path.parent, spans)
    return model, spans


def save_with_weights(model: ModelProto, weights: Iterable[Weight], path: Path) -> None:
    """Write an ONNX file: the model's own graph, and more initializers streamed into it.

    Raises:
        PrecisionError: The file would pass the 2 GiB that one ONNX file can hold.
    """
    shell = ModelProto()
    shell.CopyFrom(model)
    shell.ClearField("graph")
    graph = model.graph.SerializeToString()
    records = [(_render_record_head(weight), weight) for weight in weights]
    size = len(graph) + sum(len(head) + weight.size_bytes() for head, weight in records)
    if size > MAX_FILE_BYTES:
        raise PrecisionError(
            f"the graph takes {size} bytes, one ONNX file holds {MAX_FILE_BYTES} at most", hint="use a smaller model"
        )
    with path.open("wb") as stream:
        stream.write(shell.SerializeToString())
        stream.write(_render_tag(_GRAPH, size) + graph)
        for head, weight in records:
            stream.write(head)
            for chunk in weight.chunks():
                stream.write(chunk)


def _parse_model(mapped: mmap.mmap, path: Path) -> tuple[ModelProto, dict[str, RawSpan]]:
    small, spans = bytearray(), {}
    initializers: list[TensorProto] = []
    for number, start, body, end in _iterate_fields(mapped, 0, len(mapped)):
        if number != _GRAPH:
            small += mapped[start:end]
            continue
        graph = bytearray()
        for inner, inner_start, inner_body, inner_end in _iterate_fields(mapped, body, end):
            if inner != _INITIALIZER:
                graph += mapped[inner_start:inner_end]
                continue
            tensor, span = _parse_initializer(mapped, path, inner_body, inner_end)
            initializers.append(tensor)
            if span:
                spans[tensor.name] = span
        small += _render_tag(_GRAPH, len(graph)) + graph
    model = ModelProto.FromString(bytes(small))
    if not model.graph.node:
        raise ValueError("it holds no graph")
    model.graph.initializer.extend(initializers)
    return model, spans


def _parse_initializer(mapped: mmap.mmap, path: Path, begin: int, stop: int) -> tuple[TensorProto, RawSpan | None]:
    small, span = bytearray(), None
    for number, start, body, end in _iterate_fields(mapped, begin, stop):
        if number == _RAW and end - body >= _INLINE_BYTES:
            span = RawSpan(path, body, end - body)
        else:
            small += mapped[start:end]
    tensor = TensorProto.FromString(bytes(small))
    if span and tensor.data_type != TensorProto.FLOAT:  # integers are shapes and indices: the graph needs them
        tensor.raw_data = mapped[span.offset : span.offset + span.length]
        span = None
    return tensor, span


def _take_external(tensor: TensorProto, folder: Path, spans: dict[str, RawSpan]) -> None:
    """Treat a weight that lies in a file beside the graph as one that lies in it."""
    info = ExternalDataInfo(tensor)
    path, offset = folder / info.location, info.offset or 0
    spans[tensor.name] = RawSpan(path, offset, info.length or path.stat().st_size - offset)
    if tensor.data_type != TensorProto.FLOAT:
        load_external_data_for_tensor(tensor, str(folder))
        del spans[tensor.name]
    tensor.ClearField("external_data")
    tensor.ClearField("data_location")


def _iterate_fields(mapped: mmap.mmap, begin: int, stop: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield (field number, start of its tag, start of its value, end) of each field in a message."""
    position = begin
    while position < stop:
        start = position
        tag, position = _read_varint(mapped, position)
        body = position
        kind = tag & 7
        if kind == _VARINT:
            _, position = _read_varint(mapped, position)
        elif kind == _LENGTH:
            length, body = _read_varint(mapped, position)
            position = body + length
        elif kind in (_FIXED64, _FIXED32):
            position += 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"unknown wire type {kind} at byte {start}")
        if position > stop:
            raise ValueError(f"it is cut short: a field at byte {start} ends {position - stop} bytes beyond its end")
        yield tag >> 3, start, body, position


def _read_varint(mapped: mmap.mmap, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = mapped[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise ValueError(f"no number at byte {position}")


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
