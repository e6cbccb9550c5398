"""An ONNX file without its weights: 90 % of BERT's bytes are initializers, which no rule looks at.

`onnx` reads a whole graph or nothing (BERT-base in FP32: 436 MB, seconds, twice that in memory), so the weights'
bytes are left out before it parses. The walk follows protobuf's wire format (protobuf.dev, "Encoding") over the
message numbers of onnx.proto, and meets the end of a truncated file.
"""

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_GRAPH, _INITIALIZER = 7, 5  # ModelProto.graph, GraphProto.initializer
# TensorProto: float_data, int32_data, string_data, int64_data, raw_data, double_data, uint64_data
_WEIGHTS = frozenset((4, 5, 6, 7, 9, 10, 11))


class TruncatedError(Exception):
    """A file ends within a field, or is not a protobuf message."""


@dataclass(frozen=True)
class _Field:
    number: int
    wire_type: int
    begin: int
    payload: int
    end: int


def read_skeleton(path: Path) -> bytes:
    """Return the bytes of an ONNX model without its initializers' values.

    Raises:
        TruncatedError: A field reaches beyond the end of the file.
        OSError: The file cannot be read.
    """
    if path.stat().st_size == 0:
        return b""
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return b"".join(_strip(content, 0, len(content), (_GRAPH, _INITIALIZER)))


def _strip(content: mmap.mmap, at: int, end: int, way: tuple[int, ...]) -> Iterator[bytes]:
    """Yield a message without the weights of the tensors at the end of the way."""
    for field in _fields(content, at, end):
        if not way and field.number in _WEIGHTS:
            continue
        if way and field.number == way[0] and field.wire_type == _BYTES:
            inner = b"".join(_strip(content, field.payload, field.end, way[1:]))
            yield _encode(field.number << 3 | _BYTES) + _encode(len(inner)) + inner
        else:
            yield content[field.begin : field.end]


def _fields(content: mmap.mmap, at: int, end: int) -> Iterator[_Field]:
    while at < end:
        begin = at
        tag, at = _decode(content, at, end)
        wire_type, size = tag & 7, 0
        if wire_type == _VARINT:
            payload = at
            _, at = _decode(content, at, end)
        elif wire_type in {_FIXED64, _FIXED32, _BYTES}:
            if wire_type == _BYTES:
                size, at = _decode(content, at, end)
            payload = at
            at += {_FIXED64: 8, _FIXED32: 4}.get(wire_type, size)
        else:
            raise TruncatedError(f"byte {begin} begins no field")
        if at > end:
            raise TruncatedError(f"a field of {at - payload} bytes at {begin} reaches beyond its end")
        yield _Field(tag >> 3, wire_type, begin, payload, at)


def _decode(content: mmap.mmap, at: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            break
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise TruncatedError(f"it ends within a number, at byte {at}")


def _encode(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
