"""`prep schema`: the JSON schema of the files that users write."""

from typing import Annotated

import typer

from prep_triton.cli.choices import complete
from prep_triton.cli.groups import expand_groups
from prep_triton.cli.options import OutputOptions
from prep_triton.cli.output import session


@expand_groups
def schema(
    file: Annotated[
        str, typer.Argument(help="Which file: {schema_files}.", autocompletion=complete("schema_files"))
    ] = "pipeline",
    output: OutputOptions = OutputOptions(),
) -> None:
    """Print the JSON schema of a pipeline file, with a description and the default of every key.

    An editor with a YAML language server completes and checks a file whose first line names it:

    \b
      # yaml-language-server: $schema=prep.schema.json

    \b
    Examples:
      prep schema > prep.schema.json
      prep schema serving > serving.schema.json
    """
    with session(output) as out:
        from prep_triton.cli.documents.schema import SchemaDocument, render_schema
        from prep_triton.errors import SpecError, suggest
        from prep_triton.spec.schema import FILES, make_schema

        if file not in FILES:
            known = f"choose one of {', '.join(FILES)}"
            raise SpecError(f"there is no schema of '{file}'", hint=suggest(file, FILES, otherwise=known))
        out.show(SchemaDocument(make_schema(file)), render_schema)
