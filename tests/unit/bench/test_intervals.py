"""Percentiles, blocks and their intervals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prep_triton.bench.intervals import (
    BUCKET_RATIO,
    BlockTable,
    Window,
    buckets_from_latency,
    cut_blocks,
    draw_blocks,
    figure_from_draws,
    latency_from_bucket,
    percentile,
    t_quantile,
)


def window(latency_s: np.ndarray, *, repeat: int = 0, seconds: float = 2.0, errors: int = 0) -> Window:
    moments = np.linspace(0, seconds, len(latency_s), endpoint=False)
    return Window(
        repeat=repeat,
        seconds=seconds,
        completed_s=moments,
        moment_s=moments,
        latency_s=latency_s,
        error_s=np.full(errors, seconds / 2),
        lateness_s=np.zeros(len(latency_s) + errors),
        sent=len(latency_s) + errors,
        unsent=0,
        error_messages={"busy": errors} if errors else {},
    )


@given(st.lists(st.floats(1e-6, 100), min_size=1, max_size=60), st.floats(1, 100))
def test_a_percentile_is_the_smallest_value_that_so_many_do_not_exceed(values: list[float], percent: float):
    value = percentile(np.array(values), percent)
    assert value in values
    assert sum(other <= value for other in values) >= len(values) * percent / 100 - 1e-6
    assert sum(other < value for other in values) < len(values) * percent / 100 + 1e-6


@given(st.floats(1e-6, 1000))
def test_a_bucket_stands_for_its_latency_within_half_a_bucket(latency_s: float):
    (value,) = latency_from_bucket(buckets_from_latency(np.array([latency_s])))
    assert abs(np.log(value / 1000 / latency_s)) <= np.log(BUCKET_RATIO) * 0.5001


@given(st.lists(st.floats(1e-4, 10), max_size=200), st.integers(0, 20), st.integers(1, 12))
def test_blocks_hold_every_request_and_all_the_time(latencies: list[float], errors: int, count: int):
    blocks = cut_blocks(window(np.array(latencies), errors=errors), count)
    assert len(blocks) == count
    assert sum(block.requests for block in blocks) == len(latencies)
    assert sum(sum(block.latency.values()) for block in blocks) == len(latencies)
    assert sum(block.errors for block in blocks) == errors
    assert sum(block.seconds for block in blocks) == pytest.approx(2.0)


@given(st.lists(st.floats(1e-4, 10), min_size=1, max_size=100), st.sampled_from([50.0, 90.0, 95.0, 99.0]))
def test_a_table_of_blocks_tells_rate_and_percentiles(latencies: list[float], percent: float):
    table = BlockTable.from_blocks(cut_blocks(window(np.array(latencies))))
    once = np.ones((1, 10))
    assert table.rates(once)[0] == pytest.approx(len(latencies) / 2)
    expected = percentile(np.array(latencies), percent) * 1000
    assert table.percentiles(once, percent)[0] == pytest.approx(expected, rel=BUCKET_RATIO - 1)


def test_a_table_without_answers_is_zero():
    table = BlockTable.from_blocks(cut_blocks(window(np.array([]))))
    assert table.percentiles(np.ones((2, 10)), 99.0).tolist() == [0, 0]
    assert table.rates(np.ones((2, 10))).tolist() == [0, 0]


def test_draws_take_as_many_blocks_as_there_are_and_repeat_with_their_seed():
    repeats = (0, 0, 0, 1, 1, 1)
    weights = draw_blocks(repeats, 7, draws=50)
    assert (weights.sum(axis=1) == 6).all()
    assert (weights == draw_blocks(repeats, 7, draws=50)).all()
    # A draw has whole repeats: now and then one alone.
    assert {0.0, 3.0, 6.0} <= set(weights[:, :3].sum(axis=1))


def test_the_interval_covers_the_truth_and_narrows_with_more_repeats():
    rng = np.random.default_rng(4)
    widths = {}
    for repeats in (3, 12):
        covered = []
        for _ in range(60):
            blocks = [
                block
                for repeat in range(repeats)
                for block in cut_blocks(window(rng.exponential(0.01, 300), repeat=repeat))
            ]
            table = BlockTable.from_blocks(blocks)
            draws = table.percentiles(draw_blocks(table.repeats, 0, draws=300), 50.0)
            figure = figure_from_draws(float(np.median(draws)), draws)
            covered.append(figure.low <= 10 * np.log(2) <= figure.high)
            widths[repeats] = figure.high - figure.low
        assert sum(covered) >= 48
    assert widths[12] < widths[3]


def test_an_interval_holds_its_value():
    figure = figure_from_draws(5.0, np.array([1.0, 2.0, 3.0]))
    assert figure.low == pytest.approx(1.05)
    assert (figure.value, figure.high) == (5.0, 5.0)


# Student's table, two-sided 95 % and 99 %.
@pytest.mark.parametrize(
    ("probability", "degrees", "expected"),
    [(0.975, 1, 12.706), (0.975, 4, 2.776), (0.975, 8, 2.306), (0.995, 4, 4.604), (0.975, 1e6, 1.960)],
)
def test_quantiles_are_those_of_students_table(probability: float, degrees: float, expected: float):
    assert t_quantile(probability, degrees) == pytest.approx(expected, rel=2e-3)
    assert t_quantile(1 - probability, degrees) == pytest.approx(-expected, rel=2e-3)
