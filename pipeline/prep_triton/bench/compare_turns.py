"""Two servers that were measured in turns in one session: faster, slower, or no difference shown."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from prep_triton.bench.against import REPEATS_IN_A_ROUND
from prep_triton.bench.compare import (
    LEVEL,
    METRICS,
    Metric,
    StoredPoint,
    StoredRun,
    describe_point,
    judge_ratios,
    list_differences,
    logs_of,
    match_points,
)
from prep_triton.bench.disturbance import WORTH_SAYING, share_of_others
from prep_triton.bench.intervals import BlockTable
from prep_triton.bench.paired import paired_interval
from prep_triton.bench.records import (
    BaselineComparison,
    BenchReport,
    Block,
    Point,
    PointComparison,
    RatioFigure,
)

if TYPE_CHECKING:
    Array = np.ndarray[Any, Any]

FEWEST_ROUNDS = 2
# A session ends when its intervals are this narrow, as logarithms, and not before so many rounds: 15 % are shown then.
# Of 960 rounds measured beside programs that took 40 % of two cores, resampled in the order they had: 98 % of 15 % are
# shown and 99 % of the same thing show nothing, after 33 and 27 rounds in the mean.
NARROW = 0.10
FEWEST_FOR_AN_END = 16


def compare_turns(report: BenchReport, other: BenchReport, name: str) -> BaselineComparison:
    """Compare the two sides of a session, point by point; `name` is what the other one is called."""
    stored = StoredRun.model_validate_json(other.model_dump_json())
    pairs = list(match_points(report.points, stored.points))
    level = LEVEL / max(1, len(pairs))
    compared = [compare_rounds(point, across, level, report.conditions.cores) for point, across in pairs]
    counted = [comparison for comparison in compared if comparison]
    matched = [point for (point, _), comparison in zip(pairs, compared, strict=True) if comparison]
    rounds = [len(list_rounds(point, across)) for point, across in pairs]
    return BaselineComparison(
        baseline=name,
        method="turns",
        rounds=max(rounds, default=0),
        differences=tuple(list_differences(report, stored)),
        points=tuple(counted),
        unmatched=tuple(describe_point(point) for point in report.points if point not in matched),
        other_points=other.points,
    )


def is_narrow(comparison: BaselineComparison) -> bool:
    """Whether no more rounds are needed: every interval is narrow, whatever it shows."""
    widths = [math.log(point.decided_by.high / point.decided_by.low) / 2 for point in comparison.points]
    return comparison.rounds >= FEWEST_FOR_AN_END and bool(widths) and max(widths) <= NARROW


def list_rounds(point: Point, across: StoredPoint) -> list[int]:
    """Return the rounds in which both sides were measured, the same number of times."""
    own, other = ({block.repeat for block in side.blocks} for side in (point, across))
    rounds = sorted({_round_of(repeat) for repeat in own & other})
    return [number for number in rounds if _repeats_of(own, number) == _repeats_of(other, number)]


def _round_of(repeat: int) -> int:
    return repeat // REPEATS_IN_A_ROUND


def _repeats_of(repeats: set[int], number: int) -> set[int]:
    return {repeat for repeat in repeats if _round_of(repeat) == number}


def compare_rounds(point: Point, across: StoredPoint, level: float, cores: int) -> PointComparison | None:
    """Compare two points round by round; None where they share fewer than two rounds.

    Args:
        point: Of the one side.
        across: Of the other.
        level: The probability with which the interval of each ratio misses it.
        cores: Of the machine that both ran on.
    """
    rounds = list_rounds(point, across)
    if len(rounds) < FEWEST_ROUNDS:
        return None
    ratios: dict[Metric, RatioFigure] = {}
    for metric in METRICS:
        logs = _ratios_of_rounds(metric, point.blocks, across.blocks, rounds)
        ratio, low, high = paired_interval(logs, level)
        ratios[metric] = RatioFigure(metric=metric, ratio=math.exp(ratio), low=math.exp(low), high=math.exp(high))
    judged = judge_ratios(point, across, ratios)
    shares = [share_of_others(side.repeat_resources, cores) for side in (point, across)]
    own, other = shares
    if own is None or other is None or max(own, other) < WORTH_SAYING:
        return judged
    took = f"others took {own:.0%} of the cores while it was measured, {other:.0%} while the other was"
    return judged.model_copy(update={"reason": took})


def _ratios_of_rounds(metric: Metric, own: Sequence[Block], other: Sequence[Block], rounds: Sequence[int]) -> "Array":
    """Return the logarithm of the ratio of each round, [rounds].

    It is the median of the round's pairs of turns, which a program that came or went between two turns does not move. A
    high percentile needs more answers than a turn has, so it is of the round as a whole.
    """
    tables = [BlockTable.from_blocks(blocks) for blocks in (own, other)]
    if metric == "p99_ms":
        logs = [logs_of(metric, table, _weights_of_rounds(table, rounds)) for table in tables]
        return np.asarray(logs[0] - logs[1])
    own_logs, other_logs = (
        dict(zip(sorted(set(table.repeats)), logs_of(metric, table, table.by_repeat()), strict=True))
        for table in tables
    )
    pairs = {repeat: own_logs[repeat] - other_logs[repeat] for repeat in own_logs.keys() & other_logs.keys()}
    return np.array(
        [np.median([log for repeat, log in pairs.items() if _round_of(repeat) == number]) for number in rounds]
    )


def _weights_of_rounds(table: BlockTable, rounds: Sequence[int]) -> "Array":
    return np.array([[float(_round_of(repeat) == number) for repeat in table.repeats] for number in rounds])
