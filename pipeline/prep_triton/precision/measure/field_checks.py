"""The values of one labelled row, and what is said of those that are something else. `where` names the line."""

import math
from typing import Any

from prep_triton.errors import SpecError


def kind(value: Any) -> str:
    """Name a JSON value in JSON's words."""
    if value is None:
        return "null"
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a text", list: "a list", dict: "an object"}
    return names[type(value)]


def check_text(value: Any, name: str, where: str) -> str:
    """Return a text.

    Raises:
        SpecError: It is none, or cannot be encoded.
    """
    if not isinstance(value, str):
        raise SpecError(
            f"{where}: '{name}' is {kind(value)}, expected a text",
            hint="write a text, or remove the line" if value is None else "put the value in quotes",
        )
    try:
        value.encode()
    except UnicodeEncodeError as err:  # JSON can spell half of a surrogate pair, and no tokenizer takes it
        raise SpecError(
            f"{where}: '{name}' holds the lone surrogate {value[err.start]!r}",
            hint="write the character itself instead of its escapes",
        ) from err
    return value


def check_list(value: Any, name: str, where: str) -> list[Any]:
    """Return a list.

    Raises:
        SpecError: It is none.
    """
    if not isinstance(value, list):
        raise SpecError(f"{where}: '{name}' is {kind(value)}, expected a list", hint="write it as [..., ...]")
    return value


def check_number(value: Any, name: str, where: str) -> float:
    """Return a number.

    Raises:
        SpecError: It is none, or not finite.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        hint = "write it without quotes" if isinstance(value, str) else "write a number such as 4.2"
        raise SpecError(f"{where}: '{name}' is {kind(value)}, expected a number", hint=hint)
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):  # json reads NaN, Infinity and 1e999
        raise SpecError(f"{where}: '{name}' is {number}, expected a finite number", hint="write a number such as 4.2")
    return number
