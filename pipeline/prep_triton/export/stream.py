"""An ONNX file whose weights go from their arrays straight into it, so no copy of all of them is ever in memory.

Field numbers are those of onnx.proto; a length-delimited field is its key, its length and its bytes
(protobuf.dev/programming-guides/encoding).
"""

from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import onnx

from prep_triton.errors import ExportError

# The longest message that protobuf, and so onnxruntime and TensorRT's parser, reads.
MAX_MESSAGE_BYTES = 2**31 - 1

_GRAPH = onnx.ModelProto.DESCRIPTOR.fields_by_name["graph"].number
_INITIALIZER = onnx.GraphProto.DESCRIPTOR.fields_by_name["initializer"].number
_RAW_DATA = onnx.TensorProto.DESCRIPTOR.fields_by_name["raw_data"].number
_LENGTH_DELIMITED = 2


def write_model(stream: BinaryIO, skeleton: Any, weights: Mapping[str, npt.NDArray[Any]]) -> None:
    """Stream a ModelProto: the skeleton's fields, then the graph, whose last fields are the weights.

    Args:
        stream: Where to.
        skeleton: The ModelProto without its initializers; its graph is cleared.
        weights: FP32 or INT64 arrays, by initializer, in the order of the file.

    Raises:
        ExportError: The file would be longer than protobuf allows.
    """
    headers = {name: _tensor_header(name, weight) for name, weight in weights.items()}
    body = skeleton.graph.SerializeToString()
    length = len(body) + sum(
        _field_length(_INITIALIZER, len(headers[name]) + weight.nbytes) for name, weight in weights.items()
    )
    skeleton.ClearField("graph")
    head = skeleton.SerializeToString()
    if (total := len(head) + _field_length(_GRAPH, length)) > MAX_MESSAGE_BYTES:
        raise ExportError(
            f"the graph would have {total / 2**30:.2f} GiB, and an ONNX file holds at most 2 GiB",
            hint="choose a smaller checkpoint",
        )
    stream.write(head + _field_start(_GRAPH, length) + body)
    for name, weight in weights.items():
        stream.write(_field_start(_INITIALIZER, len(headers[name]) + weight.nbytes) + headers[name])
        stream.write(_little_endian_bytes(weight))


def _tensor_header(name: str, weight: npt.NDArray[Any]) -> bytes:
    """Return a TensorProto up to where the bytes of its ``raw_data`` begin."""
    data_type = onnx.helper.np_dtype_to_tensor_dtype(weight.dtype)
    tensor = onnx.TensorProto(name=name, dims=weight.shape, data_type=data_type)
    return bytes(tensor.SerializeToString()) + _field_start(_RAW_DATA, weight.nbytes)


def _little_endian_bytes(weight: npt.NDArray[Any]) -> Any:
    """Return a weight as a buffer in the byte order of ``raw_data``, without a copy where it lies so already."""
    array = np.ascontiguousarray(weight)
    return array.astype(array.dtype.newbyteorder("<"), copy=False).reshape(-1).view(np.uint8)


def _field_start(number: int, length: int) -> bytes:
    return b"".join((*_varint(number << 3 | _LENGTH_DELIMITED), *_varint(length)))


def _field_length(number: int, length: int) -> int:
    return len(_field_start(number, length)) + length


def _varint(value: int) -> Iterator[bytes]:
    while value > 0x7F:
        yield bytes((value & 0x7F | 0x80,))
        value >>= 7
    yield bytes((value,))
