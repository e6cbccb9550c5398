"""What `prep report` answers."""

from prep_triton.artifact import Cosine, Points, Record
from prep_triton.bench.records import Figure, Load
from prep_triton.cli.output import Output
from prep_triton.cli.units import format_size


class ReportedVariant(Record):
    """An entry of a run, at the load that stands for it; None where no load counts, or nothing is known.

    `state` says why that load: ``met``, ``not shown``, ``none holds``, ``highest`` (no service level) or ``nothing``.
    """

    run: str
    entry: str
    machine: str
    state: str
    load: Load | None
    inferences_per_s: Figure | None
    p50_ms: Figure | None
    p99_ms: Figure | None
    usd_per_million: float | None
    precision: str | None
    size_bytes: int | None
    cosine: Cosine | None
    accuracy: Points | None


class ReportDocument(Record):
    """What was written, and the comparison in it; `html` and `markdown` are paths, None where not written."""

    html: str | None
    html_bytes: int | None
    markdown: str | None
    place: str | None
    summary: tuple[str, ...]
    variants: tuple[ReportedVariant, ...]


def render_report(out: Output, document: ReportDocument) -> None:
    """Print what it comes to, and where it lies."""
    for sentence in document.summary:
        out.line(sentence)
    if document.html is not None:
        out.line(f"{document.html}: {format_size(document.html_bytes or 0)}", style="bold green")
    if document.markdown not in (None, "-"):
        out.line(f"{document.markdown}: Markdown was appended", style="bold green")
