"""Latency against load, and against throughput: plots, and every measured point in a table."""

from collections.abc import Iterator, Sequence
from typing import Literal

from prep_triton.bench.records import Figure as Measured
from prep_triton.bench.records import Point, Slo
from prep_triton.bench.report.content import Cell, Figure, LegendItem, Plot, Section, Table
from prep_triton.bench.report.plots import Axes, Bound, Line, Spot, class_of, draw_lines
from prep_triton.bench.report.text import clean, format_interval, format_number
from prep_triton.bench.report.variants import Variant

Percentile = Literal["p50_ms", "p90_ms", "p95_ms", "p99_ms"]
_PERCENTS: dict[float, Percentile] = {50.0: "p50_ms", 90.0: "p90_ms", 95.0: "p95_ms", 99.0: "p99_ms"}
_MOST_LINES = 16
_LOADS = {"closed": "concurrency", "open": "offered requests/s"}


def show_loading(variants: Sequence[Variant], most_spots: int) -> Section:
    """Return the plots of latency against load, of so many points of a line at most, and all points in a table."""
    shown = [variant for variant in variants if variant.counted or variant.points][:_MOST_LINES]
    slo = _common_level(shown)
    parts: list[Figure | Table] = []
    kinds = [kind for kind in _LOADS if any(point.load.kind == kind for v in shown for point in v.points)]
    for kind in kinds:
        plots = [_draw(shown, kind, metric, most_spots) for metric in _metrics(slo)]
        note = "" if kind != kinds[-1] else _describe_marks(variants, shown)
        parts.append(Figure(tuple(plots), () if parts else _legend(shown), note))
    parts.append(_table(variants))
    return Section("Latency against load", tuple(parts))


def show_throughput(variants: Sequence[Variant], most_spots: int, others: Sequence[Line] = ()) -> Section:
    """Return latency against throughput, of all variants in one plot for each percentile.

    Args:
        variants: The variants.
        most_spots: How many points of a line are drawn at most.
        others: What others measured, at its throughput and its typical latency, which stands beside the medians.
    """
    shown = [variant for variant in variants if variant.points][:_MOST_LINES]
    slo = _common_level(shown)
    plots = []
    for metric in _metrics(slo):
        lines = [
            _thin(line, most_spots)
            for variant in shown
            for line in _lines_of(variant, _usual_kind(variant), metric, by_rate=True)
        ]
        name = metric.removesuffix("_ms")
        axes = Axes(f"{name} against throughput", "inferences/s", f"{name}, ms")
        plots.append(
            draw_lines(
                axes, [*lines, *(others if metric == "p50_ms" else ())], _bound(slo, metric), f"throughput-{name}"
            )
        )
    legend = [*_legend(shown), *(LegendItem(f"{line.label} (published)", "other", line.shape) for line in others)]
    words = "To the right is more, downwards is sooner; along a line the load grows. Every point is in the table above."
    return Section("Latency against throughput", (Figure(tuple(plots), tuple(legend), words),))


def _draw(variants: Sequence[Variant], kind: str, metric: Percentile, most_spots: int) -> Plot:
    name = metric.removesuffix("_ms")
    lines = [_thin(line, most_spots) for variant in variants for line in _lines_of(variant, kind, metric)]
    slo = _common_level(variants)
    axes = Axes(f"{name} against {_LOADS[kind]}", _LOADS[kind], f"{name}, ms")
    return draw_lines(axes, lines, _bound(slo, metric), f"{kind}-{name}")


def _usual_kind(variant: Variant) -> str:
    """Return the kind of load whose throughput is drawn: that of an open loop is what was offered."""
    return "closed" if any(point.load.kind == "closed" for point in variant.points) else "open"


def _lines_of(variant: Variant, kind: str, metric: Percentile, *, by_rate: bool = False) -> Iterator[Line]:
    """Yield a line for each sweep of a variant: points that differ by their load's value alone."""
    sweeps: dict[str, list[Point]] = {}
    for point in variant.points:
        if point.requests and point.load.kind == kind:
            alike = point.load.model_copy(update={"value": 1.0})
            sweeps.setdefault(f"{alike.model_dump_json()} {point.batch}", []).append(point)
    for points in sweeps.values():
        spots = [_spot(point, metric, by_rate=by_rate) for point in sorted(points, key=lambda point: point.load.value)]
        label = variant.short + (_describe_sweep(points[0]) if len(sweeps) > 1 else "")
        yield Line(label, variant.colour, variant.shape, tuple(spots))


