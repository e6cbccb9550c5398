"""What `prep build-engine` answers."""

from prep_triton.artifact import Record
from prep_triton.cli.documents.rows import render_rows
from prep_triton.cli.output import Output
from prep_triton.run.report import StageRow


class BuildDocument(Record):
    """Every step, in order."""

    rows: tuple[StageRow, ...]


def render_build(out: Output, document: BuildDocument) -> None:
    """Print the table of the steps, and how to go on."""
    render_rows(out, document.rows)
    builders = {row.figures.get("builder") for row in document.rows} - {None}
    if builders == {"tensorrt-rtx"}:
        names = ", ".join(row.artifact for row in document.rows if row.stage == "engine")
        out.line("no Triton backend loads TensorRT-RTX engines: plans are built with --builder tensorrt, on their GPU")
        out.note(
            f"next: prep inspect {names.partition(',')[0]}, or prep assemble for an entry that ONNX Runtime serves"
        )
    else:
        out.note("next: prep assemble")
