"""SVG elements as text, axes and their ticks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from prep_triton.bench.report.text import escape

# Where the values span more than so many times, an axis is logarithmic.
_LOG_FROM = 12.0
# What is smaller than so much of the largest value stays at an axis's beginning.
_LEAST_SHARE = 1e-9
# No rate, latency or price is so small, or so large: a document may say anything.
_NOTHING, _EVERYTHING = 1e-12, 1e12
# What stays free above the largest value of a linear axis, and on both sides of a logarithmic one.
_LINEAR_ROOM = 1.06
_LOG_ROOM = 1.15


def element(name: str, *inside: str, **attributes: object) -> str:
    """Return an element. An attribute's ``_`` stands for ``-``, and one at its end is dropped; numbers are rounded."""
    words = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_value(value)}"'
        for key, value in attributes.items()
        if value is not None and value != ""
    )
    return f"<{name}{words}>{''.join(inside)}</{name}>" if inside else f"<{name}{words}/>"


def text(words: str, x: float, y: float, **attributes: object) -> str:
    """Return words at a place."""
    return element("text", escape(words), x=x, y=y, **attributes)


def line(x1: float, y1: float, x2: float, y2: float, **attributes: object) -> str:
    """Return a straight line."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, **attributes)


def path(points: Sequence[tuple[float, float]], **attributes: object) -> str:
    """Return a line through points."""
    return paths([points], **attributes)


def paths(lines: Sequence[Sequence[tuple[float, float]]], **attributes: object) -> str:
    """Return several lines that look the same as one element."""
    steps = ("L".join(f"{_value(x)} {_value(y)}" for x, y in points) for points in lines)
    return element("path", d="".join(f"M{step}" for step in steps), **attributes)


def drawing(title: str, description: str, size: tuple[float, float], parts: Sequence[str], name: str) -> str:
    """Return a whole drawing with its text alternative; `name` is unique in the document."""
    return element(
        "svg",
        element("title", escape(title), id=f"{name}-t"),
        element("desc", escape(description), id=f"{name}-d"),
        *parts,
        viewBox=f"0 0 {size[0]:g} {size[1]:g}",
        role="img",
        aria_labelledby=f"{name}-t {name}-d",
    )


def marker(shape: int, x: float, y: float, **attributes: object) -> str:
    """Return the marker of a run: a circle, square, triangle, diamond or cross; then they begin anew."""
    if shape % 5 == 0:
        return element("circle", cx=x, cy=y, r=3.6, **attributes)
    if shape % 5 == 1:
        return element("rect", x=x - 3.3, y=y - 3.3, width=6.6, height=6.6, **attributes)
    outlines = {
        2: [(0, -4.5), (4.2, 3.3), (-4.2, 3.3)],
        3: [(0, -4.8), (4.8, 0), (0, 4.8), (-4.8, 0)],
        4: [(-1.4, -4.2), (1.4, -4.2), (1.4, 4.2), (-1.4, 4.2), (-1.4, 1.4), (-4.2, 1.4), (-4.2, -1.4), (4.2, -1.4),
            (4.2, 1.4)],
    }  # fmt: skip
    steps = "L".join(f"{_value(x + dx)} {_value(y + dy)}" for dx, dy in outlines[shape % 5])
    return element("path", d=f"M{steps}Z", **attributes)


@dataclass(frozen=True)
class Axis:
    """Values from `low` to `high` between two places of a drawing, in its units."""

    low: float
    high: float
    start: float
    end: float
    is_log: bool

    def place(self, value: float) -> float:
        """Return where a value lies; beyond the axis it stays at its end."""
        value = min(max(value, self.low), self.high)
        if self.is_log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self, most: int = 6) -> list[float]:
        """Return round values on the axis, in ascending order."""
        return _log_ticks(self.low, self.high, most) if self.is_log else _linear_ticks(self.low, self.high, most)


def axis_over(values: Sequence[float], start: float, end: float) -> Axis:
    """Return the axis for values that are not negative: from zero, or logarithmic where they span much."""
    positive = [min(value, _EVERYTHING) for value in values if value > _NOTHING] or [1.0]
    high = max(positive)
    low = max(min(positive), high * _LEAST_SHARE)
    if high / low > _LOG_FROM:
        return Axis(low / _LOG_ROOM, high * _LOG_ROOM, start, end, is_log=True)
    return Axis(0.0, high * _LINEAR_ROOM, start, end, is_log=False)


def _linear_ticks(low: float, high: float, most: int) -> list[float]:
    step = 10 ** math.floor(math.log10((high - low) / most))
    for factor in (1, 2, 5, 10):
        if (high - low) / (step * factor) <= most:
            step *= factor
            break
    first = math.ceil(low / step - 1e-9)
    return [index * step for index in range(first, math.floor(high / step + 1e-9) + 1)]


def _log_ticks(low: float, high: float, most: int) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 5), (1, 3), (1,)):
        ticks = [factor * 10.0**decade for decade in decades for factor in factors]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) <= most:
            return ticks
    step = math.ceil(len(ticks) / most)
    return ticks[::step]


def _value(value: object) -> str:
    if isinstance(value, float):
        return f"{round(value, 1):g}"
    return escape(str(value))
