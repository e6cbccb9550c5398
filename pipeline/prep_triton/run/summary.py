"""A run as Markdown, for the page of a CI job."""

import re

from prep_triton.errors import PrepError
from prep_triton.quoting import clean_message
from prep_triton.run.report import RunReport, StageRow

_MARKS = {"made": "made", "unchanged": "–", "planned": "planned", "skipped": "skipped", "failed": "**failed**"}


# What begins markup or HTML anywhere in a line, or ends a cell of a table.
_MARKUP = re.compile(r"[\\`*\[\]<>|~&]")


def render_summary(report: RunReport, *, title: str) -> str:
    """Render a run's outcome, its failures and regressions, and a table of its steps."""
    lines = [f"## {_escape(title)}", "", _escape(report.outcome_sentence()), ""]
    lines += [
        f"- **failed** {_escape(row.artifact)}: {_escape(row.note)}" for row in report.rows if row.state == "failed"
    ]
    lines += [f"- **regressed** {_escape(message)}" for message in report.regressions]
    if report.release:
        lines += ["", f"Release: `{report.release}`"]
    lines += ["", "| stage | artifact | state | seconds | numbers |", "|---|---|---|---:|---|"]
    lines += [_render_row(row) for row in report.rows]
    return "\n".join(lines) + "\n"


def render_failure(err: PrepError, *, title: str) -> str:
    """Render a run that ended with an error."""
    return f"## {_escape(title)}\n\n**Failed**: {_escape(err.message)}\n\nHint: {_escape(err.hint)}\n"


def _render_row(row: StageRow) -> str:
    took = f"{row.seconds:.1f}" if row.state == "made" else ""
    return f"| {row.stage} | {_escape(row.artifact)} | {_MARKS[row.state]} | {took} | {_escape(_numbers(row))} |"


def _numbers(row: StageRow) -> str:
    message = [f"{key} {value:.6g}" for key, value in row.figures.items() if isinstance(value, float | int)]
    return "; ".join([*message, row.note] if row.note else message)


def _escape(text: str) -> str:
    """Return a text on one line, as the page shows it: a name that somebody chose makes no link, image or HTML."""
    return " ".join(_MARKUP.sub(r"\\\g<0>", clean_message(text)).split())
