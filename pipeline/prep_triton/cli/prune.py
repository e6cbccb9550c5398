"""`prep prune`: old releases, removed."""

from typing import Annotated

import typer

from prep_triton.cli.groups import expand_groups
from prep_triton.cli.options import OutputOptions, StoreArgument
from prep_triton.cli.output import session


@expand_groups
def prune(
    uri: StoreArgument,
    keep: Annotated[int, typer.Option(help="Number of the newest releases to keep.")],
    yes: Annotated[bool, typer.Option("--yes", help="Remove them; without it, show what would be removed.")] = False,
    output: OutputOptions = OutputOptions(),
) -> None:
    """Remove old releases.

    Keeps the newest ones, and always the current release and those that its pointer names. Also removes what
    killed publishers left more than a day ago.

    \b
    Examples:
      prep prune gs://bucket/models --keep 10
      prep prune gs://bucket/models --keep 10 --yes
    """
    with session(output) as out:
        from prep_triton.cli.documents.prune import PruneDocument, render_prune
        from prep_triton.publish.prune import prune_releases
        from prep_triton.publish.uri import open_store

        with out.progress(f"prune {uri}") as progress:
            progress("removing" if yes else "looking for what to remove")
            report = prune_releases(open_store(uri), keep, dry_run=not yes)
        out.show(PruneDocument(**vars(report), keep=keep, size=report.size), render_prune)
        if report.removed and report.dry_run:
            out.line(f"dry run: nothing was removed; to do it: prep prune {uri} --keep {keep} --yes")
