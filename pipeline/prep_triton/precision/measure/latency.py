"""How long graphs take in ONNX Runtime on this machine's CPU, run in turn so that both see the same moments."""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from prep_triton.artifact import LatencyRecord
from prep_triton.errors import PrecisionError

_WARM_UP_RUNS = 3
_DTYPES = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}


def measure_in_turn(paths: Sequence[Path], shape: tuple[int, int], vocab_size: int, runs: int) -> list[LatencyRecord]:
    """Time graphs against each other, run by run in turn, as ONNX Runtime runs them by default.

    Args:
        paths: The graphs.
        shape: (batch, sequence), without padding.
        vocab_size: Ids are drawn below it.
        runs: Timed runs of each, after a warm-up.

    Raises:
        PrecisionError: ONNX Runtime refuses a graph or the shape.
    """
    ids = np.random.default_rng(0).integers(0, vocab_size, shape)
    arrays = {"input_ids": ids, "attention_mask": np.ones(shape), "token_type_ids": np.zeros(shape)}
    times: list[list[float]] = [[] for _ in paths]
    try:
        sessions = [_open(path) for path in paths]
        feeds = [
            {entry.name: arrays[entry.name].astype(_DTYPES[entry.type]) for entry in session.get_inputs()}
            for session in sessions
        ]
        for number in range(_WARM_UP_RUNS + runs):
            # Who goes first changes: the second finds warmer caches, or a hotter processor.
            for index in sorted(range(len(paths)), reverse=number % 2 == 1):
                began = time.perf_counter()
                sessions[index].run(None, feeds[index])
                if number >= _WARM_UP_RUNS:
                    times[index].append(1000 * (time.perf_counter() - began))
    except Exception as err:  # a KeyError for an unknown input; onnxruntime's own share no base class
        raise PrecisionError(
            f"a graph cannot be timed at {shape[0]}x{shape[1]}: {str(err).splitlines()[0]:.300}", hint="use --runs 0"
        ) from err
    where = f"onnxruntime {onnxruntime.__version__}, {os.cpu_count()} CPUs, run in turn"
    return [_record(values, shape, where) for values in times]


def _open(path: Path) -> Any:
    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _record(values: Sequence[float], shape: tuple[int, int], where: str) -> LatencyRecord:
    low, median, high = np.percentile(values, (10, 50, 90))
    return LatencyRecord(
        p10_ms=float(low), median_ms=float(median), p90_ms=float(high), runs=len(values), shape=shape, where=where
    )
