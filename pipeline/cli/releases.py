"""`prep releases`: what was published."""

from typing import Annotated

import typer

from pipeline.cli import output
from pipeline.cli.options import JsonOption, VerboseOption


def releases(
    uri: Annotated[str, typer.Argument(help="gs://bucket/prefix, or a folder.")],
    json: JsonOption = False,
    verbose: VerboseOption = 0,
) -> None:
    """List the releases under a prefix, newest first. Half-uploaded ones are not releases and not shown.

    \b
    Examples:
      prep releases gs://bucket/models
      prep releases ./releases --json
    """
    with output.session(as_json=json, verbose=verbose) as out:
        from pipeline.publish.release import list_releases
        from pipeline.publish.store import open_store

        found = list_releases(open_store(uri))
        out.document({"uri": uri, "releases": [release.model_dump(mode="json") for release in found]})
        if not found:
            out.line(f"there is no release under {uri}")
            return
        rows = [
            (
                release.id,
                f"{release.created_at:%Y-%m-%d %H:%M:%S} UTC",
                output.format_size(sum(file.size for file in release.files.values())),
                ", ".join(entry.name for entry in release.entries),
            )
            for release in found
        ]
        out.table("", ("release", "created", "#size", "entries"), rows)
