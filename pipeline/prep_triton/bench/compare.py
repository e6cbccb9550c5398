"""A run beside an earlier one: faster, slower, or no difference shown.

What varies is not the request but the minute: two runs on a busy machine differ by more than the requests of one
repeat do among themselves. So the interval of a ratio is Welch's, over the logarithms of the repeats; where a side has
one repeat only, the bootstrap over its blocks. Its level is such that of a hundred runs of the same thing two differ,
however many points each has. What other programs took of the processor meanwhile widens it, see
`prep_triton.bench.disturbance`.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from prep_triton.bench.disturbance import WORTH_SAYING, share_of_others, widen
from prep_triton.bench.intervals import BlockTable, draw_blocks, t_quantile
from prep_triton.bench.records import (
    BENCH_SCHEMA,
    BaselineComparison,
    BenchReport,
    Block,
    Load,
    Point,
    PointComparison,
    RatioFigure,
    RepeatResources,
)
from prep_triton.errors import SpecError

Metric = Literal["requests_per_s", "p50_ms", "p99_ms"]
METRICS: tuple[Metric, ...] = ("requests_per_s", "p50_ms", "p99_ms")
_PERCENTS = {"p50_ms": 50.0, "p99_ms": 99.0}
LEVEL = 0.02
# A repeat or a draw without an answer has neither rate nor latency: its logarithm would be none.
_LEAST = 1e-9

# What two runs should share, and what each is called in a sentence.
_CONDITIONS = {
    "cpu": "processor",
    "cpu_flags": "processor flags",
    "cores": "number of cores",
    "server": "server",
    "triton_version": "Triton",
    "triton_flavour": "flavour of Triton",
    "prep_version": "prep",
    "protocol": "protocol",
    "seed": "seed",
    "duration_s": "measured time of a repeat",
    "generator": "load generator",
    "processes": "number of sending processes",
}
_ENTRY_CONDITIONS = {"key": "key", "config_digest": "configuration", "input_digest": "requests"}


class _Stored(BaseModel):
    """What is read of an earlier run; it may hold more, of another version of the document."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class StoredPoint(_Stored):
    """A point of an earlier run."""

    entry: str
    load: Load
    batch: int = 1
    sustained: bool = True
    repeat_resources: tuple[RepeatResources, ...] = ()
    blocks: tuple[Block, ...]


class StoredRun(_Stored):
    """An earlier run."""

    schema_version: int = 0
    partial: bool = False
    conditions: dict[str, Any] = {}
    points: tuple[StoredPoint, ...]

    @property
    def cores(self) -> int:
        """The cores of its machine; 0 where it does not say."""
        cores = self.conditions.get("cores")
        return cores if isinstance(cores, int) else 0


def load_baseline(path: Path) -> StoredRun:
    """Read what an earlier run wrote with ``-o``, of this version of the document or another.

    Raises:
        SpecError: It cannot be read, or is no run.
    """
    hint = "name a file that prep bench -o wrote, of a load that prep's own generator sent"
    try:
        run = StoredRun.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except OSError as err:
        raise SpecError(f"the baseline {path} cannot be read: {err.strerror}", hint=hint) from err
    except (ValueError, ValidationError) as err:
        raise SpecError(f"{path} is not a run of prep bench", hint=hint) from err
    if not any(point.blocks for point in run.points):
        raise SpecError(f"the baseline {path} has no points that can be compared", hint=hint)
    return run


def compare_with_baseline(report: BenchReport, baseline: StoredRun, name: str) -> BaselineComparison:
    """Compare a run with an earlier one, point by point."""
    pairs = list(match_points(report.points, baseline.points))
    level = LEVEL / max(1, len(pairs))
    cores = report.conditions.cores, baseline.cores
    compared = tuple(compare_point(point, earlier, level, cores) for point, earlier in pairs)
    matched = [point for point, _ in pairs]
    return BaselineComparison(
        baseline=name,
        differences=tuple(list_differences(report, baseline)),
        points=compared,
        unmatched=tuple(describe_point(point) for point in report.points if point not in matched),
    )


def describe_point(point: Point) -> str:
    """Say which point it is."""
    return f"{point.entry} at {point.load.describe()}, batch {point.batch}"


def match_points(points: Sequence[Point], earlier: Sequence[StoredPoint]) -> Iterator[tuple[Point, StoredPoint]]:
    """Yield points with the earlier ones of the same entry and load; of one entry each, entries may differ."""
    is_renamed = len({point.entry for point in points}) == len({point.entry for point in earlier}) == 1
    by_load = {("" if is_renamed else point.entry, point.load, point.batch): point for point in earlier if point.blocks}
    for point in points:
        match = by_load.get(("" if is_renamed else point.entry, point.load, point.batch))
        if match is not None:
            yield point, match


def compare_point(point: Point, earlier: StoredPoint, level: float, cores: tuple[int, int]) -> PointComparison:
    """Compare two points; the interval of each ratio is missed with the probability `level`.

    Args:
        point: Of this run.
        earlier: Of the earlier one.
        level: The probability.
        cores: Of the two machines.
    """
    ratios = {metric: ratio_of(metric, point.blocks, earlier.blocks, level) for metric in METRICS}
    shares = share_of_others(point.repeat_resources, cores[0]), share_of_others(earlier.repeat_resources, cores[1])
    own, other = shares
    if own is None or other is None:
        return judge_ratios(point, earlier, ratios)
    wider = {metric: widen(ratio, (own, other), level) for metric, ratio in ratios.items()}
    judged = judge_ratios(point, earlier, wider)
    if max(own, other) < WORTH_SAYING:
        return judged
    took = f"others took {own:.0%} of the cores in this run, {other:.0%} in the baseline"
    is_hidden = judge_ratios(point, earlier, ratios).verdict != judged.verdict
    beyond = ": no difference shown beyond that" if is_hidden else ""
    return judged.model_copy(update={"reason": took + beyond})


