"""What `prep compare` answers."""

from collections.abc import Mapping

from prep_triton.artifact import LatencyRecord
from prep_triton.cli.output import Output
from prep_triton.cli.units import format_size
from prep_triton.run.compare import ComparedSide, Comparison


class CompareDocument(Comparison):
    """Two graphs, engines or entries side by side."""


def render_compare(out: Output, document: CompareDocument) -> None:
    """Print both sides in columns, and how they agree."""
    sides = (document.first, document.second)
    columns = [describe_side(side, document.metric) for side in sides]
    rows = [(what, columns[0][what], columns[1][what]) for what in columns[0] if columns[0][what] or columns[1][what]]
    out.table("", ("", document.first.name, document.second.name), rows)
    if document.reference:
        out.line(f"cosines are to {document.reference} ({document.rows} rows)", style="dim")
    if document.mean_cosine is not None:
        labels = (
            "" if document.same_labels is None else f"; the same labels in {document.same_labels} of {document.rows}"
        )
        out.line(
            f"to each other: mean cosine {document.mean_cosine:.6f}, min {document.min_cosine:.6f}{labels}",
            style="bold",
        )
    if latency := document.first.latency:
        shape = "x".join(map(str, latency.shape))
        out.line(f"latency: median (p10..p90) of {latency.runs} runs at {shape}; {latency.where}", style="dim")
    for note in document.notes:
        out.line(note)


def describe_side(side: ComparedSide, metric: str | None) -> dict[str, str]:
    """Say what is known of one side, one fact a row."""
    return {
        "what": side.what,
        "precision": side.precision,
        "size": format_size(side.size_bytes),
        "FLOPs with weights": _shares(side.flops_share),
        "layers": ", ".join(f"{count} {word.upper()}" for word, count in side.layers.items()),
        "mean cosine": "" if side.mean_cosine is None else f"{side.mean_cosine:.6f}",
        "min cosine": "" if side.min_cosine is None else f"{side.min_cosine:.6f}",
        "changed labels": "" if side.changed_labels is None else str(side.changed_labels),
        metric or "accuracy": "" if side.accuracy is None else f"{side.accuracy:.2f}",
        "latency": _describe_latency(side.latency),
    }


def _shares(shares: Mapping[str, float]) -> str:
    return ", ".join(f"{part:.1%} {word.upper()}" for word, part in shares.items())


def _describe_latency(latency: LatencyRecord | None) -> str:
    return "" if latency is None else f"{latency.median_ms:.2f} ms ({latency.p10_ms:.2f}..{latency.p90_ms:.2f})"
