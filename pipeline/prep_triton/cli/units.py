"""Amounts, rendered for a person."""

from datetime import timedelta


def format_size(size: float) -> str:
    """Render bytes for a person: ``86.7 MiB``."""
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.2f} GiB"


def format_age(age: timedelta) -> str:
    """Render how long ago something was, for a person: ``40 s``, ``3 h``, ``12 d``."""
    seconds = max(age.total_seconds(), 0.0)
    for unit, length, most in (("s", 1, 120), ("min", 60, 120), ("h", 3600, 48)):
        if seconds / length < most:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds / 86400:.0f} d"


def format_seconds(seconds: float) -> str:
    """Render a duration for a person: ``0.4 s``, ``2 min 05 s``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"
