"""A report as Markdown, for the page of a CI job: the same tables and sentences, without the plots."""

import re
from collections.abc import Iterator, Sequence
from typing import assert_never

from prep_triton.bench.report.content import Cell, Commands, Document, Figure, Part, Sentence, Table

# What Markdown, or the HTML in it, would take for more than a character.
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#+!|~&@])")
# A page of a CI job may be long, but GitHub's ends at 1 MiB.
_MOST_ROWS = 500


def render_markdown(document: Document) -> str:
    """Return a document as Markdown of GitHub's kind."""
    lines = [f"## {_escape(document.title)}", ""]
    for sentence in document.summary:
        lines += _sentence(sentence)
    for section in document.sections:
        inside = [line for part in section.parts for line in _part(part)]
        lines += [f"### {_escape(section.title)}", "", *inside] if inside else []
    return "\n".join(lines).rstrip() + "\n"


def _part(part: Part) -> Iterator[str]:
    match part:
        case Table():
            yield from _table(part)
        case Figure():
            return
        case Sentence():
            yield from _sentence(part)
        case Commands():
            fence = "`" * (max((len(run) for line in part.lines for run in re.findall("`+", line)), default=2) + 1)
            yield from (fence if len(fence) > 2 else "```", *part.lines, fence if len(fence) > 2 else "```", "")
        case _:
            assert_never(part)


def _sentence(sentence: Sentence) -> tuple[str, ...]:
    text = _escape(sentence.text)
    if sentence.tone == "warning":
        return ("> [!WARNING]", f"> {text}", "")
    return (f"<sub>{text}</sub>" if sentence.tone == "muted" else text, "")


def _table(table: Table) -> Iterator[str]:
    if table.is_folded:
        yield from ("<details>", f"<summary>{_escape(table.caption)}</summary>", "")
    elif table.caption:
        yield from (_escape(table.caption), "")
    yield _row([_escape(column.removeprefix("#")) for column in table.columns])
    yield _row(["--:" if column.startswith("#") else ":--" for column in table.columns])
    yield from (_row([_cell(cell) for cell in row]) for row in table.rows[:_MOST_ROWS])
    yield ""
    if len(table.rows) > _MOST_ROWS:
        yield from (f"{len(table.rows) - _MOST_ROWS:,} more rows are in the runs.", "")
    if table.is_folded:
        yield from ("</details>", "")


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(cell: Cell) -> str:
    return f"{_escape(cell.text)} ({_escape(cell.detail)})" if cell.detail else _escape(cell.text)


def _escape(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", text)
