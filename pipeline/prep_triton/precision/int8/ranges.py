"""From the values that a tensor takes to the range that INT8 covers: max, percentile, entropy, MSE.

What lies beyond the range saturates; a smaller range gives the rest finer steps. BERT's outliers hold its meaning, so
`max` is hard to beat once the tensor is smoothed. MiniLM as in `prep_triton.precision.int8.smoothing`, mean and
least cosine:

=================  ================  ================
method             no smoothing      alpha = 0.8
=================  ================  ================
max                0.9827  0.9546    0.9973  0.9890
percentile 99.999  0.9831  0.9435    0.9974  0.9912
percentile 99.99   0.9885  0.9628    0.9973  0.9841
percentile 99.9    0.8373  0.6865    0.9611  0.8956
entropy            0.9105  0.8099    0.9969  0.9850
mse                0.9866  0.9697    0.9972  0.9892
=================  ================  ================
"""

import numpy as np
from numpy.typing import NDArray

from prep_triton.spec import CalibrationSpec

BINS = 2048

# INT8 has 127 steps on each side of zero.
_STEPS = 127
# The entropy search: the fewest bins that 128 levels can merge, and the stride of TensorRT's own search.
_LEVELS, _STRIDE = 128, 16
_FRACTIONS = np.linspace(0.2, 1.0, 81)


def range_from_histogram(counts: NDArray[np.int64], largest: float, spec: CalibrationSpec) -> float:
    """Return the range [-r, r] that INT8 should cover.

    Args:
        counts: A histogram of ``|x|`` over [0, largest] in equal bins.
        largest: The largest ``|x|``.
        spec: The method, and the percentile for it.

    Returns:
        r, at most `largest`.
    """
    if spec.method == "percentile":
        return find_percentile(counts, largest, spec.percentile)
    if spec.method == "entropy":
        return find_least_entropy(counts, largest)
    if spec.method == "mse":
        return find_least_error(counts, largest)
    return largest


def find_percentile(counts: NDArray[np.int64], largest: float, percentile: float) -> float:
    """Return the upper edge of the bin that holds a percentile of ``|x|``."""
    reached = np.cumsum(counts) >= counts.sum() * percentile / 100
    return largest * float(np.argmax(reached) + 1) / len(counts)


def find_least_error(counts: NDArray[np.int64], largest: float) -> float:
    """Return the range whose rounding and saturation cost the least squared error."""
    values = (np.arange(len(counts)) + 0.5) * largest / len(counts)
    steps = (_FRACTIONS * largest / _STEPS)[:, None]
    rounded = np.minimum(np.rint(values / steps), _STEPS) * steps
    errors = ((rounded - values) ** 2 * counts).sum(axis=1)
    return largest * float(_FRACTIONS[int(np.argmin(errors))])


def find_least_entropy(counts: NDArray[np.int64], largest: float) -> float:
    """Return the range whose INT8 distribution diverges least from the real one (Kullback-Leibler).

    Source: S. Migacz, "8-bit inference with TensorRT", GTC 2017.
    """
    candidates = range(_LEVELS, len(counts) + 1, _STRIDE)
    divergences = [_divergence(counts, kept) for kept in candidates]
    return largest * candidates[int(np.argmin(divergences))] / len(counts)


def _divergence(counts: NDArray[np.int64], kept: int) -> float:
    """Return KL(P || Q): P saturates at bin `kept`, Q spreads each of 128 levels over its non-empty bins."""
    head = counts[:kept].astype(np.float64)
    real = head.copy()
    real[-1] += counts[kept:].sum()
    edges = np.linspace(0, kept, _LEVELS + 1).astype(np.int64)
    filled = np.maximum(np.add.reduceat((head > 0).astype(np.float64), edges[:-1]), 1)
    spread = np.repeat(np.add.reduceat(head, edges[:-1]) / filled, np.diff(edges)) * (head > 0)
    if not spread.any():
        return float("inf")
    # A bin that only saturated values fill has no counterpart: a small one keeps the divergence finite.
    p, q = real / real.sum(), np.maximum(spread / spread.sum(), 1e-12)
    return float((p[p > 0] * np.log(p[p > 0] / q[p > 0])).sum())
