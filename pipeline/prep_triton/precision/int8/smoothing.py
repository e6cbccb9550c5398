"""Moves the spread of an activation's channels into the weights that read it (SmoothQuant, arXiv:2211.10438, eq. 4).

``x W = (x / s) (s W)`` for any s > 0 per channel. With ``s = max|x|^alpha / max|W|^(1 - alpha)``, alpha = 1 gives every
channel of x the same range, and alpha = 0 every row of W. Weights have a scale for each output channel and bear it
better, so BERT wants a large alpha. MiniLM with real weights, every linear layer in INT8, method max, 128 calibration
sentences, mean-pooled cosine to FP32 over 400 others:

=======  =======  =======  =======  =======  =======  =======  =======  =======
alpha       none      0.5      0.6      0.7      0.8     0.85      0.9      1.0
=======  =======  =======  =======  =======  =======  =======  =======  =======
mean      0.9827   0.9306   0.9845   0.9948   0.9973   0.9978   0.9978   0.9969
min       0.9546   0.7983   0.9592   0.9867   0.9890   0.9900   0.9913   0.9792
=======  =======  =======  =======  =======  =======  =======  =======  =======

On top of alpha = 0.8 (mean 0.9974, min 0.9932 in a run of its own), these were measured and left out:

- an alpha for each layer by its output error: 0.9975, 0.9704
- a shift of each channel to the middle of its range: 0.9811, 0.9088
- ranges by the least error of the layer's output: 0.9974, 0.9934
- weights by the least squared error: 0.9975, 0.9939
- biases corrected for the mean error of the weights: 0.9978, 0.9939
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
