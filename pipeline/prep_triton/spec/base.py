"""What every request shares: strictness, names, and a sentence for each thing that is wrong."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from prep_triton.quoting import show_value
from prep_triton.spec.faults import Problem, error_from_problems, find_problems
from prep_triton.spec.yaml_text import YamlDocument

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# Of a file's name, which is what a file system allows.
_LONGEST_PART = 255


class Spec(BaseModel):
    """Base of every request: frozen, strict about unknown keys, and its numbers are finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def refuse_strange_text(cls, values: Any) -> Any:
        """Refuse strings that nobody meant to write: no file can have such a name."""
        if isinstance(values, Mapping):
            refuse_all(fault for key, value in values.items() if (fault := _find_strange_text(key, value)))
        return values


def describe_rule(message: str, hint: str, *, loc: tuple[str, ...] = (), value: Any = None) -> InitErrorDetails:
    """Return one thing that a validator refuses, with its hint; see `refuse_all`."""
    error = PydanticCustomError("text", "{message}", {"message": message, "hint": hint})
    return InitErrorDetails(type=error, loc=loc, input=value)


def refuse_all(faults: Iterable[InitErrorDetails]) -> None:
    """Refuse all of several things at once, where there are any; called within a validator.

    Raises:
        ValidationError: There is one; pydantic takes its errors over.
    """
    if listed := list(faults):
        raise ValidationError.from_exception_data("a request", listed)


def _find_strange_text(key: Any, value: Any) -> InitErrorDetails | None:
    """Return what is wrong with a string, or one of a list."""
    for text in value if isinstance(value, list | tuple) else (value,):
        if not isinstance(text, str):
            continue
        if control := _CONTROL.search(text):
            message, hint = f"{key} {show_value(text)} has the character {control[0]!r} in it", "remove it"
        elif max(len(part.encode("utf-8", "surrogatepass")) for part in text.split("/")) > _LONGEST_PART:
            message, hint = f"{key} {show_value(text)} is too long", f"at most {_LONGEST_PART} bytes between slashes"
        else:
            continue
        return describe_rule(message, hint, loc=(key,), value=value)
    return None


def parse_sizes(text: str) -> tuple[int, ...]:
    """Parse sizes such as ``32,64,128``.

    Raises:
        ValueError: The text is not a list of whole numbers.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise ValueError(f"'{text}' is not a list of sizes such as 32,64,128")
    return tuple(int(part) for part in parts)


def _parse_sizes(value: Any) -> Any:
    return parse_sizes(value) if isinstance(value, str) else value


Sizes = Annotated[tuple[int, ...], BeforeValidator(_parse_sizes, json_schema_input_type=tuple[int, ...] | str)]


def _lower(value: Any) -> Any:
    return value.strip().lower() if isinstance(value, str) else value


GpuName = Annotated[str, BeforeValidator(_lower), Field(min_length=1)]


S = TypeVar("S", bound=Spec)


def build_spec(
    spec_type: type[S],
    values: Mapping[str, Any],
    *,
    where: str,
    document: YamlDocument | None = None,
    problems: Sequence[Problem] = (),
) -> S:
    """Build a spec from raw values.

    Args:
        spec_type: The spec to build.
        values: Raw values, keyed by field name.
        where: What the user wrote it in ("configs/nightly.yaml", "the command line"), for the message.
        document: The file that the values are of, whose lines are named.
        problems: Faults of the values that were found before.

    Raises:
        SpecError: The values are not a valid request; it has every fault.
    """
    spec, found = find_problems(spec_type, values, problems)
    if not isinstance(spec, spec_type):
        raise error_from_problems(found, where=where, document=document)
    return spec


def with_flags(spec: S, values: Mapping[str, Any]) -> S:
    """Return a spec in which flags win over the file.

    Raises:
        SpecError: A flag's value is not valid.
    """
    kept = {key: getattr(spec, key) for key in spec.model_fields_set}
    return build_spec(type(spec), {**kept, **values}, where="the command line")
