"""The ratio of two sides that were measured in turns: each round gives one, and rounds are what repeats.

The interval is Student's over the logarithms of the rounds' ratios, as for any paired measurement. Where it is known
what other programs took of the processor during each side's turns, the part of a round's ratio that goes with it is
taken out by a straight line (analysis of covariance): y = ratio + slope * x, where y is the logarithm of the ratio of a
round, and x that of the processor time which others left to the two sides. The interval is that of the line at x = 0,
where others took the same from both.
"""

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from prep_triton.bench.intervals import t_quantile

if TYPE_CHECKING:
    Array = np.ndarray[Any, Any]

# A line through fewer says nothing that its own error would not hide; neither does one where all have the same.
FEWEST_FOR_A_LINE = 6
LEAST_SPREAD = 0.05


def paired_interval(ratios: "Array", left: "Array | None", level: float) -> tuple[float, float, float]:
    """Return the logarithm of a ratio, and the ends of its interval.

    Args:
        ratios: The logarithm of the ratio of each round; at least two.
        left: Of each round the logarithm of the ratio of what others left to the two sides; None where not known.
        level: The probability with which the interval misses the ratio.
    """
    count = len(ratios)
    if left is None or count < FEWEST_FOR_A_LINE or np.ptp(left) < LEAST_SPREAD:
        middle, degrees = float(ratios.mean()), count - 1
        error = math.sqrt(float(ratios.var(ddof=1)) / count)
    else:
        columns = np.column_stack([np.ones(count), left])
        line, *_ = np.linalg.lstsq(columns, ratios, rcond=None)
        middle, degrees = float(line[0]), count - 2
        spread = float(((ratios - columns @ line) ** 2).sum()) / degrees
        error = math.sqrt(spread * float(np.linalg.inv(columns.T @ columns)[0, 0]))
    half = t_quantile(1 - level / 2, degrees) * error
    return middle, middle - half, middle + half
