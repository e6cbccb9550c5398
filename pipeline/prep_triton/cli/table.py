"""How a table is laid out: in columns for a terminal, as lines with a tab between the cells for a pipe.

A column named ``=…`` holds names, ids or single words, which never break; one named ``#…`` holds numbers, which are
aligned to the right and never break either. The others share what width is left, and wrap between words.
"""

from collections.abc import Iterator, Sequence
from itertools import zip_longest

from rich.cells import cell_len

GAP = "  "
INDENT = "    "
# A wrapping column is not narrower, unless all that is in it is.
LEAST_WIDTH = 14
# A row that would be taller is easier to read as a paragraph.
MOST_LINES = 6

Rows = Sequence[Sequence[str]]


def join_with_tabs(columns: Sequence[str], rows: Rows) -> list[str]:
    """Return a header and a line for each row; every column stays, so that ``cut -f`` finds it at the same place."""
    lines = [list(map(_heading, columns)), *rows]
    return ["\t".join(" ".join(cell.split()) for cell in cells) for cells in lines]


def lay_out(columns: Sequence[str], rows: Rows, width: int) -> list[str]:
    """Return the lines of a table, of which the first two are its header; a column without a value is left out.

    No word is ever broken. Where the columns do not fit into the width, or a row would be tall, each row is a line of
    its names, which may be longer than the width, with the rest as a paragraph below it; there is no header then.
    """
    used = [index for index in range(len(columns)) if any(row[index].strip() for row in rows)]
    columns, rows = [columns[index] for index in used], [[row[index] for index in used] for row in rows]
    widths = _fit_widths(columns, rows, width)
    laid_out = [] if widths is None else [list(_lay_out_row(columns, row, widths)) for row in rows]
    if widths is None or any(len(lines) > MOST_LINES for lines in laid_out):
        return _lay_out_paragraphs(columns, rows, width)
    header = _lay_out_row(columns, list(map(_heading, columns)), widths)
    rule = GAP.join("─" * size for size in widths)
    return [*header, rule, *(line for lines in laid_out for line in lines)]


def wrap_words(text: str, width: int) -> list[str]:
    """Return a text as lines of at most that width, but for words that are wider."""
    lines = [""]
    for word in text.split():
        if lines[-1] and cell_len(lines[-1]) + 1 + cell_len(word) > width:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".lstrip()
    return lines


def _heading(column: str) -> str:
    return column.lstrip("#=")


def _breaks(column: str) -> bool:
    return column[:1] not in ("#", "=")


def _fit_widths(columns: Sequence[str], rows: Rows, width: int) -> list[int] | None:
    """Return a width for each column, or None where they do not fit."""
    cells = [[_heading(column), *(row[index] for row in rows)] for index, column in enumerate(columns)]
    natural = [max(map(cell_len, column)) for column in cells]
    words = [max((cell_len(word) for cell in column for word in cell.split()), default=0) for column in cells]
    widths = [
        min(size, max(LEAST_WIDTH, longest)) if _breaks(column) else size
        for column, size, longest in zip(columns, natural, words, strict=True)
    ]
    spare = width - len(GAP) * (len(columns) - 1) - sum(widths)
    if spare < 0:
        return None
    # What is needed least comes first, so that each gets its share of what the earlier ones leave.
    waiting = sorted(range(len(columns)), key=lambda index: natural[index] - widths[index])
    for done, index in enumerate(waiting):
        more = min(natural[index] - widths[index], spare // (len(waiting) - done))
        widths[index] += more
        spare -= more
    return widths


def _lay_out_row(columns: Sequence[str], row: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    cells = [
        wrap_words(cell, size) if _breaks(column) else [cell]
        for column, cell, size in zip(columns, row, widths, strict=True)
    ]
    for parts in zip_longest(*cells, fillvalue=""):
        padded = [
            " " * (size - cell_len(part)) + part if column.startswith("#") else part + " " * (size - cell_len(part))
            for column, part, size in zip(columns, parts, widths, strict=True)
        ]
        yield GAP.join(padded).rstrip()


def _lay_out_paragraphs(columns: Sequence[str], rows: Rows, width: int) -> list[str]:
    names = [index for index, column in enumerate(columns) if column.startswith("=")]
    widths = {index: max(cell_len(row[index]) for row in rows) for index in names}
    lines = []
    for row in rows:
        lines.append(GAP.join(row[i] + " " * (widths[i] - cell_len(row[i])) for i in names).rstrip())
        others = [
            f"{_heading(column)}: {cell}" if _heading(column) else cell
            for index, (column, cell) in enumerate(zip(columns, row, strict=True))
            if cell and index not in widths
        ]
        if others:
            lines += [f"{INDENT}{line}" for line in wrap_words("; ".join(others), width - len(INDENT))]
    return lines
