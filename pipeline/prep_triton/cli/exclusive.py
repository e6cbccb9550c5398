"""Options that exclude each other: refused in a sentence, and never dropped without a word."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from prep_triton.cli.groups import flag_of, given_options


def list_given(*groups: Any) -> Iterator[str]:
    """Yield the flags of the options that differ from their defaults, also of the groups within."""
    for group in groups:
        for key, value in given_options(group).items():
            flag = flag_of(group, key).partition("/")[0]
            yield f"--no-{flag.removeprefix('--')}" if value is False else flag
        yield from list_given(*(value for field in fields(group) if is_dataclass(value := getattr(group, field.name))))


def check_alone(flag: str, others: Iterable[str] | Mapping[str, bool], *, reason: str = "") -> None:
    """Refuse a flag beside others.

    Args:
        flag: The flag, which was given.
        others: The flags that were given beside it; or those that may not be, with whether each was.
        reason: Why, where the flags alone do not say it; it ends the sentence.

    Raises:
        SpecError: There is another.
    """
    from prep_triton.errors import SpecError

    given = [other for other, is_given in others.items() if is_given] if isinstance(others, Mapping) else list(others)
    if given:
        ending = f": {reason}" if reason else ""
        raise SpecError(f"{flag} and {given[0]} exclude each other{ending}", hint="remove one of them")
