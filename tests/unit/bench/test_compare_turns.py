"""Two servers in one session: the order of turns, and what rounds show."""

import numpy as np
import pytest
from prep_triton.bench.against import count_rounds, list_turns
from prep_triton.bench.compare_turns import compare_turns
from prep_triton.bench.paired import paired_interval
from prep_triton.bench.records import BaselineComparison, Block, Point

from tests.fakes.benched import OPEN, make_report
from tests.fakes.disturbed import make_point


def test_turns_cancel_what_grows_steadily():
    assert list_turns(0, 4) == [(0, 0), (1, 0), (1, 1), (0, 1)]
    assert list_turns(1, 4) == [(1, 2), (0, 2), (0, 3), (1, 3)]
    assert list_turns(1, 3) == [(1, 2), (0, 2)]
    assert [count_rounds(repeats) for repeats in (1, 2, 3, 20)] == [1, 1, 2, 10]


def compare(own: Point, other: Point) -> BaselineComparison:
    return compare_turns(make_report((own,)), make_report((other,)), "other")


def draw_session(
    seed: int, slowdown: float, *, steadiness: float = 0.05, rounds: int = 10, **more: object
) -> tuple[Point, Point]:
    """Draw a session in which others take from nothing to half of the cores, much the same from both sides."""
    rng = np.random.default_rng(seed)
    shares = np.repeat(rng.uniform(0.0, 0.5, rounds), 2)
    own, other = (np.clip(shares + rng.normal(0, steadiness, 2 * rounds), 0, 0.9).tolist() for _ in range(2))
    return (
        make_point(own, slowdown=slowdown, seed=2 * seed, **more),  # type: ignore[arg-type]
        make_point(other, seed=2 * seed + 1, **more),  # type: ignore[arg-type]
    )


def verdicts(slowdown: float, **more: object) -> list[str]:
    return [compare(*draw_session(seed, slowdown, **more)).points[0].verdict for seed in range(20)]  # type: ignore[arg-type]


def test_the_same_thing_in_turns_does_not_differ_on_a_busy_machine():
    assert verdicts(1.0).count("no difference shown") >= 19


def test_fifteen_percent_are_shown_in_turns_on_a_busy_machine():
    assert verdicts(1.15).count("slower") >= 18
    assert verdicts(0.85, load=OPEN).count("faster") >= 18


def test_what_others_took_from_one_side_is_taken_out():
    """Others take up to 20 points more of one side, and less of it in another round."""
    assert verdicts(1.15, steadiness=0.15, noise=0.03).count("slower") >= 18
    blind = 0
    for seed in range(20):
        own, other = draw_session(seed, 1.15, steadiness=0.15, noise=0.03)
        own, other = (point.model_copy(update={"repeat_resources": ()}) for point in (own, other))
        blind += compare(own, other).points[0].verdict == "slower"
    assert blind < 18


def test_the_reason_says_what_others_took():
    comparison = compare(*draw_session(0, 1.0))
    assert comparison.method == "turns"
    assert comparison.rounds == 10
    assert "of the cores while it was measured, " in comparison.points[0].reason
    assert len(comparison.other_points) == 1


def test_a_round_that_was_ended_before_its_end_is_left_out():
    own, other = draw_session(0, 1.0)

    def without(point: Point, repeat: int) -> Point:
        blocks: tuple[Block, ...] = tuple(block for block in point.blocks if block.repeat != repeat)
        return point.model_copy(update={"blocks": blocks})

    assert compare(own, without(other, 19)).rounds == 9
    few = make_point([0.0] * 2)
    comparison = compare(few, few)
    assert comparison.points == ()
    assert comparison.unmatched == ("tiny at concurrency 4, batch 1",)


@pytest.mark.parametrize("count", [2, 5, 10])
def test_the_interval_of_pairs_misses_as_often_as_it_says(count: int):
    rng = np.random.default_rng(1)
    missed = 0
    for _ in range(400):
        left = rng.normal(0, 0.2, count)
        ratios = 0.1 + left + rng.normal(0, 0.05, count)
        middle, low, high = paired_interval(ratios, left, 0.1)
        assert low <= middle <= high
        missed += not low <= 0.1 <= high
    assert 20 <= missed <= 60


def test_what_is_always_the_same_has_no_width():
    assert paired_interval(np.full(4, 0.5), None, 0.02) == (0.5, 0.5, 0.5)
    assert paired_interval(np.full(8, 0.5), np.zeros(8), 0.02) == (0.5, 0.5, 0.5)
