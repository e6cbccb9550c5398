"""What `prep releases` answers."""

from collections.abc import Iterator
from typing import Any

from pydantic import Field

from prep_triton.artifact import Record
from prep_triton.cli.documents.release import ListedRelease, VerifiedSummary
from prep_triton.cli.output import Output
from prep_triton.cli.units import format_size
from prep_triton.publish.diff import EntryChange, ReleaseDiff
from prep_triton.publish.figures import EntryFigures, figures_from_release
from prep_triton.publish.record import Pointer, Release
from prep_triton.publish.reports import why_unfit
from prep_triton.quoting import shorten

_COLUMNS = (
    "=model",
    "=runtime",
    "=precision",
    "accuracy",
    "cosine (min)",
    "served cosine",
    "#p50 ms",
    "engines",
    "#size",
)


class ReleasesDocument(Record):
    """The releases under a URI, newest first; `regressed` names those that are worse than they may be, or failed."""

    uri: str
    current: Pointer | None
    regressed: tuple[str, ...]
    releases: tuple[ListedRelease, ...]


class CurrentDocument(Record):
    """The current release."""

    release: str
    uri: str


class ShowDocument(Release):
    """One release, with the manifests of its entries; `report` is what `prep verify` measured, empty where nothing."""

    report: dict[str, Any] = Field(default_factory=dict)


class DiffDocument(Record):
    """What changed from one release to another; `size` is the difference of their bytes."""

    before: str
    after: str
    added: dict[str, EntryFigures]
    removed: dict[str, EntryFigures]
    changed: tuple[EntryChange, ...]
    unchanged: tuple[str, ...]
    size: int


def diff_document(diff: ReleaseDiff) -> DiffDocument:
    """Return the document of a difference."""
    return DiffDocument(**vars(diff))


def render_releases(out: Output, document: ReleasesDocument) -> None:
    """Print a line for each release, and what is odd about the pointer."""
    if not document.releases:
        out.line(f"there is no release under {document.uri}")
        return
    rows = [
        (
            release.id,
            _describe_standing(release.id, document),
            *_cells_from_summary(release.verified),
            format_size(release.size),
            _describe_entries(release),
        )
        for release in document.releases
    ]
    out.table("", ("=release", "=standing", "=verified", "#accuracy", "#cosine", "#p50 ms", "#size", "entries"), rows)
    for release in document.releases:
        if release.verified and release.verified.problem:
            out.line(f"{release.id}: {release.verified.problem}", style="yellow")
    pointer, newest = document.current, document.releases[0].id
    if pointer is None:
        out.line(f"no release is current yet: prep rollback {document.uri} {newest}")
    elif pointer.release not in {release.id for release in document.releases}:
        command = f"prep rollback {document.uri} ID"
        out.line(f"current points at {pointer.release}, which does not exist: {command}", style="yellow")


def render_current(out: Output, document: CurrentDocument) -> None:
    """Print the URI alone, for a shell."""
    out.line(document.uri)


def render_show(out: Output, release: ShowDocument) -> None:
    """Print what a release is, and a line for each entry."""
    out.line(f"release {release.id}", style="bold")
    out.line(f"  {release.uri}")
    revision = f", git {release.git_revision}" if release.git_revision else ""
    out.line(f"  made {release.created_at:%Y-%m-%d %H:%M:%S} UTC by prep {release.prep_version}{revision}")
    if release.target:
        gpus = ", ".join(release.target.gpus) or "no GPU"
        out.line(f"  for Triton {release.target.release.tag} ({release.target.release.image}) with {gpus}")
    if release.server_arguments:
        out.line(f"  tritonserver {' '.join(release.server_arguments)}")
    if problem := why_unfit(release.report):
        out.line(f"  not to be served: {problem}", style="yellow")
    figures = figures_from_release(release, release.report)
    rows = [
        (
            entry.name,
            entry.kind,
            *_cells_from_figures(figures[entry.name]),
            figures[entry.name].status or "not verified",
        )
        for entry in release.entries
    ]
    out.table("", ("=entry", "=kind", *_COLUMNS, "on Triton"), rows)


def render_diff(out: Output, diff: DiffDocument) -> None:
    """Print a line for each entry that is not in both as it is, and the sum."""
    out.table(f"{diff.before} -> {diff.after}", ("=", "=entry", *_COLUMNS, "changed"), list(_rows_from_diff(diff)))
    for change in diff.changed:
        for key in change.config:
            out.line(f"  {change.name}: {key.key} {_value(key.before)} -> {_value(key.after)}")
    sign = "+" if diff.size >= 0 else "-"
    counts = f"{len(diff.added)} added, {len(diff.removed)} removed, {len(diff.changed)} changed"
    out.line(f"{counts}, {len(diff.unchanged)} unchanged; {sign}{format_size(abs(diff.size))}")


def _value(value: str | None) -> str:
    return "(not set)" if value is None else shorten(value, 60)


def _describe_standing(release_id: str, document: ReleasesDocument) -> str:
    pointer = document.current
    if pointer and release_id == pointer.release:
        return "current"
    if pointer and release_id in pointer.rolled_back:
        return "rolled back from"
    if pointer and release_id == pointer.previous:
        return "previous"
    return "worse or failed, not current" if release_id in document.regressed else ""


def _rows_from_diff(diff: DiffDocument) -> Iterator[tuple[str, ...]]:
    for mark, entries in (("+", diff.added), ("-", diff.removed)):
        for name, figures in entries.items():
            yield (mark, name, *_cells_from_figures(figures), "")
    for change in diff.changed:
        old, new = _cells_from_figures(change.before), _cells_from_figures(change.after)
        cells = [
            before if before == after else f"{before or '?'} -> {after or '?'}"
            for before, after in zip(old, new, strict=True)
        ]
        yield ("~", change.name, *cells, ", ".join(change.changed))


def _cells_from_figures(figures: EntryFigures) -> tuple[str, ...]:
    accuracy = f"{figures.metric} {figures.accuracy:.2f}" if figures.accuracy is not None else ""
    cosine = f"{figures.mean_cosine:.4f} ({figures.min_cosine:.4f})" if figures.mean_cosine is not None else ""
    engines = ", ".join(f"{capability}: {version}" for capability, version in figures.engines.items())
    size = format_size(figures.size_bytes)
    served, latency = _number(figures.served_cosine, ".6f"), _number(figures.latency_ms, ".1f")
    return (figures.model or "", figures.runtime, figures.precision, accuracy, cosine, served, latency, engines, size)


def _cells_from_summary(verified: VerifiedSummary | None) -> tuple[str, ...]:
    if verified is None:
        return ("no", "", "", "")
    passed = "failed" if verified.problem and not verified.passed else f"{verified.passed} of {verified.entries}"
    return (
        passed,
        _number(verified.accuracy, ".2f"),
        _number(verified.cosine, ".6f"),
        _number(verified.latency_ms, ".1f"),
    )


def _describe_entries(release: ListedRelease) -> str:
    names = [entry.name for entry in release.entries if entry.serves is None]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{', '.join(names[:3])}{more}"


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
