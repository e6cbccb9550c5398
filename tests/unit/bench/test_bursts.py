"""Bursts: what is turned away, what a tier keeps, and what counts as disturbed."""

import os

import numpy as np
import pytest
from prep_triton.bench.burst_figures import capacity_from_windows, cases_from_rounds
from prep_triton.bench.burst_records import BURST_CASES, BurstCaseName, TierNumber
from prep_triton.bench.bursts import (
    DISTURBED_SHARE,
    GatedLoop,
    PlayedPhase,
    PlayedRound,
    PlayedSide,
    is_disturbed,
)
from prep_triton.bench.generator import Timing, measure_window
from prep_triton.bench.intervals import Window
from prep_triton.bench.resources import WindowUse

from tests.fakes.benched import draw_window
from tests.unit.bench.test_generator import FakeSender

BOTH: tuple[TierNumber, ...] = (1, 2)
TIERS_OF: dict[BurstCaseName, tuple[TierNumber, ...]] = {"tier 1 alone": (1,), "tier 2 alone": (2,)}


def test_beyond_so_many_unanswered_requests_new_ones_are_turned_away():
    sender = FakeSender(is_held=True)
    loop = GatedLoop(sender, [b"a"], np.linspace(0, 0.1, 10), most_unanswered=4)

    def look() -> None:
        if len(loop.turned_away_s) == 6:
            sender.close()  # which ends what is held

    measure_window(loop, sender, Timing(0.0, 0.2, lambda: None), look=look)
    assert len(sender.requests) == 4
    assert len(loop.turned_away_s) == 6
    assert len(loop.samples) == 4


def test_what_was_answered_makes_room():
    sender = FakeSender()
    loop = GatedLoop(sender, [b"a"], np.linspace(0, 0.05, 30), most_unanswered=1)
    measure_window(loop, sender, Timing(0.0, 0.06, lambda: None), look=lambda: None)
    assert len(sender.requests) == 30
    assert loop.turned_away_s == []


def play(
    rates: dict[tuple[int, BurstCaseName, TierNumber], float], rounds: int = 3, noise: float = 0.0
) -> list[PlayedRound]:
    """Play rounds in which each tier of each burst and case is answered at a rate."""
    rng = np.random.default_rng(0)
    played = []
    for number in range(rounds):
        factor = float(np.exp(rng.normal(0, noise)))  # what the machine gives in a round, it gives to all cases
        for burst in sorted({burst for burst, _, _ in rates}):
            phases = tuple(
                PlayedPhase(burst, case, sides, WindowUse(2.0, others_cpu_s=0.2))
                for case in BURST_CASES
                if (
                    sides := {
                        tier: PlayedSide(draw(number, factor * rates[burst, case, tier], rng), 300, 40)
                        for tier in TIERS_OF.get(case, BOTH)
                        if (burst, case, tier) in rates
                    }
                )
            )
            played.append(PlayedRound(phases, 1))
    return played


def draw(number: int, rate: float, rng: np.random.Generator) -> Window:
    return draw_window(number, rate, 20.0, rng)


RATES: dict[tuple[int, BurstCaseName, TierNumber], float] = {
    (2, "tier 1 alone", 1): 200,
    (2, "tier 2 alone", 2): 60,
    (2, "without tiers", 1): 80,
    (2, "without tiers", 2): 60,
    (2, "with tiers", 1): 196,
    (2, "with tiers", 2): 0,
}


def test_what_a_tier_keeps_is_of_its_throughput_alone():
    cases = cases_from_rounds(play(RATES), 0)
    assert [(case.burst, case.case, [side.tier for side in case.sides]) for case in cases] == [
        (2, "tier 1 alone", [1]),
        (2, "tier 2 alone", [2]),
        (2, "without tiers", [1, 2]),
        (2, "with tiers", [1, 2]),
    ]
    kept = {(case.case, side.tier): side.kept for case in cases for side in case.sides}
    assert kept["tier 1 alone", 1] is kept["tier 2 alone", 2] is None
    expected = {("without tiers", 1): 0.4, ("without tiers", 2): 1, ("with tiers", 1): 0.98, ("with tiers", 2): 0}
    assert {key: figure.value for key, figure in kept.items() if figure} == pytest.approx(expected)
    starved = cases[3].sides[1]
    assert (starved.requests, starved.p99_ms.value, starved.answered_per_s.value) == (0, 0, 0)
    side = cases[2].sides[0]
    assert (side.offered_per_s, side.turned_away, side.requests) == (150, 120, 480)
    assert side.p50_ms.low <= side.p50_ms.value <= side.p50_ms.high < side.p99_ms.value
    assert len(side.p99_of_rounds_ms) == 3
    assert cases[0].others_cores == pytest.approx(0.1)


def test_a_machine_that_is_slower_for_a_round_does_not_blur_what_is_kept():
    """Rounds are drawn for both sides of the ratio at once."""
    cases = cases_from_rounds(play(RATES, rounds=5, noise=0.5), 0)
    alone, kept = cases[0].sides[0].answered_per_s, cases[3].sides[0].kept
    assert kept is not None
    assert (alone.high - alone.low) / alone.value > 0.3
    assert kept.high - kept.low < 0.25


def test_a_tier_that_is_answered_nothing_alone_has_nothing_to_keep():
    cases = cases_from_rounds(play(RATES | {(2, "tier 1 alone", 1): 0}), 0)
    assert cases[3].sides[0].kept is None


def test_what_a_tier_answers_alone_has_an_interval():
    rng = np.random.default_rng(0)
    figure = capacity_from_windows([draw_window(number, rate, 20, rng) for number, rate in enumerate((90, 110))], 0)
    assert figure.value == pytest.approx(100)
    assert figure.low < 100 < figure.high


def test_a_round_is_disturbed_where_others_took_much_of_the_cores():
    most = DISTURBED_SHARE * (os.cpu_count() or 1) * 2.0

    def phase(others_cpu_s: float | None) -> PlayedPhase:
        return PlayedPhase(1, "with tiers", {}, WindowUse(2.0, others_cpu_s=others_cpu_s))

    assert not is_disturbed(phase(None))
    assert not is_disturbed(phase(most * 0.99))
    assert is_disturbed(phase(most * 1.01))
