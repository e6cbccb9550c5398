"""A run as Markdown, for the page of a CI job."""

import re
from collections.abc import Iterable, Iterator

from prep_triton.cli.documents.rows import cells_from_rows
from prep_triton.errors import PrepError
from prep_triton.quoting import clean_message
from prep_triton.run.report import RunReport, StageRow

# What begins markup or HTML anywhere in a line, or ends a cell of a table.
_MARKUP = re.compile(r"[\\`*\[\]<>|~&]")


def render_summary(report: RunReport, *, title: str, fold: bool = True) -> str:
    """Render a run's outcome, failures and regressions, and a table of its steps; `fold` as in `cells_from_rows`."""
    lines = [f"## {_escape(title)}", "", _escape(report.outcome_sentence()), ""]
    lines += [
        f"- **failed** {_escape(row.artifact)}: {_escape(row.note)}" for row in report.rows if row.state == "failed"
    ]
    lines += [f"- **regressed** {_escape(message)}" for message in report.regressions]
    if report.release:
        lines += ["", f"Release: `{report.release}`"]
    return "\n".join([*lines, *_render_table(report.rows, fold=fold)]) + "\n"


def render_failure(err: PrepError, rows: Iterable[StageRow], *, title: str, fold: bool = True) -> str:
    """Render a run that ended with an error: the error, and the steps that ended before it."""
    lines = [f"## {_escape(title)}", "", f"**Failed**: {_escape(err.message)}", "", f"Hint: {_escape(err.hint)}"]
    return "\n".join([*lines, *_render_table(rows, fold=fold)]) + "\n"


def _render_table(rows: Iterable[StageRow], *, fold: bool) -> Iterator[str]:
    """Yield the lines of the table that the terminal shows; nothing where there is no step."""
    lines = [_render_line(*cells) for cells in cells_from_rows(rows, fold=fold)]
    if lines:
        yield from ("", "| stage | artifact | state | time | numbers |", "|---|---|---|---:|---|", *lines)


def _render_line(*cells: str) -> str:
    stage, artifact, state, took, numbers = map(_escape, cells)
    shown = {"failed": "**failed**", "unchanged": "–"}.get(state, state)
    return f"| {stage} | {artifact} | {shown} | {took} | {numbers} |"


def _escape(text: str) -> str:
    """Return a text on one line, as the page shows it: a name that somebody chose makes no link, image or HTML."""
    return " ".join(_MARKUP.sub(r"\\\g<0>", clean_message(text)).split())
