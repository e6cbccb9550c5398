"""What `prep gc` answers."""

from datetime import UTC, datetime
from pathlib import Path

from prep_triton.artifact import Record
from prep_triton.cli.output import Output
from prep_triton.cli.units import format_age, format_size
from prep_triton.run.garbage import Garbage, GarbageReport, GarbageSpec


class GcDocument(Record):
    """What was removed or, in a dry run, would be; `busy` is what stayed because a run holds it.

    `kept_by` are entries for which what they were built from stayed, although its model was named.
    `size_before` and `size_after` are the bytes of the workspace; `is_small_enough` is false where what is left, all
    of it needed or too young, is more than was asked for.
    """

    workspace: Path
    removed: tuple[Garbage, ...]
    busy: tuple[str, ...]
    kept_by: tuple[str, ...]
    size_before: int
    size_after: int
    is_small_enough: bool
    dry_run: bool


def gc_document(report: GarbageReport, workspace: Path, spec: GarbageSpec) -> GcDocument:
    """Describe what became of a workspace."""
    is_small_enough = spec.to_bytes is None or report.size_after <= spec.to_bytes
    return GcDocument(workspace=workspace, is_small_enough=is_small_enough, **vars(report))


def render_gc(out: Output, document: GcDocument) -> None:
    """Print what goes, how much it is, and what is left."""
    now, root = datetime.now(UTC), document.workspace.absolute()
    rows = [
        (
            item.what,
            _shorten(item.path, root),
            item.reason,
            format_age(now - item.used_at) if item.used_at else "",
            format_size(item.size_bytes),
        )
        for item in document.removed
    ]
    if rows:
        out.table("", ("=to remove" if document.dry_run else "=removed", "=path", "why", "#used", "#frees"), rows)
    for path in document.busy:
        out.line(f"stays, since a run uses it: {_shorten(path, root)}")
    for path in document.kept_by:
        out.line(f"what {path} was built from stays; remove that entry first to free it")
    verb = "would be removed" if document.dry_run else "removed"
    freed = format_size(document.size_before - document.size_after)
    stays = f"{format_size(document.size_after)} of {format_size(document.size_before)} stay in {document.workspace}"
    out.line(f"{len(rows)} {verb}, {freed}; {stays}", style="bold")
    if not document.is_small_enough:
        out.line("that is more than --to: all of it is needed, or was used lately; prep list shows what it is")


def _shorten(path: str, root: Path) -> str:
    return str(Path(path).relative_to(root)) if Path(path).is_relative_to(root) else path
