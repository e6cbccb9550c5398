"""`prep lint`: a repository judged offline."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prep_triton.cli import output
from prep_triton.cli.options import DEFAULT_REPOSITORY, GPU_EXAMPLES, JsonOption, VerboseOption, complete_from

if TYPE_CHECKING:
    from prep_triton.target import Target
    from prep_triton.triton.lint import Finding, LintReport

_STYLES = {"error": "red", "warning": "yellow"}


def lint(
    repository: Annotated[
        Path, typer.Argument(help="A model repository, written by prep or not.")
    ] = DEFAULT_REPOSITORY,
    entry: Annotated[
        list[str] | None, typer.Option(help="Judge this entry and what it calls; repeat it. [all]", metavar="NAME")
    ] = None,
    target: Annotated[
        str | None, typer.Option(metavar="YY.MM", help="Judge for this release of Triton's container, such as 25.08.")
    ] = None,
    gpu: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GPU",
            help="A GPU of the target (t4, l4, …); repeat it. None: a server without a GPU.",
            autocompletion=complete_from(*GPU_EXAMPLES),
        ),
    ] = None,
    platform: Annotated[
        str | None,
        typer.Option(
            help="The target's platform. [linux/amd64]", autocompletion=complete_from("linux/amd64", "linux/arm64")
        ),
    ] = None,
    triton_releases: Annotated[
        str | None, typer.Option(metavar="FILE", help="YAML that adds to the table of Triton releases, or corrects it.")
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Digest every file, also large ones that look untouched.")
    ] = False,
    codes: Annotated[bool, typer.Option("--codes", help="List every code and what it means, and end.")] = False,
    json: JsonOption = False,
    verbose: VerboseOption = 0,
) -> None:
    """Judge a model repository offline: no GPU, no server. Exit code 1 where there is an error.

    A finding is an error where a server would refuse the repository, or serve something else than it says; else a
    warning. Each has a code, which --codes explains.

    \b
    Examples:
      prep lint model_repository
      prep lint model_repository --target 25.08 --gpu t4
      prep lint model_repository --json
    """
    with output.session(as_json=json, verbose=verbose) as out:
        from prep_triton.triton.lint import lint_repository

        if codes:
            _list_codes(out)
            return
        judged_for = _resolve_target(target, gpu, platform, triton_releases)
        report = lint_repository(repository, judged_for, entry or None, digest_all=full)
        out.document(report.document())
        for finding in report.findings:
            _tell_finding(out, finding)
        _tell_summary(out, report)
    if report.errors:
        raise typer.Exit(output.EXIT_FAILED)


def _resolve_target(
    triton: str | None, gpus: list[str] | None, platform: str | None, triton_releases: str | None
) -> "Target | None":
    from prep_triton.errors import SpecError
    from prep_triton.spec import TargetSpec, build_spec
    from prep_triton.target import resolve_target

    if triton is None:
        given = {"--gpu": gpus, "--platform": platform, "--triton-releases": triton_releases}
        for flag, value in given.items():
            if value:
                raise SpecError(f"{flag} describes a target, and there is none", hint="add --target, such as 25.08")
        return None
    values: dict[str, Any] = {"triton": triton, "gpus": gpus or (), "triton_releases": triton_releases}
    if platform:
        values["platform"] = platform
    return resolve_target(build_spec(TargetSpec, values, where="the command line"))


def _tell_finding(out: output.Output, finding: "Finding") -> None:
    style = _STYLES[finding.severity]
    out.line(f"{finding.severity:<7}  {finding.place}: {finding.message} [{finding.code}]", style=style)
    out.line(f"         {finding.hint}")


def _tell_summary(out: output.Output, report: "LintReport") -> None:
    errors, warnings = len(report.errors), len(report.warnings)
    message = (
        f"{_count(errors, 'error')}, {_count(warnings, 'warning')} in {_count(len(report.entries), 'entry', 'entries')}"
    )
    judged_for = f", judged for {report.target}" if report.target else ""
    style = "bold red" if errors else "bold yellow" if warnings else "bold green"
    out.line(f"{report.repository}: {message}{judged_for}", style=style)


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or f'{one}s'}"


def _list_codes(out: output.Output) -> None:
    from prep_triton.triton.lint import CODES

    out.document({code: {"severity": severity, "meaning": meaning} for code, (severity, meaning) in CODES.items()})
    out.table("", ("code", "severity", "meaning"), [(code, *row) for code, row in CODES.items()])
