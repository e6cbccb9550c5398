"""What `prep build-engine` answers."""

from prep_triton.artifact import Record
from prep_triton.cli.documents.rows import render_rows
from prep_triton.cli.output import Output
from prep_triton.run.report import StageRow


class BuildDocument(Record):
    """Every step, in order."""

    rows: tuple[StageRow, ...]


def render_build(out: Output, document: BuildDocument) -> None:
    """Print the table of the steps."""
    render_rows(out, document.rows)
