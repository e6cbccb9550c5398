"""What `prep bench` answers."""

from collections.abc import Sequence

from prep_triton.bench.records import (
    OWN_GENERATOR,
    BenchConditions,
    BenchReport,
    Figure,
    Point,
    PointComparison,
    RatioFigure,
)
from prep_triton.cli.documents.bench_resources import render_others, render_resources
from prep_triton.cli.documents.costs import render_costs
from prep_triton.cli.output import Output

_METRICS = {"requests_per_s": "requests/s", "p50_ms": "p50", "p99_ms": "p99"}


class BenchDocument(BenchReport):
    """What was measured, under which conditions, and how it compares."""


def render_bench(out: Output, document: BenchDocument) -> None:
    """Print the conditions, a row for each load, the server's side with -v, and the comparison."""
    render_conditions(out, document)
    columns = ["=entry", "=load", "#inferences/s", "#p50 ms", "#p90 ms", "#p95 ms", "#p99 ms", "#errors"]
    columns += ["#queue ms", "#compute ms", "#mean batch", "verdict"]
    blanks = ["-"] * (len(columns) - 2)
    rows = [(row.entry, *blanks, f"not measured: {row.reason}") for row in document.not_measured]
    out.table("", columns, [*(_row_of(point) for point in document.points), *rows])
    for point in document.points:
        render_notes(out, point)
    if any(not point.sustained for point in document.points):
        out.line(f"a load that is not sustained: {_hint_to_sustain(document)}", style="yellow")
    if out.verbose:
        render_resources(out, document.points)
    render_remarks(out, document)
    if document.costs:
        render_costs(out, document.costs)
    if document.comparison:
        render_comparison(out, document)


def render_remarks(out: Output, document: BenchReport) -> None:
    """Print what was not measured and why, and what is to be known of what was."""
    shown = {name for row in document.not_measured for name in row.names}
    for name, reason in document.not_loaded.items():
        if name not in shown:
            out.line(f"not measured: {name}: {' '.join(reason.split())}", style="yellow")
    for note in document.notes:
        out.line(f"note: {note}")
    if document.best_seen:
        out.line(document.best_seen, style="yellow")
    if document.partial:
        out.line(f"partial: {document.partial_reason}", style="yellow")


def render_conditions(out: Output, document: BenchReport) -> None:
    """Print what the figures depend on."""
    conditions = document.conditions
    render_machine(out, conditions)
    render_others(out, document)
    if conditions.generator != OWN_GENERATOR:
        out.line(f"  sent by {conditions.generator}: intervals are of {conditions.repeats} repeats")
    elif conditions.processes > 1:
        out.line(f"  sent from {conditions.processes} processes")
    render_entries(out, conditions)
    for mix in dict.fromkeys(point.load.mix for point in document.points if point.load.mix):
        out.line(f"  at once: {mix}")
    if out.verbose:
        out.line(f"  run again: {conditions.command}")


def render_machine(out: Output, conditions: BenchConditions) -> None:
    """Print the server and the machine."""
    steal = "" if conditions.steal_share is None else f", {100 * conditions.steal_share:.1f} % of the time stolen"
    flags = " ".join(conditions.cpu_flags)
    over = ", over HTTP" if conditions.protocol == "http" else ""
    out.line(
        f"Triton {conditions.triton_version} ({conditions.triton_flavour}), {conditions.server}{over}", style="bold"
    )
    out.line(f"  {conditions.cpu} ({flags}), {conditions.cores} cores, load {conditions.load_after:.1f}{steal}")
    for gpu in conditions.gpus:
        out.line(f"  {gpu.name}, driver {gpu.driver or 'unknown'}")


def render_entries(out: Output, conditions: BenchConditions) -> None:
    """Print what each entry was sent."""
    for entry in conditions.entries:
        unit = "tokens" if entry.input_kind == "ids" else "characters"
        lengths = f"{entry.shortest}" if entry.shortest == entry.longest else f"{entry.shortest} to {entry.longest}"
        priority = f", priority {entry.priority}" if entry.priority else ""
        out.line(f"  {entry.name}: {entry.distinct_requests} different requests of {lengths} {unit}{priority}")


def _hint_to_sustain(document: BenchReport) -> str:
    elsewhere = "send it from another machine with --server"
    if document.conditions.generator != OWN_GENERATOR:
        return elsewhere
    return f"send it from more processes with --processes {document.conditions.processes + 1}, or {elsewhere}"


