"""`prep prune`: old releases, removed."""

from dataclasses import asdict
from typing import Annotated

import typer

from prep_triton.cli.groups import expand_groups
from prep_triton.cli.options import OutputOptions, StoreArgument
from prep_triton.cli.output import format_size, session


@expand_groups
def prune(
    uri: StoreArgument,
    keep: Annotated[int, typer.Option(help="How many of the newest releases to keep.")],
    yes: Annotated[
        bool, typer.Option("--yes", help="Remove them; without it, only say what would be removed.")
    ] = False,
    output: OutputOptions = OutputOptions(),
) -> None:
    """Remove all but the newest releases, and what killed publishers left more than a day ago.

    The current release, and the others that the pointer names, always stay.

    \b
    Examples:
      prep prune gs://bucket/models --keep 10
      prep prune gs://bucket/models --keep 10 --yes
    """
    with session(output) as out:
        from prep_triton.publish.prune import prune_releases
        from prep_triton.publish.store import open_store

        with out.progress(f"prune {uri}") as progress:
            progress("looking for what to remove" if not yes else "removing")
            report = prune_releases(open_store(uri), keep, dry_run=not yes)
        out.document({**asdict(report), "size": report.size})
        if report.removed:
            rows = [(one.id, one.kind, str(one.files), format_size(one.size)) for one in report.removed]
            out.table("", ("removed" if yes else "to remove", "what", "#files", "#size"), rows)
        done = "removed" if yes else "would be removed"
        size = format_size(report.size)
        out.line(f"{len(report.removed)} {done}, {size}; {len(report.kept)} releases stay", style="bold")
        if report.removed and not yes:
            out.line(f"dry run: nothing was removed; to do it: prep prune {uri} --keep {keep} --yes")
