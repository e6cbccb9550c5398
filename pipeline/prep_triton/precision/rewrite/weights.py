"""Weights of a graph that is being written: converted chunk by chunk from where they lie."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from prep_triton.errors import PrecisionError
from prep_triton.external_data import RawSpan

# IEEE 754 binary16: the largest finite value.
FP16_MAX = 65504.0

# Small enough to stay in a core's cache, which halves the time of a conversion.
_CHUNK_VALUES = 1 << 18

_DTYPES: dict[int, np.dtype[Any]] = {TensorProto.FLOAT: np.dtype("<f4"), TensorProto.FLOAT16: np.dtype("<f2")}


def half_from_array(array: NDArray[Any], name: str) -> NDArray[np.float16]:
    """Convert FP32 values to FP16, same shape.

    Raises:
        PrecisionError: A value is not finite or beyond FP16, or a scalar that is not zero becomes zero.
    """
    check_finite(array, name)
    largest = max(abs(float(array.max())), abs(float(array.min()))) if array.size else 0.0
    if largest > FP16_MAX:
        raise PrecisionError(
            f"initializer '{name}' holds |x| up to {largest:.4g}, FP16 holds {FP16_MAX:g} at most",
            hint="build it in fp32 (--fp32), or export a model whose weights lie within FP16",
        )
    half = array.astype(np.float16)
    # A weight may vanish; a lone scalar that does (the epsilon of a division) makes an infinity elsewhere.
    if array.ndim == 0 and array.item() != 0 and half.item() == 0:
        raise PrecisionError(
            f"constant '{name}' is {array.item():g}, FP16 rounds it to zero",
            hint="build it in fp32 (--fp32), or export the model again with a larger constant",
        )
    return half


def check_finite(array: NDArray[Any], name: str) -> None:
    """Refuse NaN and infinities.

    Raises:
        PrecisionError: There is one.
    """
    # The extremes show any NaN or infinity, and take no memory.
    if array.size and not (math.isfinite(array.max()) and math.isfinite(array.min())):
        kind = "NaN" if np.isnan(array).any() else "an infinity"
        raise PrecisionError(
            f"initializer '{name}' holds {kind}, expected finite weights",
            hint="the checkpoint is damaged: export the model again from a sound one",
        )


@dataclass(frozen=True)
class ConvertedWeight:
    """A weight of the new file, converted chunk by chunk from where the old one lies.

    Args:
        name: Its name in the new graph.
        data_type: FLOAT16, or FLOAT where the graph reads it so (LayerNormalization).
        source: The FP32 initializer it is made from.
        span: Where the source's bytes lie, or None where `source` holds them itself.
        factor: What the source's values are multiplied by.
    """

    name: str
    data_type: int
    source: TensorProto
    span: RawSpan | None
    factor: float = 1.0

    def header(self) -> TensorProto:
        """Return the tensor without its bytes."""
        return TensorProto(name=self.name, data_type=self.data_type, dims=self.source.dims)

    def size_bytes(self) -> int:
        """Return the size of the converted values."""
        return _count_values(self.source) * _DTYPES[self.data_type].itemsize

    def chunks(self) -> Iterator[bytes]:
        """Yield the converted values.

        Raises:
            PrecisionError: FP16 cannot hold them, or the file ends before they do.
        """
        for stored in self._read():
            values = stored if self.factor == 1.0 else stored * np.float32(self.factor)
            if self.data_type == TensorProto.FLOAT16:
                converted: NDArray[Any] = half_from_array(values, self.source.name)
            else:
                check_finite(values, self.source.name)
                converted = values
            yield converted.astype(_DTYPES[self.data_type], copy=False).tobytes()

    def _read(self) -> Iterator[NDArray[np.float32]]:
        if self.span is None:
            yield numpy_helper.to_array(self.source)
            return
        expected = _count_values(self.source) * 4
        if self.span.length != expected:
            raise PrecisionError(
                f"initializer '{self.source.name}' has {self.span.length} bytes, its shape needs {expected}",
                hint="export the model again: prep export MODEL",
            )
        with self.span.path.open("rb") as stream:
            stream.seek(self.span.offset)
            left = expected
            while left:
                raw = stream.read(min(left, _CHUNK_VALUES * 4))
                if not raw:
                    raise PrecisionError(
                        f"{self.span.path} ends inside initializer '{self.source.name}'",
                        hint="export the model again: prep export MODEL",
                    )
                yield np.frombuffer(raw, _DTYPES[TensorProto.FLOAT])
                left -= len(raw)


def _count_values(tensor: TensorProto) -> int:
    return int(math.prod(tensor.dims))
