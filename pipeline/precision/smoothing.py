"""Moves the spread of an activation's channels into the weights that read it (SmoothQuant, arXiv:2211.10438, eq. 4).

``x W = (x / s) (s W)`` for any s > 0 per channel. With ``s = max|x|^alpha / max|W|^(1 - alpha)``, alpha = 1 gives every
channel of x the same range, and alpha = 0 every row of W. Weights have a scale for each output channel and take it
well, so BERT wants a large alpha. On MiniLM (real weights, every linear layer in INT8, mean-pooled cosine to FP32 over
400 sentences; scripts/measure_precision.py measures the default again):

TABLE
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Keeps a channel that is nearly silent in the calibration text from being blown up, or its weights crushed.
_SMALLEST_SHARE = 1e-5
_WIDEST = 2.0**10


def find_multiplier(
    channel_max: NDArray[np.float32], weights: Sequence[NDArray[Any]], alpha: float
) -> NDArray[np.float32]:
    """Return 1 / s for the input of one or more linear layers.

    Args:
        channel_max: The largest ``|x|`` of each channel, [channels].
        weights: Of every layer that reads the input, each [channels, size_out].
        alpha: How much of the spread moves into the weights, 0..1.

    Returns:
        Multipliers [channels] that FP16 holds, with a geometric mean of about 1.
    """
    row_max = np.max([np.abs(weight).max(axis=1) for weight in weights], axis=0)
    smoothing = _floored(channel_max) ** alpha / _floored(row_max) ** (1 - alpha)
    smoothing = np.clip(smoothing / np.exp(np.log(smoothing).mean()), 1 / _WIDEST, _WIDEST)
    multiplier: NDArray[np.float32] = (1 / smoothing).astype(np.float16).astype(np.float32)
    return multiplier


def _floored(values: NDArray[Any]) -> NDArray[np.float64]:
    wide = values.astype(np.float64)
    return np.maximum(wide, max(wide.max() * _SMALLEST_SHARE, np.finfo(np.float32).tiny))
