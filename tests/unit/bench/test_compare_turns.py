"""Two servers in one session: the order of turns, and what rounds show."""

import numpy as np
import pytest
from prep_triton.bench.against import REPEATS_IN_A_ROUND, count_rounds, list_turns
from prep_triton.bench.compare_turns import compare_turns, is_narrow
from prep_triton.bench.paired import paired_interval
from prep_triton.bench.records import BaselineComparison, Block, Point

from tests.fakes.benched import OPEN, make_report
from tests.fakes.disturbed import make_point


def test_turns_cancel_what_grows_steadily():
    assert list_turns(0, 6) == [(0, 0), (1, 0), (1, 1), (0, 1), (0, 2), (1, 2)]
    assert list_turns(1, 6) == [(1, 3), (0, 3), (0, 4), (1, 4), (1, 5), (0, 5)]
    assert list_turns(1, 4) == [(1, 3), (0, 3)]
    assert [count_rounds(repeats) for repeats in (1, 3, 4, 72)] == [1, 1, 2, 24]


def compare(own: Point, other: Point) -> BaselineComparison:
    return compare_turns(make_report((own,)), make_report((other,)), "other")


def draw_session(
    seed: int, slowdown: float, *, steadiness: float = 0.05, rounds: int = 12, **more: object
) -> tuple[Point, Point]:
    """Draw a session in which others take from nothing to half of the cores, much the same from both sides."""
    rng = np.random.default_rng(seed)
    shares = np.repeat(rng.uniform(0.0, 0.5, rounds), REPEATS_IN_A_ROUND)
    own, other = (np.clip(shares + rng.normal(0, steadiness, len(shares)), 0, 0.9).tolist() for _ in range(2))
    return (
        make_point(own, slowdown=slowdown, seed=2 * seed, **more),  # type: ignore[arg-type]
        make_point(other, seed=2 * seed + 1, **more),  # type: ignore[arg-type]
    )


def verdicts(slowdown: float, **more: object) -> list[str]:
    return [compare(*draw_session(seed, slowdown, **more)).points[0].verdict for seed in range(40)]  # type: ignore[arg-type]


def test_the_same_thing_in_turns_does_not_differ_on_a_busy_machine():
    assert verdicts(1.0).count("no difference shown") >= 38


def test_fifteen_percent_are_shown_in_turns_on_a_busy_machine():
    assert verdicts(1.15).count("slower") >= 36
    assert verdicts(0.85, load=OPEN).count("faster") >= 36


def test_a_neighbour_that_slows_one_side_of_some_rounds_hides_nothing():
    """In a third of the rounds one of the two servers is half as fast for as long as it runs."""
    shown = same = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        shares = np.zeros((2, 24, REPEATS_IN_A_ROUND))
        shares[rng.integers(0, 2, 8), rng.permutation(24)[:8]] = 0.5
        own, other = (side.ravel().tolist() for side in shares)
        unchanged = make_point(other, seed=2 * seed + 1)
        same += compare(make_point(own, seed=2 * seed), unchanged).points[0].verdict == "no difference shown"
        shown += compare(make_point(own, slowdown=1.15, seed=2 * seed), unchanged).points[0].verdict == "slower"
    assert same >= 19
    assert shown >= 18


def test_a_session_ends_when_its_intervals_are_narrow_and_not_too_soon():
    assert is_narrow(compare(*draw_session(0, 1.15, rounds=16, noise=0.02)))
    assert not is_narrow(compare(*draw_session(0, 1.15, rounds=15, noise=0.02)))
    assert not is_narrow(compare(*draw_session(0, 1.15, rounds=16, noise=0.6)))
    few = make_point([0.0] * REPEATS_IN_A_ROUND)
    assert not is_narrow(compare(few, few))


def test_the_reason_says_what_others_took():
    comparison = compare(*draw_session(0, 1.0))
    assert comparison.method == "turns"
    assert comparison.rounds == 12
    assert "of the cores while it was measured, " in comparison.points[0].reason
    assert len(comparison.other_points) == 1


def test_a_round_that_was_ended_before_its_end_is_left_out():
    own, other = draw_session(0, 1.0)

    def without(point: Point, repeat: int) -> Point:
        blocks: tuple[Block, ...] = tuple(block for block in point.blocks if block.repeat != repeat)
        return point.model_copy(update={"blocks": blocks})

    assert compare(own, without(other, 35)).rounds == 11
    few = make_point([0.0] * REPEATS_IN_A_ROUND)
    comparison = compare(few, few)
    assert comparison.points == ()
    assert comparison.unmatched == ("tiny at concurrency 4, batch 1",)


@pytest.mark.parametrize("count", [2, 5, 10, 24])
def test_the_interval_of_pairs_misses_as_often_as_it_says(count: int):
    rng = np.random.default_rng(1)
    missed = 0
    for _ in range(400):
        middle, low, high = paired_interval(0.1 + rng.normal(0, 0.05, count), 0.1)
        assert low <= middle <= high
        missed += not low <= 0.1 <= high
    assert 20 <= missed <= 60


def test_a_quarter_of_the_rounds_at_each_end_moves_nothing():
    rounds = np.linspace(0.1, 0.2, 12)
    strayed = rounds.copy()
    strayed[:3], strayed[-3:] = -3.0, 5.0
    assert paired_interval(strayed, 0.02)[0] == pytest.approx(0.15)


def test_what_is_always_the_same_has_no_width():
    assert paired_interval(np.full(4, 0.5), 0.02) == (0.5, 0.5, 0.5)
