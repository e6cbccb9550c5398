"""A report as one HTML file, which asks nothing of any server: no script, no font, no picture from elsewhere."""

from collections.abc import Iterator
from functools import lru_cache
from importlib.resources import files
from typing import assert_never

from prep_triton import __version__
from prep_triton.bench.report.content import Cell, Commands, Document, Figure, Part, Sentence, Table
from prep_triton.bench.report.plots import draw_swatch
from prep_triton.bench.report.text import escape

# What a browser then refuses to fetch, whatever a name in a run may say.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_MOST_ROWS = 10_000
# A cell of so many characters is not broken.
_SHORT = 24


def render_html(document: Document, *, most_rows: int = _MOST_ROWS) -> str:
    """Return a document as HTML; of a longer table the rows after `most_rows` are left out, and that is said."""
    title = escape(document.title)
    parts = [
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width,initial-scale=1">',
        f'<title>{title}</title><link rel="icon" href="data:,"><style>{_read_style()}</style></head><body>',
        f"<header><h1>{title}</h1>",
        *_summary(document.summary),
        "</header><main>",
    ]
    for section in document.sections:
        parts.append(f"<section><h2>{escape(section.title)}</h2>")
        parts += [_part(part, most_rows) for part in section.parts]
        parts.append("</section>")
    parts.append(f'</main><footer class="muted">Written by prep {escape(__version__)}.</footer></body></html>')
    return "\n".join(parts) + "\n"


def _summary(sentences: tuple[Sentence, ...]) -> Iterator[str]:
    for index, sentence in enumerate(sentences):
        yield _sentence(sentence if index or sentence.tone else Sentence(sentence.text, "lead"))


def _part(part: Part, most_rows: int) -> str:
    match part:
        case Table():
            return _table(part, most_rows)
        case Figure():
            return _figure(part)
        case Sentence():
            return _sentence(part)
        case Commands():
            return f"<pre>{escape(chr(10).join(part.lines))}</pre>"
        case _:
            assert_never(part)


def _sentence(sentence: Sentence) -> str:
    return f"<p{_class(sentence.tone)}>{escape(sentence.text)}</p>"


def _figure(figure: Figure) -> str:
    items = "".join(f"<li>{draw_swatch(item.colour, item.shape)}{escape(item.label)}</li>" for item in figure.legend)
    legend = f'<ul class="legend">{items}</ul>' if items else ""
    note = _sentence(Sentence(figure.note, "muted")) if figure.note else ""
    plots = "".join(f"<div><h3>{escape(plot.title)}</h3>{plot.svg}</div>" for plot in figure.plots)
    return f'<figure>{legend}<div class="plots">{plots}</div>{note}</figure>'


def _table(table: Table, most_rows: int) -> str:
    is_number = [column.startswith("#") for column in table.columns]
    heads = "".join(
        f'<th scope="col"{_class("n" if number else "")}>{escape(column.removeprefix("#"))}</th>'
        for column, number in zip(table.columns, is_number, strict=True)
    )
    shown = table.rows[:most_rows]
    body = "\n".join(
        f"<tr>{''.join(_cell(cell, is_number=number) for cell, number in zip(row, is_number, strict=True))}</tr>"
        for row in shown
    )
    left_out = len(table.rows) - len(shown)
    more = f'<p class="warning">{left_out:,} more rows do not fit, and are in the runs.</p>' if left_out else ""
    inside = f'<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>{more}'
    caption = escape(table.caption)
    if table.is_folded:
        return f"<details><summary>{caption}</summary>{inside}</details>"
    return f"<p>{caption}</p>{inside}" if caption else inside


def _cell(cell: Cell, *, is_number: bool) -> str:
    detail = f"<small>{escape(cell.detail)}</small>" if cell.detail else ""
    is_short = not is_number and max(len(cell.text), len(cell.detail)) <= _SHORT
    names = ("n" if is_number else "", "s" if is_short else "", cell.tone)
    return f"<td{_class(' '.join(filter(None, names)))}>{escape(cell.text)}{detail}</td>"


def _class(names: str) -> str:
    return f' class="{names}"' if names else ""


@lru_cache(maxsize=1)
def _read_style() -> str:
    return (files("prep_triton.bench.report") / "style.css").read_text(encoding="utf-8").replace("\n", "")
