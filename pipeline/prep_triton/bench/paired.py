"""The ratio of two sides that were measured in turns: each round gives one, and rounds are what repeats.

Beside other programs most rounds agree to a few percent, and some do not at all: a server whose threads share a core
with a neighbour is slower for as long as it runs, by a third or more. A mean follows those few rounds. So a quarter of
the rounds is left out at each end, and the interval is Yuen's for trimmed means (Biometrika 61, 1974): its variance is
that of the winsorised rounds.
"""

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from prep_triton.bench.intervals import t_quantile

if TYPE_CHECKING:
    Array = np.ndarray[Any, Any]

TRIMMED_SHARE = 0.25


def paired_interval(ratios: "Array", level: float) -> tuple[float, float, float]:
    """Return the trimmed mean of logarithms of ratios, and the ends of its interval.

    Args:
        ratios: The logarithm of the ratio of each round; at least two. Of three or fewer none is left out.
        level: The probability with which the interval misses the ratio.
    """
    count = len(ratios)
    trimmed = int(TRIMMED_SHARE * count)
    ordered = np.sort(ratios)
    left = ordered[trimmed : count - trimmed]
    winsorised = np.clip(ordered, left[0], left[-1])
    error = math.sqrt(float(winsorised.var(ddof=1)) * (count - 1) / (len(left) * (len(left) - 1)))
    middle, half = float(left.mean()), t_quantile(1 - level / 2, len(left) - 1) * error
    return middle, middle - half, middle + half
