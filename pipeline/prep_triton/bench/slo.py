"""Service levels and their verdicts: the binomial tail, as MLPerf loadgen's early stopping has it.

Whether a request is over the bound is taken as a coin of its own. Requests that wait in one queue are late together,
so a verdict from a single short run is a little too sure; repeats that lie apart make up for it.
"""

import math
import re

from prep_triton.bench.records import Slo, Verdict
from prep_triton.errors import SpecError

CONFIDENCE = 0.99
_SLO = re.compile(r"p(?P<percent>[0-9]+(\.[0-9]+)?)\s*(=|<=)\s*(?P<amount>[0-9]+(\.[0-9]+)?)\s*(?P<unit>us|ms|s)")
_MS = {"us": 0.001, "ms": 1.0, "s": 1000.0}


def parse_slo(text: str) -> Slo:
    """Return the service level of ``p99=50ms``.

    Raises:
        SpecError: It is not one.
    """
    match = _SLO.fullmatch(text.strip())
    percent, bound_ms = (float(match["percent"]), float(match["amount"]) * _MS[match["unit"]]) if match else (0.0, 0.0)
    if not 0 < percent < 100 or bound_ms <= 0:
        raise SpecError(f"--slo '{text}' is not a percentile and a bound", hint="write --slo p99=50ms")
    return Slo(percent=percent, bound_ms=bound_ms)


def at_most(over: int, requests: int, share: float) -> float:
    """Return how likely at most `over` of `requests` are late, where a `share` (0..1) of all is: P(X <= over).

    Sums the terms' logarithms, so that it holds for any number of requests.
    """
    if over >= requests:
        return 1.0
    logs = (
        math.lgamma(requests + 1)
        - math.lgamma(late + 1)
        - math.lgamma(requests - late + 1)
        + late * math.log(share)
        + (requests - late) * math.log1p(-share)
        for late in range(over + 1)
    )
    return min(1.0, math.fsum(map(math.exp, logs)))


def requests_needed(over: int, percent: float, *, confidence: float = CONFIDENCE) -> int:
    """Return how many requests, `over` of which are late, show that `percent` are in time.

    That many that only just missed the level would have had so few late ones with a probability of 1 - `confidence`.
    """
    share = 1 - percent / 100
    low, high = over, max(1, over)
    while at_most(over, high, share) > 1 - confidence:
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        if at_most(over, middle, share) > 1 - confidence:
            low = middle
        else:
            high = middle
    return high


def judge_slo(slo: Slo, requests: int, over: int, *, sustained: bool = True) -> Verdict:
    """Say whether `requests`, `over` of which were late or failed, show that a service level holds."""
    if not sustained:
        return Verdict(state="not counted", requests=requests, over=over)
    share = 1 - slo.percent / 100
    if requests and at_most(over, requests, share) <= 1 - CONFIDENCE:
        return Verdict(state="met", requests=requests, over=over)
    if over and 1 - at_most(over - 1, requests, share) <= 1 - CONFIDENCE:
        return Verdict(state="not met", requests=requests, over=over)
    more = max(1, requests_needed(over, slo.percent) - requests)
    return Verdict(state="not shown", requests=requests, over=over, more=more)
