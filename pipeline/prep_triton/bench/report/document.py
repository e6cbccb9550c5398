"""The whole report of some runs, and how much of it one file may hold."""

from collections.abc import Iterator, Sequence

from prep_triton.artifact import RepositoryEntry
from prep_triton.bench.report.baselines import show_baselines
from prep_triton.bench.report.beside import lines_of_published, show_published
from prep_triton.bench.report.comparison import compare_variants, describe_differing_levels, summarize
from prep_triton.bench.report.conditions import show_conditions
from prep_triton.bench.report.content import Document, Section, Sentence
from prep_triton.bench.report.costs import show_costs
from prep_triton.bench.report.html import render_html
from prep_triton.bench.report.loading import show_loading, show_throughput
from prep_triton.bench.report.manifests import show_manifests
from prep_triton.bench.report.runs import ReportedRun
from prep_triton.bench.report.server_side import show_batches, show_times
from prep_triton.bench.report.text import clean, format_share
from prep_triton.bench.report.usage import show_usage
from prep_triton.bench.report.variants import Variant, describe_machine, list_variants

MOST_BYTES = 300_000
# A report of much is cut until the file is small enough: plots of one variant each, points of a line, rows of a table.
_CUTS = ((24, 100, 10_000), (8, 30, 1_000), (2, 20, 300), (0, 12, 100), (0, 6, 50))
# Above so much of its time taken by other guests a machine is called busy.
_MOST_STEAL = 0.05
_LEAST_STEAL = 0.005


def make_document(
    runs: Sequence[ReportedRun],
    entries: Sequence[RepositoryEntry] = (),
    *,
    place: str | None = None,
    notes: Sequence[str] = (),
    most_plots: int = 24,
    most_spots: int = 100,
) -> Document:
    """Return the report of runs, at least one of which has a point.

    Args:
        runs: The runs.
        entries: The entries whose manifests say what each variant is.
        place: Where these are; None where no place was named.
        notes: What to say of runs that are not in the report.
        most_plots: How many plots of a single variant a section may have.
        most_spots: How many points of a line are drawn.
    """
    variants = list_variants(runs, {entry.name: entry for entry in entries})
    sections: list[Section | None] = [
        compare_variants(variants),
        show_loading(variants, most_spots),
        show_throughput(variants, most_spots, lines_of_published(variants)),
        show_times(variants, most_plots),
        show_batches(variants, most_plots),
        show_usage(variants),
        show_costs(variants),
        show_baselines(runs),
        show_manifests(variants, clean(place) if place else None),
        show_published(variants),
        show_conditions(runs),
    ]
    summary = (*summarize(variants), *_introduce(runs, variants), *_warn(runs, variants, notes))
    return Document("Benchmark report", summary, tuple(section for section in sections if section))


def render_report(
    runs: Sequence[ReportedRun],
    entries: Sequence[RepositoryEntry] = (),
    *,
    place: str | None = None,
    notes: Sequence[str] = (),
) -> str:
    """Return the report as one HTML file of at most 300 KB; the same input gives the same bytes.

    Of more variants or points than fit, it leaves out plots of single variants, and then rows of tables, and says so.
    """
    rendered = ""
    for most_plots, most_spots, most_rows in _CUTS:
        document = make_document(runs, entries, place=place, notes=notes, most_plots=most_plots, most_spots=most_spots)
        rendered = render_html(document, most_rows=most_rows)
        if len(rendered.encode()) <= MOST_BYTES:
            break
    return rendered


def _introduce(runs: Sequence[ReportedRun], variants: Sequence[Variant]) -> Iterator[Sentence]:
    machines = list(dict.fromkeys(describe_machine(run.report.conditions) for run in runs))
    points = sum(len(run.report.points) for run in runs)
    days = sorted({f"{run.report.conditions.started_at:%Y-%m-%d}" for run in runs})
    counts = [_count(len(variants), "variant"), _count(points, "measured point"), _count(len(runs), "run")]
    yield Sentence(f"{', '.join(counts)}. {'; '.join(machines)}. {', '.join(days)}.", "muted")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _warn(runs: Sequence[ReportedRun], variants: Sequence[Variant], notes: Sequence[str]) -> Iterator[Sentence]:
    by_text: dict[str, list[str]] = {}
    for run in runs:
        for text in _list_warnings(run):
            by_text.setdefault(text.removesuffix("."), []).append(clean(run.name))
    for text, names in by_text.items():
        yield Sentence(f"{', '.join(names)}: {text}.", "warning")
    yield from describe_differing_levels(variants)
    yield from (Sentence(f"{note}.", "warning") for note in notes)


def _list_warnings(run: ReportedRun) -> Iterator[str]:
    conditions = run.report.conditions
    if run.report.partial:
        yield f"partial, ended before its end: {clean(run.report.partial_reason)}"
    yield from run.notes
    yield from (clean(note, 400) for note in run.report.notes)
    if "stand-in" in conditions.triton_flavour:
        words = "their runtime is called from Python there, and not by Triton's own backend"
        yield f"{clean(conditions.triton_flavour)}; {words}"
    share = conditions.steal_share or 0.0
    if conditions.load_before > conditions.cores / 2 or share > _MOST_STEAL:
        stolen = f", and {format_share(share)} of the time taken" if share >= _LEAST_STEAL else ""
        words = f"load {conditions.load_before:.1f} on {conditions.cores} cores before it began{stolen}"
        yield f"the machine was busy with other work ({words})"
