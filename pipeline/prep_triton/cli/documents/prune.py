"""What `prep prune` answers."""

from prep_triton.artifact import Record
from prep_triton.cli.output import Output
from prep_triton.cli.units import format_size
from prep_triton.publish.prune import Pruned


class PruneDocument(Record):
    """What was removed or, in a dry run, would be; `kept` are the releases that stay, newest first."""

    removed: tuple[Pruned, ...]
    kept: tuple[str, ...]
    dry_run: bool
    size: int


def render_prune(out: Output, document: PruneDocument) -> None:
    """Print what goes, and how much it is."""
    if document.removed:
        rows = [(item.id, item.kind, str(item.files), format_size(item.size)) for item in document.removed]
        out.table("", ("=to remove" if document.dry_run else "=removed", "=what", "#files", "#size"), rows)
    verb = "would be removed" if document.dry_run else "removed"
    kept = f"{len(document.kept)} releases stay"
    out.line(f"{len(document.removed)} {verb}, {format_size(document.size)}; {kept}", style="bold")
