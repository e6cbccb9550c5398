"""Figures with intervals from played bursts."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from prep_triton.bench.burst_records import BURST_CASES, BurstCase, BurstCaseName, BurstSide, TierNumber
from prep_triton.bench.bursts import BURSTS, PlayedPhase, PlayedRound, PlayedSide
from prep_triton.bench.intervals import (
    BlockTable,
    Window,
    cut_blocks,
    draw_blocks,
    figure_from_draws,
    percentile,
)
from prep_triton.bench.points import is_sustained
from prep_triton.bench.records import Figure

if TYPE_CHECKING:
    Array = np.ndarray[Any, Any]

_ALONE: dict[TierNumber, BurstCaseName] = {1: "tier 1 alone", 2: "tier 2 alone"}


def capacity_from_windows(windows: Sequence[Window], seed: int) -> Figure:
    """Return the answers a second of some windows, with the interval."""
    return figure_from_draws(_rate_of(windows), _draw_rates(windows, seed))


def cases_from_rounds(rounds: Sequence[PlayedRound], seed: int) -> tuple[BurstCase, ...]:
    """Return each case of each burst that was played, over all rounds."""
    played: dict[tuple[int, BurstCaseName], list[PlayedPhase]] = {}
    for phase in (phase for own in rounds for phase in own.phases):
        played.setdefault((phase.burst, phase.case), []).append(phase)
    return tuple(
        _case_of(played, (burst.burst, case), seed)
        for burst in BURSTS
        for case in BURST_CASES
        if (burst.burst, case) in played
    )


def _case_of(
    played: dict[tuple[int, BurstCaseName], list[PlayedPhase]], which: tuple[int, BurstCaseName], seed: int
) -> BurstCase:
    phases = played[which]
    burst, case = which
    sides = []
    for tier in phases[0].sides:
        alone = None if case == _ALONE[tier] else [phase.sides[tier] for phase in played[burst, _ALONE[tier]]]
        sides.append(_side_of(tier, [phase.sides[tier] for phase in phases], alone, seed))
    others = [phase.use.others_cpu_s / phase.use.seconds for phase in phases if phase.use.others_cpu_s is not None]
    return BurstCase(
        burst=burst, case=case, sides=tuple(sides), others_cores=float(np.mean(others)) if others else None
    )


def _side_of(
    tier: TierNumber, played: Sequence[PlayedSide], alone: Sequence[PlayedSide] | None, seed: int
) -> BurstSide:
    windows = [side.window for side in played]
    table = BlockTable.from_blocks([block for window in windows for block in cut_blocks(window)])
    weights = draw_blocks(table.repeats, seed)
    latency_s = np.concatenate([window.latency_s for window in windows])
    lateness_s = np.concatenate([window.lateness_s for window in windows])
    messages = sum((Counter(window.error_messages) for window in windows), Counter[str]())
    p50, p99 = (
        figure_from_draws(percentile(latency_s, percent) * 1000, table.percentiles(weights, percent))
        for percent in (50.0, 99.0)
    )
    return BurstSide(
        tier=tier,
        offered_per_s=sum(side.offered for side in played) / sum(window.seconds for window in windows),
        answered_per_s=figure_from_draws(_rate_of(windows), table.rates(weights)),
        kept=None if alone is None else _kept_of(windows, [side.window for side in alone], seed),
        p50_ms=p50,
        p99_ms=p99,
        p99_of_rounds_ms=tuple(percentile(window.latency_s, 99.0) * 1000 for window in windows),
        requests=latency_s.size,
        turned_away=sum(side.turned_away for side in played),
        errors=messages.total(),
        error_messages=dict(messages.most_common(5)),
        sustained=is_sustained(lateness_s, latency_s, sum(window.unsent for window in windows)),
    )


def _kept_of(windows: Sequence[Window], alone: Sequence[Window], seed: int) -> Figure | None:
    """Return the answers of some windows over those of the same rounds alone; None where alone nothing was answered.

    Rounds are drawn for both at once: the arrivals of a round are the same, and so is what the machine did meanwhile.
    """
    base = _rate_of(alone)
    if not base:
        return None
    draws = _draw_rates(windows, seed) / np.maximum(_draw_rates(alone, seed), 1e-9)
    return figure_from_draws(_rate_of(windows) / base, draws)


def _rate_of(windows: Sequence[Window]) -> float:
    return float(sum(len(window.completed_s) for window in windows) / sum(window.seconds for window in windows))


def _draw_rates(windows: Sequence[Window], seed: int) -> "Array":
    """Return the answers a second of each draw of the bootstrap; of the same seed the same rounds and blocks."""
    table = BlockTable.from_blocks([block for window in windows for block in cut_blocks(window)])
    return table.rates(draw_blocks(table.repeats, seed))
