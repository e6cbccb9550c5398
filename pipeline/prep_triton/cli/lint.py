"""`prep lint`: a repository, checked offline."""

from typing import TYPE_CHECKING, Annotated

import typer

from prep_triton.cli.completions import complete_entry
from prep_triton.cli.exclusive import check_alone, list_given
from prep_triton.cli.groups import expand_groups
from prep_triton.cli.options import OutputOptions, ReleaseOption, TargetArgument, TargetOptions, target_from_flags
from prep_triton.cli.output import session
from prep_triton.errors import EXIT_FAILED
from prep_triton.layout import DEFAULT_REPOSITORY

if TYPE_CHECKING:
    from prep_triton.target import Target


@expand_groups
def lint(
    repository: TargetArgument = DEFAULT_REPOSITORY,
    release: ReleaseOption = None,
    entry: Annotated[
        list[str] | None,
        typer.Option(
            help="Entry to lint, with the entries it calls (repeatable). [all]",
            metavar="NAME",
            autocompletion=complete_entry,
        ),
    ] = None,
    target: TargetOptions = TargetOptions(),
    full: Annotated[
        bool, typer.Option("--full", help="Compute the digest of every file, also of large ones that look unchanged.")
    ] = False,
    codes: Annotated[bool, typer.Option("--codes", help="List every code with its meaning, and exit.")] = False,
    output: OutputOptions = OutputOptions(),
) -> None:
    """Lint a model repository offline.

    Needs no GPU and no server. A finding is an error where a server would refuse the repository, or serve something
    else than it says; everything else is a warning. Ends with exit code 1 if there is an error.

    \b
    Examples:
      prep lint
      prep lint ./models --target 25.08 --gpu t4
      prep lint gs://bucket/models --release previous --json
    """
    with session(output) as out:
        from prep_triton.cli.documents.lint import codes_document, lint_document, render_codes, render_lint
        from prep_triton.run.locate import local_repository
        from prep_triton.triton.lint import lint_repository

        if codes:
            check_alone(
                "--codes", [*list_given(target), *(["--entry"] if entry else []), *(["--full"] if full else [])]
            )
            out.show(codes_document(), render_codes)
            return
        server = _resolve_target(target)
        with (
            out.progress(f"lint {repository}") as progress,
            local_repository(repository, release, progress=progress) as (folder, name),
        ):
            report = lint_repository(folder, server, entry or None, digest_all=full)
        report = report.model_copy(update={"repository": name})
        out.show(lint_document(report), render_lint)
    if report.errors:
        raise typer.Exit(EXIT_FAILED)


def _resolve_target(options: TargetOptions) -> "Target | None":
    from prep_triton.target import resolve_target

    spec = target_from_flags(options)
    return resolve_target(spec) if spec else None
