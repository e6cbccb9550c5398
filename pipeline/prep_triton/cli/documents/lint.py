"""What `prep lint` answers."""

from pydantic import RootModel

from prep_triton.artifact import Record
from prep_triton.cli.output import Output
from prep_triton.triton.lint.finding import CODES, Finding, LintReport, Severity

_STYLES = {"error": "red", "warning": "yellow"}


class LintDocument(Record):
    """What lint found; `errors` and `warnings` count the findings."""

    repository: str
    target: str | None
    entries: tuple[str, ...]
    findings: tuple[Finding, ...]
    errors: int
    warnings: int


class CodeMeaning(Record):
    """What a code of lint means."""

    severity: Severity
    meaning: str


class CodesDocument(RootModel[dict[str, CodeMeaning]]):
    """Every code of lint."""


def lint_document(report: LintReport) -> LintDocument:
    """Return the document of a report."""
    return LintDocument(**dict(report), errors=len(report.errors), warnings=len(report.warnings))


def codes_document() -> CodesDocument:
    """Return the document of ``--codes``."""
    return CodesDocument(
        {code: CodeMeaning(severity=severity, meaning=meaning) for code, (severity, meaning) in CODES.items()}
    )


def render_lint(out: Output, document: LintDocument) -> None:
    """Print each finding with its hint below it, and the sum."""
    for finding in document.findings:
        style = _STYLES[finding.severity]
        out.line(f"{finding.severity:<7}  {finding.place}: {finding.message} [{finding.code}]", style=style)
        out.line(f"         {finding.hint}")
    errors, warnings = _count(document.errors, "error"), _count(document.warnings, "warning")
    entries = _count(len(document.entries), "entry", "entries")
    target = f", for {document.target}" if document.target else ""
    style = "bold red" if document.errors else "bold yellow" if document.warnings else "bold green"
    out.line(f"{document.repository}: {errors}, {warnings} in {entries}{target}", style=style)


def render_codes(out: Output, document: CodesDocument) -> None:
    """Print the table of the codes."""
    rows = [(code, row.severity, row.meaning) for code, row in document.root.items()]
    out.table("", ("=code", "=severity", "meaning"), rows)


def _count(number: int, singular: str, plural: str = "") -> str:
    return f"{number} {singular if number == 1 else plural or f'{singular}s'}"
