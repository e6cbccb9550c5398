"""`prep releases`: what was published, what is in it, and what changed."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from prep_triton.cli.groups import expand_groups
from prep_triton.cli.options import OutputOptions, StoreArgument
from prep_triton.cli.output import Output, format_size, session
from prep_triton.errors import SpecError

if TYPE_CHECKING:
    from prep_triton.publish.diff import EntryFigures, ReleaseDiff
    from prep_triton.publish.pointer import Pointer
    from prep_triton.publish.record import Release
    from prep_triton.publish.store import Store


@expand_groups
def releases(
    uri: StoreArgument,
    show: Annotated[
        str | None, typer.Option(metavar="ID", help="Show one release: an id, 'current' or 'previous'.")
    ] = None,
    diff: Annotated[
        tuple[str, str] | None, typer.Option(metavar="ID ID", help="Say what changed from one release to another.")
    ] = None,
    current: Annotated[
        bool, typer.Option("--current", help="Print the current release's URI and nothing else.")
    ] = False,
    output: OutputOptions = OutputOptions(),
) -> None:
    """List the releases under a prefix, newest first. Half-uploaded ones are not releases and not shown.

    \b
    Examples:
      prep releases gs://bucket/models
      prep releases gs://bucket/models --show current
      prep releases gs://bucket/models --diff previous current
      tritonserver --model-repository "$(prep releases gs://bucket/models --current)"
    """
    with session(output) as out:
        if sum((show is not None, diff is not None, current)) > 1:
            raise SpecError("--show, --diff and --current exclude each other", hint="name one of them")
        from prep_triton.publish.store import open_store

        store = open_store(uri)
        if show is not None:
            _show(out, store, show)
        elif diff is not None:
            _diff(out, store, diff)
        elif current:
            from prep_triton.publish.catalog import resolve

            release = resolve(store)
            out.document({"release": release.id, "uri": release.uri})
            out.line(release.uri)
        else:
            _list(out, store)


def _list(out: Output, store: "Store") -> None:
    from prep_triton.publish.catalog import list_releases
    from prep_triton.publish.pointer import load_current
    from prep_triton.publish.reports import find_unfit

    found, pointer, regressed = list_releases(store), load_current(store), find_unfit(store)
    without = {"entries": {"__all__": {"manifest"}}}
    out.document(
        {
            "uri": store.uri,
            "current": pointer.model_dump(mode="json") if pointer else None,
            "regressed": sorted(regressed),
            "releases": [release.model_dump(mode="json", exclude=without) for release in found],
        }
    )
    if not found:
        out.line(f"there is no release under {store.uri}")
        return
    rows = [
        (
            release.id,
            _describe_standing(release, pointer) or ("worse or failed, not current" if release.id in regressed else ""),
            f"{release.created_at:%Y-%m-%d %H:%M:%S} UTC",
            format_size(release.size),
            ", ".join(entry.name for entry in release.entries),
        )
        for release in found
    ]
    out.table("", ("release", "", "created", "#size", "entries"), rows)
    if pointer and pointer.release not in {release.id for release in found}:
        out.line(f"current points at {pointer.release}, which is gone: prep rollback {store.uri} ID", style="yellow")
    if pointer is None:
        out.line(f"none of them was made current yet: prep rollback {store.uri} {found[0].id}")


def _describe_standing(release: "Release", pointer: "Pointer | None") -> str:
    if pointer is None:
        return ""
    if release.id == pointer.release:
        return "current"
    if release.id in pointer.rolled_back:
        return "rolled back from"
    return "previous" if release.id == pointer.previous else ""


def _show(out: Output, store: "Store", reference: str) -> None:
    from prep_triton.publish.catalog import resolve
    from prep_triton.publish.diff import figures_from_entry

    release = resolve(store, reference)
    out.document(release.model_dump(mode="json"))
    out.line(f"release {release.id}", style="bold")
    out.line(f"  {release.uri}")
    revision = f", git {release.git_revision}" if release.git_revision else ""
    out.line(f"  made {release.created_at:%Y-%m-%d %H:%M:%S} UTC by prep {release.prep_version}{revision}")
    if release.target:
        gpus = ", ".join(release.target.gpus) or "no GPU"
        out.line(f"  for Triton {release.target.release.tag} ({release.target.release.image}) with {gpus}")
    if release.server_arguments:
        out.line(f"  tritonserver {' '.join(release.server_arguments)}")
    rows = [
        (entry.name, entry.kind, *_cells_from_figures(figures_from_entry(entry, release))) for entry in release.entries
    ]
    out.table("", ("entry", "kind", *_COLUMNS), rows)


def _diff(out: Output, store: "Store", references: tuple[str, str]) -> None:
    from prep_triton.publish.catalog import resolve
    from prep_triton.publish.diff import diff_releases

    before, after = (resolve(store, reference) for reference in references)
    diff = diff_releases(before, after)
    out.document(asdict(diff))
    out.table(f"{diff.before} -> {diff.after}", ("", "entry", *_COLUMNS, "changed"), list(_rows_from_diff(diff)))
    sign = "+" if diff.size >= 0 else "-"
    message = f"{len(diff.added)} added, {len(diff.removed)} removed, {len(diff.changed)} changed"
    out.line(f"{message}, {len(diff.unchanged)} unchanged; {sign}{format_size(abs(diff.size))}")


def _rows_from_diff(diff: "ReleaseDiff") -> Iterator[tuple[str, ...]]:
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


_COLUMNS = ("model", "runtime", "precision", "accuracy", "cosine (min)", "engines", "#size")


def _cells_from_figures(figures: "EntryFigures") -> tuple[str, ...]:
    accuracy = f"{figures.metric} {figures.accuracy:.2f}" if figures.accuracy is not None else ""
    cosine = f"{figures.mean_cosine:.4f} ({figures.min_cosine:.4f})" if figures.mean_cosine is not None else ""
    engines = ", ".join(f"{capability}: {version}" for capability, version in figures.engines.items())
    size = format_size(figures.size)
    return (figures.model or "", figures.runtime, figures.precision, accuracy, cosine, engines, size)
