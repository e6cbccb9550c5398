"""`prep gc`: what nothing needs any more, removed from the workspace."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prep_triton.cli.completions import complete_model
from prep_triton.cli.groups import expand_groups
from prep_triton.cli.options import DEFAULT_WORKSPACE, OutputOptions, RepositoriesOption, WorkspaceOption
from prep_triton.cli.output import session

if TYPE_CHECKING:
    from prep_triton.run.garbage import GarbageSpec


@dataclass(frozen=True)
class GarbageOptions:
    """What may go of what nothing needs."""

    older_than: Annotated[
        str | None, typer.Option(metavar="AGE", help="Only what no run has used for so long, such as 14d or 36h.")
    ] = None
    to: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Only until the workspace is so small, the longest unused first: 20GiB."),
    ] = None
    model: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODEL",
            help="Everything of this exported model too, current or not (repeatable).",
            autocompletion=complete_model,
        ),
    ] = None


@expand_groups
def gc(
    options: GarbageOptions = GarbageOptions(),
    yes: Annotated[bool, typer.Option("--yes", help="Remove it; without it, show what would be removed.")] = False,
    repository: RepositoriesOption = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    output: OutputOptions = OutputOptions(),
) -> None:
    """Remove from the workspace what nothing needs.

    Keeps what is current, what that or an entry of the repository was built from, and what a run is making or reading.
    The rest goes: earlier versions, what was measured of them, damaged artifacts, what killed runs left.

    \b
    Examples:
      prep gc
      prep gc --older-than 14d --yes
      prep gc --to 20GiB
      prep gc --model old-model --yes
    """
    with session(output) as out:
        from prep_triton.cli.documents.gc import gc_document, render_gc
        from prep_triton.cli.options import choose_repositories
        from prep_triton.run.garbage import collect_garbage
        from prep_triton.workspace import Workspace

        spec = _spec_from_flags(options)
        repositories = choose_repositories(repository)
        with out.progress("gc") as progress:
            progress("removing" if yes else "looking for what to remove")
            report = collect_garbage(Workspace(workspace, read_only=not yes), repositories, spec, dry_run=not yes)
        out.show(gc_document(report, workspace, spec), render_gc)
        if report.removed and report.dry_run:
            command = _command(options, repository, workspace)
            out.line(f"dry run: nothing was removed; to do it: {command} --yes")


def _spec_from_flags(options: GarbageOptions) -> "GarbageSpec":
    from prep_triton.run.garbage import GarbageSpec
    from prep_triton.spec.quantities import parse_age, parse_size

    return GarbageSpec(
        older_than=None if options.older_than is None else parse_age(options.older_than, flag="--older-than"),
        to_bytes=None if options.to is None else parse_size(options.to, flag="--to"),
        models=tuple(options.model or ()),
    )


def _command(options: GarbageOptions, repository: list[Path] | None, workspace: Path) -> str:
    """Return the command line of this request."""
    words = ["prep", "gc"]
    words += ["--older-than", options.older_than] if options.older_than else []
    words += ["--to", options.to] if options.to else []
    words += [word for model in options.model or () for word in ("--model", model)]
    words += [word for folder in repository or () for word in ("--repository", str(folder))]
    words += ["--workspace", str(workspace)] if workspace != DEFAULT_WORKSPACE else []
    return shlex.join(words)
