"""What the inputs of the linear layers hold while the FP32 graph reads the calibration rows, reduced batch by batch.

Two passes: the largest magnitude of each channel, which smoothing is made from; then, for the methods that look at the
distribution, a histogram of the smoothed tensor. Padding is never looked at.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import ValueInfoProto

from prep_triton.errors import PrecisionError
from prep_triton.onnx_file import load_model
from prep_triton.precision.int8.qdq import Linear
from prep_triton.precision.int8.ranges import BINS
from prep_triton.precision.measure.runner import GraphRunner
from prep_triton.precision.measure.token_rows import TokenRow
from prep_triton.progress import Progress

Observer = Callable[[str, NDArray[np.float32]], None]


def measure_channel_max(
    path: Path, linears: Sequence[Linear], rows: Sequence[TokenRow], *, progress: Progress
) -> dict[str, NDArray[np.float32]]:
    """Return the largest ``|x|`` of each channel, [channels], of every tensor that a linear layer reads.

    Raises:
        PrecisionError: A tensor holds NaN or infinity.
    """
    largest: dict[str, NDArray[np.float32]] = {}

    def observe(source: str, values: NDArray[np.float32]) -> None:
        magnitudes = np.abs(values).max(axis=0)
        largest[source] = np.maximum(largest.get(source, magnitudes), magnitudes)

    observe_inputs(path, linears, rows, observe, progress=progress)
    for linear in linears:
        if not np.isfinite(largest[linear.source]).all():
            raise PrecisionError(
                f"the input of '{linear.name}' holds NaN or infinity on the calibration rows, expected finite values",
                hint="the checkpoint is damaged: export the model again from a sound one",
            )
    return largest


def measure_histograms(
    path: Path,
    linears: Sequence[Linear],
    rows: Sequence[TokenRow],
    multipliers: Mapping[str, NDArray[np.float32] | None],
    largest: Mapping[str, float],
    *,
    progress: Progress,
) -> dict[str, NDArray[np.int64]]:
    """Return a histogram of ``|x * multiplier|`` over [0, largest] for every tensor that a linear layer reads."""
    counts = {source: np.zeros(BINS, np.int64) for source in largest}

    def observe(source: str, values: NDArray[np.float32]) -> None:
        multiplier = multipliers[source]
        smoothed = np.abs(values if multiplier is None else values * multiplier)
        bins = np.minimum(smoothed * np.float32(BINS / largest[source]), BINS - 1).astype(np.int32)
        counts[source] += np.bincount(bins.ravel(), minlength=BINS)

    observe_inputs(path, linears, rows, observe, progress=progress)
    return counts


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
