"""What `prep schema` answers."""

import json

from pydantic import ConfigDict, JsonValue, RootModel

from prep_triton.cli.output import Output


class SchemaDocument(RootModel[dict[str, JsonValue]]):
    """A JSON schema of draft 7."""

    model_config = ConfigDict(json_schema_extra={"required": ["$schema", "title", "definitions"]})


def render_schema(out: Output, document: SchemaDocument) -> None:
    """Print it as the file that an editor reads."""
    out.line(json.dumps(document.root, indent=2, ensure_ascii=False))
