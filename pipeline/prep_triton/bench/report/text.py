"""Text of a report: what users named is cleaned before it stands anywhere, and figures are rendered one way."""

import html
import math
import unicodedata

from prep_triton.bench.records import Figure

_MOST = 160
# What is smaller or larger is written with its power of ten.
_LEAST, _HUGE = 1e-6, 1e12
# Beside what XML cannot hold: what turns the direction of the text that follows it.
_DIRECTIONS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def clean(text: str, most: int = _MOST) -> str:
    """Return a text in one line, without what no document can hold, and not longer than `most`."""
    line = " ".join(text.split())
    kept = "".join(
        "\ufffd" if unicodedata.category(char) in ("Cc", "Cs", "Cn") or char in _DIRECTIONS else char for char in line
    )
    return kept if len(kept) <= most else kept[: most - 1] + "…"


def escape(text: str) -> str:
    """Return a text as HTML and SVG hold it, in an element or in an attribute."""
    return html.escape(text, quote=True)


def format_number(value: float) -> str:
    """Render a value to three significant digits: ``0.123``, ``4.56``, ``78.9``, ``1,234``."""
    if not value:
        return "0"
    if not _LEAST < abs(value) < _HUGE:
        return f"{value:.2e}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{min(digits, 8)}f}"


def format_share(value: float) -> str:
    """Render a share (0..1) in percent."""
    return f"{100 * value:.1f} %"


def format_interval(figure: Figure) -> str:
    """Render the interval of a figure: ``11.8–13.0``."""
    return f"{format_number(figure.low)}–{format_number(figure.high)}"


def format_dollars(value: float) -> str:
    """Render dollars to three significant digits."""
    return f"${format_number(value)}"
