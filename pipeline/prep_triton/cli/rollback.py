"""`prep rollback`: another release becomes current."""

from typing import Annotated

import typer

from prep_triton.cli.completions import complete_release
from prep_triton.cli.groups import expand_groups
from prep_triton.cli.options import OutputOptions, StoreArgument
from prep_triton.cli.output import session


@expand_groups
def rollback(
    uri: StoreArgument,
    release: Annotated[
        str | None,
        typer.Argument(
            metavar="ID",
            help="The release: an id or its beginning, current, previous, newest, or its URI. [the one before]",
            autocompletion=complete_release,
        ),
    ] = None,
    output: OutputOptions = OutputOptions(),
) -> None:
    """Make another release current.

    Only the pointer is written. Publishing the same content does not make a release current again from which you
    rolled back; name its ID here instead.

    \b
    Examples:
      prep rollback gs://bucket/models
      prep rollback gs://bucket/models 20260131T235959Z-0123456789ab
    """
    with session(output) as out:
        from prep_triton.cli.documents.rollback import RollbackDocument, render_rollback
        from prep_triton.publish.catalog import CURRENT, locate_release
        from prep_triton.publish.pointer import rollback as move_back

        store, named = locate_release(uri, release)
        pointer = move_back(store, None if release is None and named == CURRENT else named)
        out.show(RollbackDocument(**dict(pointer), uri=f"{store.uri}/{pointer.path}"), render_rollback)
