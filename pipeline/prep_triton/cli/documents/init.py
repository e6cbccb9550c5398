"""What `prep init` answers."""

from prep_triton.artifact import Record
from prep_triton.cli.output import Output


class InitDocument(Record):
    """The pipeline file that was written, the schema beside it, and the models that it makes."""

    config: str
    schema_file: str
    models: tuple[str, ...]


def render_init(out: Output, document: InitDocument) -> None:
    """Print what was written, and what to do with it."""
    out.line(f"wrote {document.config} for {', '.join(document.models)}, and {document.schema_file} for your editor")
    out.note(f"next: prep run {document.config}")
