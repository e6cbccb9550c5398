"""What other programs take of the processor, and how far a comparison of two runs can be trusted beside them.

Measured with MiniLM on a real Triton, 2 cores of which others took a third to a half: the logarithm of the rate
followed that of the processor time which others left with a slope of 0.5 to 1.7, by the load and by what the others
did; and runs with the same share of others still differed, with a standard deviation of up to 0.6 times that share.
Neither can be known of two runs, so the interval allows for both.
"""

import math
from collections.abc import Sequence

from prep_triton.bench.intervals import t_quantile
from prep_triton.bench.records import RatioFigure, RepeatResources

# A server that waits for something else loses nothing to its neighbours (slope 0); one that computes loses what they
# take, and more where two cores are threads of one, or share its memory.
STEEPEST_SLOPE = 2.0
SPREAD_OF_RUNS = 0.6
# Below it, others are the daemons of any machine.
WORTH_SAYING = 0.05
# Of a machine whose cores are all taken something is left all the same: a server gets its turn.
_LEAST_LEFT = 0.05
_NORMAL_DEGREES = 1e4


def share_of_others(resources: Sequence[RepeatResources], cores: int) -> float | None:
    """Return which share of all cores other programs took during repeats, 0..1; None where it is not known.

    Where the server's processes are not known, it may be among the others, or have other neighbours than this machine.
    """
    known = [
        (use.others_cpu_s, use.seconds)
        for use in resources
        if use.others_cpu_s is not None and use.server_cpu_s is not None
    ]
    if not known or len(known) < len(resources) or not cores:
        return None
    return min(1.0, sum(taken for taken, _ in known) / (cores * sum(seconds for _, seconds in known)))


def log_left(share: float) -> float:
    """Return the logarithm of what others left of the cores, of which they took a `share`."""
    return math.log(max(_LEAST_LEFT, 1.0 - share))


def widen(figure: RatioFigure, shares: tuple[float, float], level: float) -> RatioFigure:
    """Return a ratio of two runs with an interval that allows for what others took.

    Args:
        figure: The ratio, and its interval from the repeats alone.
        shares: What others took of the cores in this run and in the earlier one, 0..1.
        level: The probability with which the interval misses the ratio.
    """
    lost = log_left(shares[0]) - log_left(shares[1])
    explained = STEEPEST_SLOPE * (lost if figure.metric == "requests_per_s" else -lost)
    extra = t_quantile(1 - level / 2, _NORMAL_DEGREES) * SPREAD_OF_RUNS * math.hypot(*shares)
    ratio = math.log(figure.ratio)
    low = ratio - math.hypot(ratio - math.log(max(figure.low, 1e-9)), extra) - max(0.0, explained)
    high = ratio + math.hypot(math.log(max(figure.high, 1e-9)) - ratio, extra) - min(0.0, explained)
    return figure.model_copy(update={"low": math.exp(low), "high": math.exp(high)})
