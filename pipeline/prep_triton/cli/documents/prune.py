"""What `prep prune` answers."""

from prep_triton.artifact import Record
from prep_triton.cli.output import Output
from prep_triton.cli.units import format_size
from prep_triton.publish.prune import Pruned

_WORDS = {"rolled back from": "one that was rolled back from", "previous": "what was current before"}


class PruneDocument(Record):
    """What was removed or, in a dry run, would be; `kept` are the releases that stay, newest first.

    `named` says of those that the pointer names, which stay in any case, what they are to it. `keep` is how many of the
    newest stay beside them.
    """

    removed: tuple[Pruned, ...]
    kept: tuple[str, ...]
    named: dict[str, str]
    keep: int
    dry_run: bool
    size: int


def render_prune(out: Output, document: PruneDocument) -> None:
    """Print what goes, and how much it is."""
    if document.removed:
        rows = [(item.id, item.kind, str(item.files), format_size(item.size)) for item in document.removed]
        out.table("", ("=to remove" if document.dry_run else "=removed", "=what", "#files", "#size"), rows)
    verb = "would be removed" if document.dry_run else "removed"
    count = len(document.kept)
    stay = f"{count} release{'s stay' if count != 1 else ' stays'}"
    if document.removed:
        out.line(f"{len(document.removed)} {verb}, {format_size(document.size)}; {stay}", style="bold")
    else:
        out.line(f"nothing to remove; {stay}", style="bold")
    older = {name: what for name, what in document.named.items() if name not in document.kept[: document.keep]}
    for name, what in older.items():
        out.line(f"  {name} stays beyond the {document.keep} newest: it is {_WORDS.get(what, what)}")
    if not document.removed and not older:
        out.line(f"  --keep {document.keep} keeps the {document.keep} newest, and there are {count or 'none'}")
