"""What a report is made of, before it is HTML or Markdown: sections of tables, plots, sentences and commands."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Cell:
    """A cell of a table: `text`, a `detail` that is less important, and whether it is `good` or `bad`."""

    text: str
    detail: str = ""
    tone: str = ""


@dataclass(frozen=True)
class Table:
    """Rows under columns; a column whose title begins with ``#`` holds numbers. `is_folded`: shown on demand."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""
    is_folded: bool = False


@dataclass(frozen=True)
class LegendItem:
    """A colour and a shape of a plot, and what they stand for; a plain square where `shape` is None."""

    label: str
    colour: str
    shape: int | None = None


@dataclass(frozen=True)
class Plot:
    """A drawing: `title` and `description` are its text alternative, `svg` holds both."""

    title: str
    description: str
    svg: str


@dataclass(frozen=True)
class Figure:
    """Plots side by side, under one legend and over a note on how to read them."""

    plots: tuple[Plot, ...]
    legend: tuple[LegendItem, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Sentence:
    """A paragraph; a `warning` is one that a reader must not miss."""

    text: str
    tone: str = ""


@dataclass(frozen=True)
class Commands:
    """Lines to paste into a shell."""

    lines: tuple[str, ...]


Part = Table | Figure | Sentence | Commands


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it."""

    title: str
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Document:
    """A whole report."""

    title: str
    summary: tuple[Sentence, ...]
    sections: tuple[Section, ...] = field(default_factory=tuple)