def render_notes(out: Output, point: Point) -> None:
    """Print what is wrong with a point, and with -v what the server says of each part."""
    where = f"{point.entry} at {point.load.describe()}"
    if not point.sustained:
        late = f", 5 % of them {point.lateness_p95_ms:.1f} ms late or more" if point.lateness_p95_ms else ""
        out.line(
            f"{where}: not sustained by the generator, which sent {point.sent_per_s:,.0f}/s{late}: not counted",
            style="yellow",
        )
    for note in point.notes:
        out.line(f"{where}: {note}", style="yellow")
    for message, count in point.error_messages.items():
        out.line(f"{where}: {count} x {message}", style="yellow")
    for part in point.parts if out.verbose else ():
        sizes = ", ".join(f"{count} x {size}" for size, count in part.batch_sizes.items()) or "none"
        times = ", ".join(
            f"{name} {'-' if value is None else f'{value / 1000:.2f} ms'}"
            for name, value in (
                ("queue", part.queue_us),
                ("input", part.compute_input_us),
                ("infer", part.compute_infer_us),
                ("output", part.compute_output_us),
            )
        )
        cached = f", {part.cache_hits} from the cache" if part.cache_hits else ""
        out.line(f"  {where}: {part.model}: {times}; executions x rows: {sizes}{cached}")


def render_comparison(out: Output, document: BenchReport) -> None:
    """Print how the points compare with the baseline's, and what else differs."""
    comparison = document.comparison
    if comparison is None:
        return
    turns = f", in turns, {comparison.rounds} rounds" if comparison.method == "turns" else ""
    out.line(f"against {comparison.baseline}{turns}", style="bold")
    rows = [
        (point.entry, point.load.describe(), point.verdict, *(_ratio_cell(point, metric) for metric in _METRICS))
        for point in comparison.points
    ]
    out.table("", ("=entry", "=load", "=verdict", *(f"#{name}" for name in _METRICS.values())), rows)
    for reason, points in group_reasons(comparison.points).items():
        out.line(f"  {', '.join(points)}: {reason}")
    for difference in comparison.differences:
        out.line(f"  differs: {difference}")
    for unmatched in comparison.unmatched:
        out.line(f"  not in the baseline: {unmatched}")
    if not comparison.points:
        out.line("nothing to compare: the baseline has no point of the same entry, load and batch", style="yellow")


def group_reasons(points: Sequence[PointComparison]) -> dict[str, list[str]]:
    """Return the points, in words, by the reason that their intervals are wide for."""
    groups: dict[str, list[str]] = {}
    for point in points:
        if point.reason:
            groups.setdefault(point.reason, []).append(f"{point.entry} at {point.load.describe()}")
    return groups


def format_figure(figure: Figure, digits: int = 2) -> str:
    """Render a value with its interval: ``12.3 (11.8-13.0)``."""
    return f"{figure.value:.{digits}f} ({figure.low:.{digits}f}-{figure.high:.{digits}f})"


def _row_of(point: Point) -> tuple[str, ...]:
    queue = sum(part.queue_us or 0.0 for part in point.parts) / 1000
    parts = ("compute_input_us", "compute_infer_us", "compute_output_us")
    compute = sum(getattr(part, name) or 0.0 for part in point.parts for name in parts) / 1000
    batches = [part.mean_batch for part in point.parts if part.mean_batch is not None]
    percentiles = (point.p50_ms, point.p90_ms, point.p95_ms, point.p99_ms)
    return (
        point.entry,
        point.load.describe(),
        format_figure(point.inferences_per_s, 1),
        *(format_figure(figure) if point.requests else "-" for figure in percentiles),
        str(point.errors),
        f"{queue:.2f}",
        f"{compute:.2f}",
        "/".join(f"{size:.1f}" for size in batches),
        point.verdict.describe() if point.verdict else "" if point.sustained else "not counted",
    )


def _ratio_cell(point: PointComparison, metric: str) -> str:
    ratios: list[RatioFigure] = [point.decided_by, *point.others]
    ratio = next(ratio for ratio in ratios if ratio.metric == metric)
    return f"x{ratio.ratio:.3f} ({ratio.low:.3f}-{ratio.high:.3f})"
