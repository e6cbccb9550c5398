"""Sweeps as the command line spells them, and the moments of an open loop."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prep_triton.bench.loads import draw_arrivals, parse_concurrency, parse_rates
from prep_triton.bench.records import Load
from prep_triton.errors import SpecError


def values(loads: tuple[Load, ...]) -> list[float]:
    return [load.value for load in loads]


def test_lists_and_sweeps_of_perf_analyzer_are_read():
    assert values(parse_concurrency("1,4,16")) == [1, 4, 16]
    assert values(parse_concurrency("4:24:2")) == [4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24]
    assert values(parse_concurrency("4:6")) == [4, 5, 6]
    assert values(parse_concurrency("2,2,1")) == [2, 1]
    assert values(parse_rates("0.1:0.5:0.1", "constant")) == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert parse_rates("50", "poisson") == (Load(kind="open", value=50, arrivals="poisson"),)


@pytest.mark.parametrize(
    "text", ["", "a", "1,", "0", "1.5", "-1", "4:2:1", "1:4:0", "1:2:3:4", "1:100000:1", "513", "nan"]
)
def test_a_wrong_sweep_is_refused_in_a_sentence(text: str):
    with pytest.raises(SpecError, match="--concurrency"):
        parse_concurrency(text)


@pytest.mark.parametrize("text", ["0", "0:10:5", "inf", "1e3", "100001"])
def test_a_wrong_rate_is_refused_in_a_sentence(text: str):
    with pytest.raises(SpecError, match="--rate"):
        parse_rates(text, "poisson")


@given(st.text(alphabet="0123456789.,: ", max_size=12))
def test_any_sweep_is_read_or_refused(text: str):
    try:
        loads = parse_concurrency(text)
    except SpecError:
        return
    assert 1 <= len(loads) <= 100


@given(st.floats(1, 500), st.floats(0.1, 20), st.sampled_from(["poisson", "constant"]), st.integers(0, 9))
def test_arrivals_are_seeded_in_order_and_at_the_rate(rate: float, seconds: float, arrivals, seed: int):
    load = Load(kind="open", value=rate, arrivals=arrivals)
    moments = draw_arrivals(load, seconds, [seed, 0])
    assert abs(len(moments) - rate * seconds) <= 1
    assert (np.diff(moments) >= 0).all()
    assert not len(moments) or (moments[0] >= 0 and moments[-1] <= seconds)
    assert (moments == draw_arrivals(load, seconds, [seed, 0])).all()


def test_poisson_gaps_are_exponential_and_differ_by_repeat():
    load = Load(kind="open", value=1000, arrivals="poisson")
    moments = draw_arrivals(load, 20, [0, 0])
    gaps = np.diff(moments)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.05)
    assert not (moments == draw_arrivals(load, 20, [0, 1])).all()
