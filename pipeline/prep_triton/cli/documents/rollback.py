"""What `prep rollback` answers."""

from prep_triton.cli.output import Output
from prep_triton.publish.record import Pointer


class RollbackDocument(Pointer):
    """The pointer as it is now; `uri` is that of the release it points at."""

    uri: str


def render_rollback(out: Output, document: RollbackDocument) -> None:
    """Print what is current, and what was."""
    before = f", before it {document.previous}" if document.previous else ""
    out.line(f"current is {document.release}{before}", style="bold")
    out.line(f"  {document.uri}")
