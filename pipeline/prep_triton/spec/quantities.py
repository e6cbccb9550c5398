"""Sizes and ages as a user writes them: ``20GiB``, ``14d``."""

import re
from datetime import timedelta

from prep_triton.errors import SpecError

_BYTES: dict[str, int] = {
    "b": 1,
    **{f"{prefix}ib": 1 << 10 * power for power, prefix in enumerate("kmgt", start=1)},
    **{f"{prefix}b": 1000**power for power, prefix in enumerate("kmgt", start=1)},
}
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_QUANTITY = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)\s*([A-Za-z]+)", re.ASCII)


def parse_size(text: str, *, flag: str) -> int:
    """Return the bytes of ``20GiB``, ``1.5TiB`` or ``500MB``.

    Raises:
        SpecError: It is none; `flag` names what said it.
    """
    match = _QUANTITY.fullmatch(text.strip())
    if match is None or match[2].lower() not in _BYTES:
        raise SpecError(f"{flag} is '{text}', expected a size with its unit", hint=f"{flag} 20GiB, or 500MB")
    return round(float(match[1]) * _BYTES[match[2].lower()])


def parse_age(text: str, *, flag: str) -> timedelta:
    """Return the time of ``14d``, ``36h`` or ``2w``.

    Raises:
        SpecError: It is none; `flag` names what said it.
    """
    match = _QUANTITY.fullmatch(text.strip())
    if match is None or match[2] not in _SECONDS:
        raise SpecError(f"{flag} is '{text}', expected a time with its unit", hint=f"{flag} 14d, or 36h, or 2w")
    seconds = float(match[1]) * _SECONDS[match[2]]
    if seconds > timedelta.max.total_seconds() / 4:
        raise SpecError(f"{flag} is '{text}', which is longer than any age", hint=f"{flag} 14d, or 36h, or 2w")
    return timedelta(seconds=seconds)
