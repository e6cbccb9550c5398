"""What the inputs of the linear layers hold while the FP32 graph reads the calibration rows, reduced batch by batch.

Passes: the range of each channel, which smoothing is made from; for the methods that look at the distribution, a
histogram of the smoothed tensor; and how its channels go together, which weights are rounded by. Padding is never
looked at.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ValueInfoProto

from prep_triton.errors import PrecisionError
from prep_triton.onnx_file import load_model
from prep_triton.precision.int8.qdq import LARGEST, InputScale, Linear
from prep_triton.precision.int8.ranges import BINS
from prep_triton.precision.measure.runner import GraphRunner
from prep_triton.precision.measure.token_rows import TokenRow
from prep_triton.progress import Progress

Array = NDArray[Any]
Observer = Callable[[str, NDArray[np.float32]], None]

# A layer of 3,072 channels has 38 MB, of 4,096 67 MB: BERT-base takes one pass, BERT-large two.
_MOST_GRAM_BYTES = 1 << 30


def measure_channel_ranges(
    path: Path, linears: Sequence[Linear], rows: Sequence[TokenRow], *, progress: Progress
) -> dict[str, NDArray[np.float32]]:
    """Return the least and the largest value of each channel, [2, channels], of every tensor that a linear layer reads.

    Raises:
        PrecisionError: A tensor holds NaN or infinity.
    """
    ranges: dict[str, NDArray[np.float32]] = {}

    def observe(source: str, values: NDArray[np.float32]) -> None:
        low, high = ranges.get(source, (values[0], values[0]))
        ranges[source] = np.stack([np.minimum(low, values.min(axis=0)), np.maximum(high, values.max(axis=0))])

    observe_inputs(path, linears, rows, observe, progress=progress)
    for linear in linears:
        if not np.isfinite(ranges[linear.source]).all():
            raise PrecisionError(
                f"the input of '{linear.name}' holds NaN or infinity on the calibration rows, expected finite values",
                hint="the checkpoint is damaged: export the model again from a sound one",
            )
    return ranges


def measure_histograms(
    path: Path,
    linears: Sequence[Linear],
    rows: Sequence[TokenRow],
    scales: Mapping[str, InputScale],
    *,
    progress: Progress,
) -> dict[str, NDArray[np.int64]]:
    """Return a histogram over [0, 127 steps] of the magnitude of what is rounded, for every tensor that is read."""
    counts = {source: np.zeros(BINS, np.int64) for source in scales}

    def observe(source: str, values: NDArray[np.float32]) -> None:
        per_bin = np.float32(BINS / (LARGEST * scales[source].scale))
        bins = np.minimum(np.abs(scales[source].smooth(values)) * per_bin, BINS - 1).astype(np.int32)
        counts[source] += np.bincount(bins.ravel(), minlength=BINS)

    observe_inputs(path, linears, rows, observe, progress=progress)
    return counts


def measure_grams(
    path: Path,
    linears: Sequence[Linear],
    rows: Sequence[TokenRow],
    scales: Mapping[str, InputScale],
    *,
    progress: Progress,
) -> Iterator[tuple[list[Linear], NDArray[np.float32]]]:
    """Yield the layers that read each tensor, with ``X^T X`` of the tensor after its rounding, [channels, channels].

    They are measured in as many passes as `_MOST_GRAM_BYTES` makes necessary.
    """
    for group in _split_by_memory(linears):
        grams = {linear.source: np.zeros((linear.size_in, linear.size_in), np.float32) for linear in group}

        def observe(source: str, values: NDArray[np.float32], grams: dict[str, Array] = grams) -> None:
            rounded = scales[source].quantize(values)
            grams[source] += rounded.T @ rounded

        observe_inputs(path, group, rows, observe, progress=progress)
        for source in list(grams):
            yield [linear for linear in group if linear.source == source], grams.pop(source)


def _split_by_memory(linears: Sequence[Linear]) -> Iterator[list[Linear]]:
    """Yield layers in order, those of one tensor together."""
    group: list[Linear] = []
    sizes: dict[str, int] = {}
    for linear in linears:
        size = 4 * linear.size_in**2
        if linear.source not in sizes and sum(sizes.values()) + size > _MOST_GRAM_BYTES:
            yield group
            group, sizes = [], {}
        sizes[linear.source] = size
        group.append(linear)
    yield group


def observe_inputs(
    path: Path, linears: Sequence[Linear], rows: Sequence[TokenRow], observe: Observer, *, progress: Progress
) -> None:
    """Run the graph and show each tensor that a linear layer reads, as [tokens, channels], batch by batch."""
    widths = {linear.source: linear.size_in for linear in linears}
    runner = _open_with_outputs(path, list(widths))
    phase, done = "calibrating", 0
    progress(phase, 0.0)
    for batch, answers in runner.run_batches(rows, list(widths), width=sum(widths.values())):
        lengths = [len(rows[index].ids) for index in batch]
        is_token = np.arange(answers[0].shape[1]) < np.array(lengths)[:, None]
        for source, values in zip(widths, answers, strict=True):
            observe(source, values[is_token])
        done += len(batch)
        progress(phase, done / len(rows))


def _open_with_outputs(path: Path, names: Sequence[str]) -> GraphRunner:
    proto = load_model(path)
    del proto.graph.output[:]
    proto.graph.output.extend(ValueInfoProto(name=name) for name in names)
    return GraphRunner.from_proto(proto)
