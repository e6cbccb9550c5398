"""How runs compare with their baselines, or with another server, where `prep bench` compared them."""

from collections.abc import Iterator, Sequence

from prep_triton.bench.records import BaselineComparison, PointComparison, RatioFigure
from prep_triton.bench.report.content import Cell, Part, Section, Sentence, Table
from prep_triton.bench.report.runs import ReportedRun
from prep_triton.bench.report.text import clean, format_number

_METRICS = {"requests_per_s": "#requests/s", "p50_ms": "#p50", "p99_ms": "#p99"}
_TONES = {"faster": "good", "slower": "bad"}


def show_baselines(runs: Sequence[ReportedRun]) -> Section | None:
    """Return each comparison; None where no run has one."""
    parts = [part for run in runs if run.report.comparison for part in _describe(run.name, run.report.comparison)]
    return Section("Against the baseline", tuple(parts)) if parts else None


def _describe(name: str, comparison: BaselineComparison) -> Iterator[Part]:
    turns = f", measured in turns, {comparison.rounds} rounds" if comparison.method == "turns" else ""
    yield Sentence(f"{clean(name, 60)} over {clean(comparison.baseline, 60)}{turns}, with the intervals of the ratios:")
    rows = tuple(
        (
            Cell(clean(point.entry, 60)),
            Cell(point.load.describe()),
            Cell(point.verdict, tone=_TONES.get(point.verdict, "")),
            *(_ratio(point, metric) for metric in _METRICS),
        )
        for point in comparison.points
    )
    yield Table(("entry", "load", "verdict", *_METRICS.values()), rows)
    others = list(dict.fromkeys(clean(point.reason) for point in comparison.points if point.reason))
    others += [clean(line) for line in comparison.differences]
    others += [f"not in the baseline: {clean(point)}" for point in comparison.unmatched]
    if others:
        yield Sentence(f"Beside that: {'; '.join(others)}.", "muted")


def _ratio(point: PointComparison, metric: str) -> Cell:
    ratios: list[RatioFigure] = [point.decided_by, *point.others]
    ratio = next((ratio for ratio in ratios if ratio.metric == metric), None)
    if ratio is None:
        return Cell("–")
    return Cell(f"×{format_number(ratio.ratio)}", f"{format_number(ratio.low)}–{format_number(ratio.high)}")