def judge_ratios(point: Point, earlier: StoredPoint, ratios: Mapping[Metric, RatioFigure]) -> PointComparison:
    """Return what the intervals of the ratios show."""
    deciding: Metric = "requests_per_s" if point.load.kind == "closed" else "p50_ms"
    decided_by = ratios[deciding]
    more = decided_by.low > 1
    less = decided_by.high < 1
    verdict: Literal["faster", "slower", "no difference shown", "not counted"] = "no difference shown"
    if not (point.sustained and earlier.sustained):
        verdict = "not counted"
    elif more or less:
        verdict = "faster" if more == (deciding == "requests_per_s") else "slower"
    return PointComparison(
        entry=point.entry,
        baseline_entry=earlier.entry,
        load=point.load,
        batch=point.batch,
        verdict=verdict,
        decided_by=decided_by,
        others=tuple(ratio for metric, ratio in ratios.items() if metric != deciding),
    )


def ratio_of(metric: Metric, blocks: Sequence[Block], earlier: Sequence[Block], level: float) -> RatioFigure:
    """Return a metric of some blocks over that of others, with an interval."""
    tables = [BlockTable.from_blocks(side) for side in (blocks, earlier)]
    repeats = [logs_of(metric, table, table.by_repeat()) for table in tables]
    whole = [float(logs_of(metric, table, np.ones((1, len(table.repeats))))[0]) for table in tables]
    ratio = whole[0] - whole[1]
    if min(map(len, repeats)) > 1:
        middle, half = _welch(repeats[0], repeats[1], level)
        low, high = middle - half, middle + half
    else:
        draws = [logs_of(metric, table, draw_blocks(table.repeats, seed)) for seed, table in enumerate(tables)]
        low, high = np.quantile(draws[0] - draws[1], [level / 2, 1 - level / 2])
    low, high = min(low, ratio), max(high, ratio)
    return RatioFigure(metric=metric, ratio=math.exp(ratio), low=math.exp(low), high=math.exp(high))


def logs_of(metric: Metric, table: BlockTable, weights: Any) -> Any:
    """Return the logarithm of a metric of each draw; see `BlockTable`."""
    values = table.rates(weights) if metric == "requests_per_s" else table.percentiles(weights, _PERCENTS[metric])
    return np.log(np.maximum(values, _LEAST))


def _welch(values: Any, others: Any, level: float) -> tuple[float, float]:
    """Return the difference of two means, and half the width of its interval."""
    errors = [side.var(ddof=1) / len(side) for side in (values, others)]
    middle = float(values.mean() - others.mean())
    if not sum(errors):
        return middle, 0.0
    degrees = sum(errors) ** 2 / sum(
        error**2 / (len(side) - 1) for error, side in zip(errors, (values, others), strict=True)
    )
    return middle, t_quantile(1 - level / 2, max(1.0, float(degrees))) * math.sqrt(sum(errors))


def list_differences(report: BenchReport, baseline: StoredRun) -> Iterator[str]:
    """Say what of two runs differs beside their figures."""
    if baseline.schema_version != BENCH_SCHEMA:
        yield f"the baseline's document is of version {baseline.schema_version}, this one of {BENCH_SCHEMA}"
    if baseline.partial:
        yield "the baseline was ended before its end"
    own = report.conditions.model_dump(mode="json")
    for key, name in _CONDITIONS.items():
        if baseline.conditions.get(key) != own[key]:
            yield f"{name}: {_show(own[key])}, the baseline's {_show(baseline.conditions.get(key))}"
    yield from _list_disturbances(own, baseline.conditions)
    earlier = {_key_of(entry): entry for entry in _entries(baseline)}
    for entry in own["entries"]:
        alone = len(earlier) == len(own["entries"]) == 1
        other = next(iter(earlier.values())) if alone else earlier.get(_key_of(entry))
        if other is None:
            continue
        if other["name"] != entry["name"]:
            yield f"entry: {entry['name']}, the baseline's {other['name']}"
        changed = [name for key, name in _ENTRY_CONDITIONS.items() if other.get(key) != entry[key]]
        if changed:
            yield f"{entry['name']}: another {', '.join(changed)} than the baseline's"


def _list_disturbances(own: dict[str, Any], earlier: dict[str, Any]) -> Iterator[str]:
    """Say where others took much more, or less, of the machine: a comparison takes that for a difference."""
    bounds = {"load_before": ("load before", own["cores"] / 2), "steal_share": ("share of stolen time", 0.05)}
    for key, (name, bound) in bounds.items():
        value, other = own[key], earlier.get(key)
        if isinstance(value, float) and isinstance(other, int | float) and abs(value - other) > bound:
            yield f"{name}: {value:.2f}, the baseline's {other:.2f}"


def _key_of(entry: dict[str, Any]) -> tuple[Any, int]:
    """What of a run an entry is: a mix may have it once with each priority."""
    return entry.get("name"), entry.get("priority", 0)


def _entries(baseline: StoredRun) -> list[dict[str, Any]]:
    entries = baseline.conditions.get("entries")
    return [entry for entry in entries if isinstance(entry, dict) and "name" in entry] if entries else []


def _show(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else "unknown" if value is None else str(value)