def _describe_sweep(point: Point) -> str:
    """Say what tells a sweep from others of the same variant, in few letters."""
    load = point.load
    words = (f"p{load.priority}" if load.priority else "", "mix" if load.mix else "", load.arrivals or "")
    batch = f"b{point.batch}" if point.batch > 1 else ""
    return "".join(f" {word}" for word in (*words, batch) if word)


def _thin(line: Line, most: int) -> Line:
    """Return a line of at most so many spots, spread over all, with both ends."""
    count = len(line.spots)
    if count <= most:
        return line
    spots = tuple(line.spots[round(place * (count - 1) / (most - 1))] for place in range(most))
    return Line(line.label, line.colour, line.shape, spots)


def _spot(point: Point, metric: Percentile, *, by_rate: bool) -> Spot:
    figure: Measured = getattr(point, metric)
    rate = point.inferences_per_s
    return Spot(
        x=rate.value if by_rate else point.load.value,
        y=figure.value,
        x_interval=(rate.low, rate.high) if by_rate else None,
        y_interval=(figure.low, figure.high),
        is_hollow=not point.sustained,
    )


def _metrics(slo: Slo | None) -> tuple[Percentile, Percentile]:
    """Return the percentiles that are drawn: the median, and that of the service level."""
    percentile = _PERCENTS.get(slo.percent, "p99_ms") if slo else "p99_ms"
    return ("p50_ms", "p99_ms" if percentile == "p50_ms" else percentile)


def _bound(slo: Slo | None, metric: Percentile) -> Bound | None:
    return Bound(slo.bound_ms, f"≤ {slo.bound_ms:g} ms") if slo and _PERCENTS.get(slo.percent) == metric else None


def _common_level(variants: Sequence[Variant]) -> Slo | None:
    levels = {variant.run.report.slo for variant in variants}
    return next(iter(levels)) if len(levels) == 1 else None


def _legend(variants: Sequence[Variant]) -> tuple[LegendItem, ...]:
    return tuple(
        LegendItem(
            variant.label + (" (partial)" if variant.run.report.partial else ""),
            class_of(variant.colour),
            variant.shape,
        )
        for variant in variants
    )


def _describe_marks(variants: Sequence[Variant], shown: Sequence[Variant]) -> str:
    words = ["Vertical strokes are intervals of 95 % confidence."]
    if any(point.load.kind == "open" for variant in shown for point in variant.points):
        words.append("In an open loop latency counts from the moment at which a request was meant to be sent.")
    if any(not point.sustained for variant in shown for point in variant.points):
        words.append("Hollow: the generator could not send at that rate, and the point does not count.")
    if len(variants) > len(shown):
        words.append(f"{len(variants) - len(shown)} more variants are in the table alone.")
    return " ".join(words)


def _table(variants: Sequence[Variant]) -> Table:
    columns = ["variant", "load", "#batch", "#inferences/s", "#p50 ms", "#p90 ms", "#p95 ms", "#p99 ms", "#errors"]
    judged = any(point.verdict for variant in variants for point in variant.points)
    rows = []
    for variant in variants:
        for point in variant.points:
            figures = [_figure_cell(figure) if point.requests else Cell("–") for figure in _figures(point)]
            errors = Cell(f"{point.errors:,}", _first_message(point), "bad" if point.errors else "")
            row = [variant.name_cell(), Cell(point.load.describe()), Cell(str(point.batch)), *figures, errors]
            rows.append((*row, *([_verdict_cell(point)] if judged else [])))
    title = "service level" if judged else ""
    return Table((*columns, *([title] if judged else [])), tuple(rows), "Every measured point", is_folded=True)


def _figures(point: Point) -> tuple[Measured, ...]:
    return (point.inferences_per_s, point.p50_ms, point.p90_ms, point.p95_ms, point.p99_ms)


def _figure_cell(figure: Measured) -> Cell:
    return Cell(format_number(figure.value), format_interval(figure))


def _verdict_cell(point: Point) -> Cell:
    if not point.sustained:
        return Cell("not counted", "not sustained by the generator", "bad")
    if point.verdict is None:
        return Cell("–")
    verdict = point.verdict
    detail = f"{verdict.over:,} of {verdict.requests:,} over" + (f", {verdict.more:,} more" if verdict.more else "")
    return Cell(verdict.state, detail, {"met": "good", "not met": "bad"}.get(verdict.state, ""))


def _first_message(point: Point) -> str:
    return clean(next(iter(point.error_messages), ""), 80)
