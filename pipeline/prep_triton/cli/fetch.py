"""`prep fetch`: a release, copied here and checked."""

from pathlib import Path
from typing import Annotated

import typer

from prep_triton.cli.groups import expand_groups
from prep_triton.cli.options import OutputOptions, ReleaseOption
from prep_triton.cli.output import session


@expand_groups
def fetch(
    uri: Annotated[str, typer.Argument(help="gs://bucket/prefix, a folder of releases, or a release's URI.")],
    folder: Annotated[Path | None, typer.Argument(metavar="DIR", help="The same as --output.")] = None,
    release: ReleaseOption = None,
    output_dir: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder to write; it must be empty or not exist.")
    ] = None,
    output: OutputOptions = OutputOptions(),
) -> None:
    """Copy a release to this machine and check it.

    The folder appears once every file in it is checked.

    \b
    Examples:
      prep fetch gs://bucket/models -o ./models
      prep fetch gs://bucket/models -o ./models --release 20260131T235959Z-0123456789ab
      tritonserver --model-repository ./models $(cat ./models/server.args)
    """
    with session(output) as out:
        from prep_triton.cli.documents.fetch import FetchDocument, render_fetch
        from prep_triton.publish.catalog import locate_release
        from prep_triton.publish.fetch import fetch_release

        target = _choose_folder(folder, output_dir, uri)
        store, reference = locate_release(uri, release)
        with out.progress(f"fetch {uri}") as progress:
            fetched = fetch_release(store, reference, target, progress=progress)
        document = FetchDocument(
            release=fetched.id, uri=fetched.uri, folder=target, files=len(fetched.files), size=fetched.size
        )
        out.show(document, render_fetch)


def _choose_folder(folder: Path | None, output_dir: Path | None, uri: str) -> Path:
    """Return the folder to write, which is said in one of two ways.

    Raises:
        SpecError: It is said in none, or in both.
    """
    from prep_triton.errors import SpecError

    if folder is not None and output_dir is not None:
        raise SpecError("DIR and --output exclude each other: both are the folder", hint="remove one of them")
    chosen = output_dir or folder
    if chosen is None:
        raise SpecError(f"there is no folder to copy {uri} to", hint=f"prep fetch {uri} -o ./models")
    return chosen
