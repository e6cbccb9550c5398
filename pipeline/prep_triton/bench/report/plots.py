"""The plots of a report. They are drawn for a width that a phone shows, and have no colour of their own: style.css has.

A drawing's classes: ``cN`` is the colour N of the palette, as line and as filling.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from prep_triton.bench.report.content import Plot
from prep_triton.bench.report.svg import Axis, axis_over, drawing, element, line, marker, path, paths, text
from prep_triton.bench.report.text import format_number

COLOURS = 8
_WIDTH, _HEIGHT = 440.0, 290.0
_LEFT, _TOP, _BOTTOM = 46.0, 30.0, 246.0
# Between an axis and the edges of its plot, between the plot and a line's name, and a letter of that, in bold.
_INSIDE, _BESIDE, _LETTER = 8.0, 9.0, 6.7
_LEAST_WIDTH = 200.0
_LABEL_STEP = 13.0
_BAR_STEP = 24.0
_MOST_LABELS = 8


@dataclass(frozen=True)
class Spot:
    """A point of a line: a value on each axis, and the interval of each. `is_hollow`: it does not count."""

    x: float
    y: float
    x_interval: tuple[float, float] | None = None
    y_interval: tuple[float, float] | None = None
    is_hollow: bool = False


@dataclass(frozen=True)
class Line:
    """A variant in a plot; spots of a `colour` below 0 are grey and not connected, as those of others are."""

    label: str
    colour: int
    shape: int
    spots: tuple[Spot, ...]


@dataclass(frozen=True)
class Bound:
    """A horizontal line, such as that of a service level."""

    value: float
    label: str


@dataclass(frozen=True)
class Axes:
    """What a plot is called, and what its axes say."""

    title: str
    x: str
    y: str


@dataclass(frozen=True)
class Bar:
    """A bar of segments, each with the class of its colour; `total` stands at its end."""

    label: str
    segments: tuple[tuple[str, float], ...]
    total: str

    @property
    def length(self) -> float:
        """The sum of its segments."""
        return sum(value for _, value in self.segments)


def class_of(colour: int) -> str:
    """Return the class of a colour; grey below 0."""
    return "other" if colour < 0 else f"c{colour % COLOURS}"


def draw_lines(axes: Axes, lines: Sequence[Line], bound: Bound | None, name: str) -> Plot:
    """Draw lines with markers and intervals, and a bound where there is one."""
    spots = [spot for entry in lines for spot in entry.spots]
    named = lines if len(lines) <= _MOST_LABELS else ()
    labels = [*(entry.label for entry in named), *([bound.label] if bound else [])]
    right = max(_WIDTH - _BESIDE - _LETTER * max(map(len, labels), default=0), _LEFT + _LEAST_WIDTH)
    widths = [value for spot in spots for value in (spot.x, *(spot.x_interval or ()))]
    x = axis_over(widths, _LEFT + _INSIDE, right - _INSIDE)
    heights = [value for spot in spots for value in (spot.y, *(spot.y_interval or ()))]
    y = axis_over([*heights, *([bound.value] if bound else [])], _BOTTOM, _TOP + 6)
    parts = [text(axes.y, 0, 14, class_="axis"), *_draw_grid(x, y)]
    parts.append(text(axes.x, (_LEFT + right) / 2, _HEIGHT - 8, class_="axis", text_anchor="middle"))
    if bound:
        place = y.place(bound.value)
        parts.append(line(_LEFT, place, right, place, class_="slo"))
    for entry in lines:
        parts += _draw_line(entry, x, y)
    parts += _draw_labels(named, bound, x, y)
    description = _describe_lines(axes, lines, bound)
    return Plot(axes.title, description, drawing(axes.title, description, (_WIDTH, _HEIGHT), parts, name))


def draw_bars(title: str, unit: str, bars: Sequence[Bar], name: str, longest: float | None = None) -> Plot:
    """Draw horizontal bars of segments, all from zero, up to the longest or to what was said."""
    height = len(bars) * _BAR_STEP + 34
    left = 6.4 * max(len(bar.label) for bar in bars) + 10
    most = longest or max(bar.length for bar in bars) or 1.0
    x = Axis(0.0, most, left, _WIDTH - 64, is_log=False)
    parts = []
    for tick in x.ticks(5):
        place = x.place(tick)
        parts.append(line(place, 4, place, height - 30, class_="grid"))
        parts.append(text(format_tick(tick), place, height - 17, class_="tick", text_anchor="middle"))
    parts.append(text(unit, (x.start + x.end) / 2, height - 2, class_="axis", text_anchor="middle"))
    for index, bar in enumerate(bars):
        top = index * _BAR_STEP + 5
        parts.append(text(bar.label, left - 8, top + 12, class_="tick", text_anchor="end"))
        place = x.start
        for css, value in bar.segments:
            width = value / most * (x.end - x.start)
            if width >= 0.05:
                parts.append(element("rect", x=place, y=top, width=width, height=16.0, class_=f"bar {css}"))
            place += width
        parts.append(text(bar.total, place + 5, top + 12, class_="value"))
    description = f"{title}, in {unit}: " + "; ".join(f"{bar.label} {bar.total}" for bar in bars)
    return Plot(title, description, drawing(title, description, (_WIDTH, height), parts, name))


def draw_histogram(title: str, axis: str, shares: dict[int, float], colour: int, name: str) -> Plot:
    """Draw how large a share (0..1) each whole number has."""
    height, bottom = 190.0, 140.0
    sizes = sorted(shares)
    count = sizes[-1] - min(1, sizes[0]) + 1 if sizes[-1] <= 32 else len(sizes)
    places = {size: size - min(1, sizes[0]) if sizes[-1] <= 32 else index for index, size in enumerate(sizes)}
    step = min(40.0, (_WIDTH - _LEFT - 10) / count)
    y = Axis(0.0, max(shares.values()) * 1.1, bottom, 24.0, is_log=False)
    parts = [text("share of executions", 0, 12, class_="axis")]
    for tick in y.ticks(4):
        parts.append(line(_LEFT, y.place(tick), _WIDTH - 8, y.place(tick), class_="grid"))
        parts.append(text(f"{100 * tick:.0f} %", _LEFT - 6, y.place(tick) + 4, class_="tick", text_anchor="end"))
    for size in sizes:
        left, top = _LEFT + 6 + places[size] * step, y.place(shares[size])
        parts.append(
            element("rect", x=left, y=top, width=step * 0.8, height=bottom - top, class_=f"bar {class_of(colour)}")
        )
        if step > 16 or places[size] % 2 == 0:
            parts.append(text(str(size), left + step * 0.4, bottom + 15, class_="tick", text_anchor="middle"))
    parts.append(text(axis, (_LEFT + _WIDTH) / 2, bottom + 36, class_="axis", text_anchor="middle"))
    description = f"{title}: " + ", ".join(f"{size}: {100 * shares[size]:.1f} %" for size in sizes)
    return Plot(title, description, drawing(title, description, (_WIDTH, height), parts, name))


def draw_swatch(colour: str, shape: int | None) -> str:
    """Return the little drawing of a legend, which its words explain."""
    if shape is None:
        inside = [element("rect", x=1, y=1, width=10, height=10, class_=f"bar {colour}")]
    elif colour == "other":
        inside = [marker(shape, 10, 6, class_="hollow other")]
    else:
        inside = [line(0, 6, 20, 6, class_=f"line {colour}"), marker(shape, 10, 6, class_=f"dot {colour}")]
    width = 12 if shape is None else 20
    return element("svg", *inside, viewBox=f"0 0 {width} 12", width=width, height=12, aria_hidden="true")


def format_tick(value: float) -> str:
    """Render a tick's value without digits that say nothing."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.6g}"


