"""`prep lint`: a repository judged offline."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prep_triton.cli.groups import expand_groups
from prep_triton.cli.options import DEFAULT_REPOSITORY, OutputOptions, TargetOptions, target_from_flags
from prep_triton.cli.output import EXIT_FAILED, Output, session

if TYPE_CHECKING:
    from prep_triton.target import Target
    from prep_triton.triton.lint import Finding, LintReport

_STYLES = {"error": "red", "warning": "yellow"}


@expand_groups
def lint(
    repository: Annotated[
        Path, typer.Argument(help="A model repository, written by prep or not.")
    ] = DEFAULT_REPOSITORY,
    entry: Annotated[
        list[str] | None, typer.Option(help="Judge this entry and what it calls; repeat it. [all]", metavar="NAME")
    ] = None,
    target: TargetOptions = TargetOptions(),
    full: Annotated[
        bool, typer.Option("--full", help="Digest every file, also large ones that look untouched.")
    ] = False,
    codes: Annotated[bool, typer.Option("--codes", help="List every code and what it means, and end.")] = False,
    output: OutputOptions = OutputOptions(),
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
    with session(output) as out:
        from prep_triton.triton.lint import lint_repository

        if codes:
            _list_codes(out)
            return
        judged_for = _resolve_target(target)
        report = lint_repository(repository, judged_for, entry or None, digest_all=full)
        out.document(report.document())
        for finding in report.findings:
            _tell_finding(out, finding)
        _tell_summary(out, report)
    if report.errors:
        raise typer.Exit(EXIT_FAILED)


def _resolve_target(options: TargetOptions) -> "Target | None":
    from prep_triton.target import resolve_target

    spec = target_from_flags(options)
    return resolve_target(spec) if spec else None


def _tell_finding(out: Output, finding: "Finding") -> None:
    style = _STYLES[finding.severity]
    out.line(f"{finding.severity:<7}  {finding.place}: {finding.message} [{finding.code}]", style=style)
    out.line(f"         {finding.hint}")


def _tell_summary(out: Output, report: "LintReport") -> None:
    errors, warnings = len(report.errors), len(report.warnings)
    message = (
        f"{_count(errors, 'error')}, {_count(warnings, 'warning')} in {_count(len(report.entries), 'entry', 'entries')}"
    )
    judged_for = f", judged for {report.target}" if report.target else ""
    style = "bold red" if errors else "bold yellow" if warnings else "bold green"
    out.line(f"{report.repository}: {message}{judged_for}", style=style)


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or f'{one}s'}"


def _list_codes(out: Output) -> None:
    from prep_triton.triton.lint import CODES

    out.document({code: {"severity": severity, "meaning": meaning} for code, (severity, meaning) in CODES.items()})
    out.table("", ("code", "severity", "meaning"), [(code, *row) for code, row in CODES.items()])
