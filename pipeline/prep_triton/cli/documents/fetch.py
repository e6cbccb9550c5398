"""What `prep fetch` answers."""

from pathlib import Path

from prep_triton.artifact import Record
from prep_triton.cli.output import Output
from prep_triton.cli.units import format_size


class FetchDocument(Record):
    """The release that was copied; `files` counts them, `size` is their bytes."""

    release: str
    uri: str
    folder: Path
    files: int
    size: int


def render_fetch(out: Output, document: FetchDocument) -> None:
    """Print what was copied, and to where."""
    size = format_size(document.size)
    out.line(f"release {document.release}: {document.files} files, {size}, every one checked", style="bold")
    out.line(f"  {document.folder}")
