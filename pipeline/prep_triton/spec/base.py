"""What every request shares: strictness, names, and one sentence for what is wrong."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from prep_triton.errors import SpecError, suggest
from prep_triton.quoting import shorten, show_value

# A name becomes a Triton model directory, a GCS object prefix and a Kubernetes label.
NAME_PATTERN = r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$"
TRITON_PATTERN = r"^[0-9]{2}\.[0-9]{2}$"
# What each pattern is of, and how to write one.
_PATTERNS = {
    NAME_PATTERN: (
        "a name",
        "at most 63 letters, digits, '.', '_' and '-', beginning and ending with a letter or digit",
    ),
    TRITON_PATTERN: ("a Triton release such as 25.08", "the tag of NVIDIA's container: two digits, a dot, two digits"),
}

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# Of a file's name, which is what a file system allows.
_LONGEST_PART = 255


class Spec(BaseModel):
    """Base of every request: frozen, strict about unknown keys, and its numbers are finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def refuse_unknown_keys(cls, values: Any) -> Any:
        """Name the nearest known key, which pydantic's own message does not."""
        if not isinstance(values, Mapping):
            return values
        for key in values:
            if key not in cls.model_fields:
                known = sorted(cls.model_fields)
                hint = suggest(str(key), known, otherwise=f"known keys: {', '.join(known)}")
                raise PydanticCustomError("unknown_key", "unknown key '{key}'", {"key": str(key), "hint": hint})
            _check_text(key, values[key])
        return values


def _check_text(key: str, value: Any) -> None:
    """Refuse a string, or one of a list, that is nothing that anybody meant to write: no file can have such a name."""
    for text in value if isinstance(value, list | tuple) else (value,):
        if not isinstance(text, str):
            continue
        if control := _CONTROL.search(text):
            message, hint = f"{key} {show_value(text)} has the character {control[0]!r} in it", "remove it"
        elif max(len(part.encode("utf-8", "surrogatepass")) for part in text.split("/")) > _LONGEST_PART:
            message, hint = f"{key} {show_value(text)} is too long", f"at most {_LONGEST_PART} bytes between slashes"
        else:
            continue
        raise PydanticCustomError("text", "{message}", {"message": message, "hint": hint})


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


Sizes = Annotated[tuple[int, ...], BeforeValidator(_parse_sizes)]


def _lower(value: Any) -> Any:
    return value.strip().lower() if isinstance(value, str) else value


GpuName = Annotated[str, BeforeValidator(_lower), Field(min_length=1)]


S = TypeVar("S", bound=Spec)


def build_spec(spec_type: type[S], values: Mapping[str, Any], *, where: str) -> S:
    """Build a spec from raw values.

    Args:
        spec_type: The spec to build.
        values: Raw values, keyed by field name.
        where: What the user wrote it in ("configs/nightly.yaml", "the command line"), for the message.

    Raises:
        SpecError: The values are not a valid request.
    """
    try:
        return spec_type.model_validate(values)
    except ValidationError as err:
        raise spec_error_from_validation(err, where=where) from err


def with_flags(spec: S, values: Mapping[str, Any]) -> S:
    """Return a spec in which flags win over the file.

    Raises:
        SpecError: A flag's value is not valid.
    """
    kept = {key: getattr(spec, key) for key in spec.model_fields_set}
    return build_spec(type(spec), {**kept, **values}, where="the command line")


def spec_error_from_validation(err: ValidationError, *, where: str) -> SpecError:
    """Turn pydantic's first problem into one sentence and a hint."""
    problems = err.errors(include_url=False)
    first = problems[0]
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).lstrip(".")
    kind, context = first["type"], first.get("ctx", {})
    value = show_value(first["input"])
    if kind == "unknown_key":
        message, hint = f"unknown key '{shorten(context['key'])}'", str(context["hint"])
    elif kind == "text":
        message, hint = str(context["message"]), str(context["hint"])
    elif kind == "literal_error":
        message, hint = f"{value} is not a known value", f"expected one of {context['expected']}"
    elif kind == "value_error":
        message, hint = str(context["error"]), "correct the value and run again"
    elif kind == "missing":
        message, hint = "a required key is missing", f"add '{first['loc'][-1]}'"
    elif kind == "string_pattern_mismatch":
        pattern = context["pattern"]
        meaning, hint = _PATTERNS.get(pattern, (f"of the form {pattern}", "correct the value and run again"))
        message = f"{value} is not {meaning}"
    elif kind == "too_short":
        message, hint = "at least one is needed", "see configs/ for examples"
    else:
        message, hint = f"{first['msg'].lower()} (got {value})", "correct the value and run again"
    # A tuple whose items are wrong is reported as too short as well.
    others = sum(other["type"] != "too_short" for other in problems[1:])
    more = f" (and {others} more)" if others else ""
    spot = f"{where}, {place}" if place else where
    return SpecError(f"{spot}: {message}{more}", hint=hint, place=spot)
