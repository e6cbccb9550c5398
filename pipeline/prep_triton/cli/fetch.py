"""`prep fetch`: a release, copied here and checked."""

from pathlib import Path
from typing import Annotated

import typer

from prep_triton.cli.completions import complete_release
from prep_triton.cli.groups import expand_groups
from prep_triton.cli.options import OutputOptions
from prep_triton.cli.output import session


@expand_groups
def fetch(
    uri: Annotated[str, typer.Argument(help="gs://bucket/prefix, a folder of releases, or a release's URI.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write; it must be empty or not exist.")],
    release: Annotated[
        str | None, typer.Option(metavar="ID", help="The release. [the current one]", autocompletion=complete_release)
    ] = None,
    output: OutputOptions = OutputOptions(),
) -> None:
    """Copy a release to this machine and check it.

    The folder appears once every file in it is checked.

    \b
    Examples:
      prep fetch gs://bucket/models ./models
      prep fetch gs://bucket/models ./models --release 20260131T235959Z-0123456789ab
      tritonserver --model-repository ./models $(cat ./models/server.args)
    """
    with session(output) as out:
        from prep_triton.cli.documents.fetch import FetchDocument, render_fetch
        from prep_triton.publish.catalog import locate_release
        from prep_triton.publish.fetch import fetch_release

        store, reference = locate_release(uri, release)
        with out.progress(f"fetch {uri}") as progress:
            fetched = fetch_release(store, reference, folder, progress=progress)
        document = FetchDocument(
            release=fetched.id, uri=fetched.uri, folder=folder, files=len(fetched.files), size=fetched.size
        )
        out.show(document, render_fetch)
