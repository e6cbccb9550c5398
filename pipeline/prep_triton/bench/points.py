"""A point of the document, from what was measured of one entry under one load."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from prep_triton.bench.intervals import (
    BlockTable,
    Window,
    cut_blocks,
    draw_blocks,
    figure_from_draws,
    percentile,
)
from prep_triton.bench.records import Load, PartTimes, Point, Slo, Verdict
from prep_triton.bench.requests import Workload
from prep_triton.bench.resources import WindowUse, repeat_resources, resources_from_windows
from prep_triton.bench.slo import judge_slo
from prep_triton.triton.server.statistics import ModelStatistics, total_statistics

if TYPE_CHECKING:
    Array = np.ndarray[Any, Any]

# A generator is behind where it sends late by more than this, and by more than a tenth of what it measures.
LATENESS_BOUND_S = 0.01
LATENESS_SHARE = 0.1
# Of the requests of an open loop that were not sent by the end: the last one may just have been due.
_UNSENT_SHARE = 0.01
_MOST_MESSAGES = 5
_PERCENTS = (50.0, 90.0, 95.0, 99.0)


@dataclass(frozen=True)
class Measured:
    """One repeat of one entry under one load, with what the statistics of its parts say, by name, and what it used."""

    workload: Workload
    load: Load
    window: Window
    statistics: dict[str, ModelStatistics]
    use: WindowUse | None = None


def points_from_measured(measured: Sequence[Measured], slo: Slo | None, seed: int) -> tuple[Point, ...]:
    """Return a point for each entry and load, in the order in which they were first measured."""
    groups: dict[tuple[str, Load], list[Measured]] = {}
    for repeat in measured:
        groups.setdefault((repeat.workload.model.name, repeat.load), []).append(repeat)
    return tuple(point_from_repeats(repeats, slo, seed) for repeats in groups.values())


def point_from_repeats(repeats: Sequence[Measured], slo: Slo | None, seed: int) -> Point:
    """Return the point of all repeats of one entry under one load."""
    windows = [repeat.window for repeat in repeats]
    workload, load = repeats[0].workload, repeats[0].load
    latency_s = np.concatenate([window.latency_s for window in windows])
    blocks = tuple(block for window in windows for block in cut_blocks(window))
    table = BlockTable.from_blocks(blocks)
    weights = draw_blocks(table.repeats, seed)
    rates = table.rates(weights)
    seconds = sum(window.seconds for window in windows)
    rate = sum(len(window.completed_s) for window in windows) / seconds
    p50, p90, p95, p99 = (
        figure_from_draws(percentile(latency_s, percent) * 1000, table.percentiles(weights, percent))
        for percent in _PERCENTS
    )
    messages = sum((Counter(window.error_messages) for window in windows), Counter[str]())
    lateness_s = np.concatenate([window.lateness_s for window in windows])
    sustained = is_sustained(lateness_s, latency_s, sum(window.unsent for window in windows))
    return Point(
        entry=workload.model.name,
        load=load,
        batch=workload.batch,
        repeats=len(windows),
        seconds=seconds,
        requests=latency_s.size,
        errors=messages.total(),
        error_messages=dict(messages.most_common(_MOST_MESSAGES)),
        requests_per_s=figure_from_draws(rate, rates),
        inferences_per_s=figure_from_draws(rate * workload.batch, rates * workload.batch),
        mean_ms=float(latency_s.mean()) * 1000 if latency_s.size else 0.0,
        p50_ms=p50,
        p90_ms=p90,
        p95_ms=p95,
        p99_ms=p99,
        sent_per_s=sum(window.sent for window in windows) / seconds,
        lateness_p95_ms=percentile(lateness_s, 95.0) * 1000,
        sustained=sustained,
        parts=parts_from_statistics([repeat.statistics for repeat in repeats]),
        verdict=_verdict_of(slo, latency_s, messages.total(), sustained=sustained),
        **_tokens_of(workload, rate, rates),
        **_use_of(repeats, rate * workload.batch),
        blocks=blocks,
    )


def is_sustained(lateness_s: "Array", latency_s: "Array", unsent: int) -> bool:
    """Whether the generator sent as it was meant to; what it measured is else its own pace.

    Args:
        lateness_s: How late it sent each request.
        latency_s: What was measured.
        unsent: How many requests it had not sent by the end.
    """
    if unsent > 1 + _UNSENT_SHARE * lateness_s.size:
        return False
    return percentile(lateness_s, 95.0) <= max(LATENESS_BOUND_S, LATENESS_SHARE * percentile(latency_s, 50.0))


def _verdict_of(slo: Slo | None, latency_s: "Array", errors: int, *, sustained: bool) -> Verdict | None:
    if slo is None:
        return None
    over = int((latency_s * 1000 > slo.bound_ms).sum()) + errors
    return judge_slo(slo, latency_s.size + errors, over, sustained=sustained)


def _tokens_of(workload: Workload, rate: float, rates: "Array") -> dict[str, Any]:
    counts = workload.tokens
    if counts is None:
        return {}
    return {
        "tokens_per_s": figure_from_draws(rate * counts.real, rates * counts.real),
        "padded_tokens_per_s": figure_from_draws(rate * counts.padded, rates * counts.padded),
    }


def _use_of(repeats: Sequence[Measured], inferences_per_s: float) -> dict[str, Any]:
    uses = [(repeat.window.repeat, repeat.use) for repeat in repeats if repeat.use]
    if not uses:
        return {}
    return {
        "resources": resources_from_windows([use for _, use in uses], inferences_per_s),
        "repeat_resources": repeat_resources(uses),
    }


def parts_from_statistics(repeats: Sequence[Mapping[str, ModelStatistics]]) -> tuple[PartTimes, ...]:
    """Return what each part did in all repeats, from what its statistics say of each, by name."""
    parts = []
    for name in repeats[0]:
        total = total_statistics([repeat[name] for repeat in repeats if name in repeat])
        parts.append(
            PartTimes(
                model=name,
                requests=total.requests,
                cache_hits=total.cache_hits,
                executions=total.executions,
                mean_batch=total.mean_batch_size(),
                batch_sizes=dict(total.batch_sizes or {}),
                **total.mean_us(),
            )
        )
    return tuple(parts)


def describe_best(points: Sequence[Point], slo: Slo) -> str:
    """Say the best that was seen where no point holds a service level; empty where one does or may."""
    judged = [point for point in points if point.verdict and point.verdict.state != "not counted" and point.requests]
    if not judged or any(point.verdict and point.verdict.state != "not met" for point in judged):
        return ""

    def share_over(point: Point) -> float:
        return point.verdict.over / point.verdict.requests if point.verdict else 1.0

    best = min(judged, key=lambda point: (share_over(point), point.p99_ms.value))
    percent = 100 * (1 - share_over(best))
    return (
        f"no load holds {slo.describe()}: the best seen is {percent:.1f} % in time, p50 {best.p50_ms.value:.2f} ms and "
        f"p99 {best.p99_ms.value:.2f} ms, of {best.entry} at {best.load.describe()}"
    )
