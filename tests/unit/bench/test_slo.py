"""Verdicts on service levels: the binomial tail, against published counts and against drawn coins."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prep_triton.bench.records import Slo
from prep_triton.bench.slo import at_most, judge_slo, parse_slo, requests_needed
from prep_triton.errors import SpecError

SLO = Slo(percent=99, bound_ms=50)
# MLPerf loadgen's early stopping has the same: requests that claim a percentile with 99 % confidence, by late ones.
NEEDED = {99: {0: 459, 1: 662, 2: 838, 5: 1307, 10: 2010}, 95: {0: 90, 1: 130, 2: 165, 5: 259, 10: 398}}


@pytest.mark.parametrize("percent", NEEDED)
def test_the_requests_that_a_claim_needs_are_those_of_mlperf(percent: int):
    assert {over: requests_needed(over, percent) for over in NEEDED[percent]} == NEEDED[percent]


@given(st.integers(0, 40), st.integers(0, 40), st.floats(0.01, 0.9))
def test_the_tail_is_that_of_the_binomial_distribution(requests: int, over: int, share: float):
    exact = sum(
        math.comb(requests, late) * share**late * (1 - share) ** (requests - late)
        for late in range(min(over, requests) + 1)
    )
    assert at_most(over, requests, share) == pytest.approx(exact, abs=1e-9)


@given(st.integers(0, 30), st.sampled_from([90, 95, 99]))
def test_one_request_fewer_does_not_show_it(over: int, percent: int):
    needed, share = requests_needed(over, percent), 1 - percent / 100
    assert at_most(over, needed, share) <= 0.01 + 1e-12
    assert at_most(over, needed - 1, share) > 0.01


@pytest.mark.parametrize(
    ("requests", "over", "said"),
    [
        (1307, 5, "met (99 % confidence, 1,307 requests, 5 over)"),
        (1306, 5, "not shown: 1 more request"),
        (459, 0, "met (99 % confidence, 459 requests, 0 over)"),
        (0, 0, "not shown: 459 more requests"),
        (300, 9, "not met (99 % confidence, 300 requests, 9 over)"),
        (300, 8, "not shown: 1,436 more requests"),
        (10, 10, "not met (99 % confidence, 10 requests, 10 over)"),
    ],
)
def test_a_verdict_says_what_it_rests_on(requests: int, over: int, said: str):
    assert judge_slo(SLO, requests, over).describe() == said


def test_what_the_generator_did_not_sustain_is_not_judged():
    assert judge_slo(SLO, 5000, 0, sustained=False).describe() == "not counted"


@given(st.integers(0, 3000), st.integers(0, 100))
def test_more_late_requests_never_make_a_verdict_better(requests: int, over: int):
    order = ["met", "not shown", "not met"]
    over = min(over, max(0, requests - 1))
    states = [judge_slo(SLO, requests, late).state for late in (over, min(over + 1, requests))]
    assert order.index(states[0]) <= order.index(states[1])


@pytest.mark.parametrize(
    ("text", "percent", "bound_ms"), [("p99=50ms", 99, 50), ("p99.9 <= 1.5s", 99.9, 1500), ("p50=800us", 50, 0.8)]
)
def test_a_service_level_is_read(text: str, percent: float, bound_ms: float):
    assert parse_slo(text) == Slo(percent=percent, bound_ms=bound_ms)


@pytest.mark.parametrize("text", ["", "p99", "99=50ms", "p99=50", "p100=50ms", "p0=1ms", "p99=0ms", "p99=-1ms"])
def test_what_is_no_service_level_is_refused(text: str):
    with pytest.raises(SpecError, match="is not a percentile and a bound"):
        parse_slo(text)
