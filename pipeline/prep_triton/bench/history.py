"""A run beside several earlier ones of the same thing, as a nightly has them: is it one more of them?

The interval is a prediction interval: how far runs lie apart is seen, and not taken from the repeats of one. Where it
is known of all what other programs took of the processor, a straight line through the earlier runs says what a run with
so much taken would have had (regression of the logarithm of the metric on that of what others left). A run beyond all
of them gets the wider interval that such a line has there, or, where they are too few for a line, that of
`prep_triton.bench.disturbance`.
"""

import math
from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np

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
from prep_triton.bench.disturbance import WORTH_SAYING, log_left, share_of_others, widen
from prep_triton.bench.intervals import BlockTable, t_quantile
from prep_triton.bench.records import BaselineComparison, BenchReport, Block, Point, PointComparison, RatioFigure
from prep_triton.errors import SpecError

if TYPE_CHECKING:
    Array = np.ndarray[Any, Any]

FEWEST_RUNS = 3
# A line through fewer says nothing that its own error would not hide; neither does one where all have the same.
FEWEST_FOR_A_LINE = 6
LEAST_SPREAD = 0.05


def check_history(count: int) -> None:
    """Raise where so many baselines are neither one run nor a history.

    Raises:
        SpecError: They are two.
    """
    if 1 < count < FEWEST_RUNS:
        raise SpecError(
            f"{count} baselines do not show how far runs lie apart",
            hint=f"give --baseline once, or {FEWEST_RUNS} times and more",
        )


def compare_with_history(report: BenchReport, runs: Sequence[StoredRun], name: str) -> BaselineComparison:
    """Compare a run with at least three earlier ones, point by point; what differs is said of the last one."""
    earlier = [list(match_points(report.points, run.points)) for run in runs]
    by_point: list[tuple[Point, list[tuple[StoredPoint, int]]]] = []
    for point in report.points:
        matches = [
            (match, run.cores) for run, pairs in zip(runs, earlier, strict=True) for own, match in pairs if own is point
        ]
        if len(matches) >= FEWEST_RUNS:
            by_point.append((point, matches))
    level = LEVEL / max(1, len(by_point))
    matched = [point for point, _ in by_point]
    return BaselineComparison(
        baseline=name,
        method="history",
        runs=len(runs),
        differences=tuple(list_differences(report, runs[-1])),
        points=tuple(_compare_point(point, matches, level, report.conditions.cores) for point, matches in by_point),
        unmatched=tuple(describe_point(point) for point in report.points if point not in matched),
    )


def _compare_point(
    point: Point, matches: Sequence[tuple[StoredPoint, int]], level: float, cores: int
) -> PointComparison:
    share = share_of_others(point.repeat_resources, cores)
    shares = [share_of_others(match.repeat_resources, own_cores) for match, own_cores in matches]
    known = [value for value in shares if value is not None]
    if share is None or len(known) < len(shares):
        return judge_ratios(point, matches[-1][0], _ratios(point, matches, None, level))
    left = np.array([log_left(value) for value in [*known, share]])
    if len(known) >= FEWEST_FOR_A_LINE and np.ptp(left[:-1]) >= LEAST_SPREAD:
        ratios = _ratios(point, matches, left, level)
    else:
        narrow = _ratios(point, matches, None, level)
        ratios = {metric: widen(ratio, (share, fmean(known)), level) for metric, ratio in narrow.items()}
    judged = judge_ratios(point, matches[-1][0], ratios)
    if max(share, *known) < WORTH_SAYING:
        return judged
    took = f"others took {share:.0%} of the cores in this run, {min(known):.0%} to {max(known):.0%} in the earlier ones"
    return judged.model_copy(update={"reason": took})


def _ratios(
    point: Point, matches: Sequence[tuple[StoredPoint, int]], left: "Array | None", level: float
) -> dict[Metric, RatioFigure]:
    """Return the ratio of each metric; `left` is the logarithm of what others left to each match, then to the point."""
    ratios: dict[Metric, RatioFigure] = {}
    for metric in METRICS:
        before = np.array([_log_of(metric, match.blocks) for match, _ in matches])
        own_left = 0.0 if left is None else float(left[-1])
        middle, half = predict(before, None if left is None else left[:-1], own_left, level)
        ratio = _log_of(metric, point.blocks) - middle
        low, high = math.exp(ratio - half), math.exp(ratio + half)
        ratios[metric] = RatioFigure(metric=metric, ratio=math.exp(ratio), low=low, high=high)
    return ratios


def _log_of(metric: Metric, blocks: Sequence[Block]) -> float:
    table = BlockTable.from_blocks(blocks)
    return float(logs_of(metric, table, np.ones((1, len(table.repeats))))[0])


def predict(before: "Array", left: "Array | None", own_left: float, level: float) -> tuple[float, float]:
    """Return what one more run would have, and half the width of its prediction interval.

    Args:
        before: What each earlier run had; at least three.
        left: The logarithm of what others left to each of them; None for no line.
        own_left: That of the run in question.
        level: The probability with which the interval misses it.
    """
    count = len(before)
    if left is None:
        spread, degrees = float(before.std(ddof=1)), count - 1
        return float(before.mean()), t_quantile(1 - level / 2, degrees) * spread * math.sqrt(1 + 1 / count)
    slope, start = np.polyfit(left, before, 1)
    degrees = count - 2
    spread = math.sqrt(float(((before - start - slope * left) ** 2).sum()) / degrees)
    apart = (own_left - left.mean()) ** 2 / float(((left - left.mean()) ** 2).sum())
    half = t_quantile(1 - level / 2, degrees) * spread * math.sqrt(1 + 1 / count + apart)
    return float(start + slope * own_left), half