def _draw_grid(x: Axis, y: Axis) -> list[str]:
    parts = []
    right = x.end + _INSIDE
    for tick in y.ticks():
        place = y.place(tick)
        parts.append(line(_LEFT, place, right, place, class_="grid"))
        parts.append(text(format_tick(tick), _LEFT - 6, place + 4, class_="tick", text_anchor="end"))
    for tick in x.ticks(7):
        place = x.place(tick)
        parts.append(line(place, _BOTTOM, place, _BOTTOM + 4, class_="grid"))
        parts.append(text(format_tick(tick), place, _BOTTOM + 17, class_="tick", text_anchor="middle"))
    parts.append(line(_LEFT, _BOTTOM, right, _BOTTOM, class_="base"))
    return parts


def _draw_line(entry: Line, x: Axis, y: Axis) -> list[str]:
    css = class_of(entry.colour)
    counted = [(x.place(spot.x), y.place(spot.y)) for spot in entry.spots if not spot.is_hollow]
    parts = [path(counted, class_=f"line {css}")] if len(counted) > 1 and entry.colour >= 0 else []
    strokes = []
    for spot in entry.spots:
        at_x, at_y = x.place(spot.x), y.place(spot.y)
        if spot.y_interval:
            strokes.append([(at_x, place) for place in map(y.place, spot.y_interval)])
        if spot.x_interval:
            strokes.append([(place, at_y) for place in map(x.place, spot.x_interval)])
    if strokes:
        parts.append(paths(strokes, class_=f"whisker {css}"))
    for spot in entry.spots:
        kind = "hollow" if spot.is_hollow or entry.colour < 0 else "dot"
        parts.append(marker(entry.shape, x.place(spot.x), y.place(spot.y), class_=f"{kind} {css}"))
    return parts


def _draw_labels(lines: Sequence[Line], bound: Bound | None, x: Axis, y: Axis) -> list[str]:
    """Write each line's name at its end, one below the other where they are close."""
    right = x.end + _INSIDE
    ends = [
        (y.place(entry.spots[-1].y), x.place(entry.spots[-1].x) + 6, entry.label, f"name {class_of(entry.colour)}")
        for entry in lines
        if entry.spots
    ]
    if bound:
        ends.append((y.place(bound.value), right, bound.label, "name slo-name"))
    ends.sort()
    parts, floor = [], _TOP
    room = _BOTTOM - _LABEL_STEP * (len(ends) - 1)
    for index, (at_y, at_x, label, css) in enumerate(ends):
        place = min(max(at_y, floor), room + _LABEL_STEP * index)
        floor = place + _LABEL_STEP
        lead = css.replace("name", "lead-line", 1)
        parts.append(path([(at_x, at_y), (right + 2, place), (right + 6, place)], class_=lead))
        parts.append(text(label, right + _BESIDE, place + 4, class_=css))
    return parts


def _describe_lines(axes: Axes, lines: Sequence[Line], bound: Bound | None) -> str:
    """Say of each line where it begins and ends."""
    words = []
    for entry in lines:
        ends = [entry.spots[0], entry.spots[-1]] if len(entry.spots) > 1 else list(entry.spots)
        values = " to ".join(f"{format_number(spot.y)} at {format_number(spot.x)}" for spot in ends)
        words.append(f"{entry.label} {values}" if ends else f"{entry.label} none")
    level = f" The dashed line is the service level, {bound.label}." if bound else ""
    return f"{axes.y} by {axes.x}: {'; '.join(words)}.{level}"
