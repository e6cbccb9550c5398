"""What pydantic found wrong, in the words of who wrote the YAML: "a list, such as [t4]"."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from prep_triton.errors import find_nearest
from prep_triton.quoting import shorten
from prep_triton.quoting import show_value as show_python_value
from prep_triton.tasks import OTHER_TASK_NAMES

# A name becomes a Triton model directory, a GCS object prefix and a Kubernetes label.
NAME_PATTERN = r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$"
TRITON_PATTERN = r"^[0-9]{2}\.[0-9]{2}(-trtllm)?$"
DRIVER_PATTERN = r"^[0-9]{3}(\.[0-9]+){0,2}$"
# What each pattern is of, and how to write one.
_PATTERNS = {
    NAME_PATTERN: (
        "a name",
        "at most 63 letters, digits, '.', '_' and '-', beginning and ending with a letter or digit",
    ),
    TRITON_PATTERN: ("a Triton release such as 25.08", "the tag of NVIDIA's container: two digits, a dot, two digits"),
    DRIVER_PATTERN: ("the version of an NVIDIA driver such as 580.95.05", "what nvidia-smi shows: numbers and dots"),
}
# What other tools call a value.
_OTHER_VALUES = {
    **OTHER_TASK_NAMES,
    "onnx": "onnxruntime",
    "trt": "tensorrt",
    "float32": "fp32",
    "float16": "fp16",
    "half": "fp16",
    "i8": "int8",
}
# Kinds of errors of our own: of a rule among several keys where they are a mapping's.
RULES = frozenset({"value_error", "text"})
AGAIN = "correct the value and run again"
# By the first word of pydantic's kind of error: int_parsing, int_type, ...
_TYPES = {
    "int": ("a whole number", "write a whole number, such as 8"),
    "float": ("a number", "write a number, such as 0.5"),
    "finite": ("a number", "write a number, such as 0.5"),
    "bool": ("true or false", "write true or false, without quotes"),
    "model": ("a mapping of keys", "write its keys below it, each on a line of its own"),
    "dict": ("a mapping of keys", "write its keys below it, each on a line of its own"),
    "mapping": ("a mapping of keys", "write its keys below it, each on a line of its own"),
}
_BOUNDS = {
    "greater_than": ("more than {}", "gt"),
    "greater_than_equal": ("{} or more", "ge"),
    "less_than": ("less than {}", "lt"),
    "less_than_equal": ("at most {}", "le"),
}


def is_unknown_key(error: Mapping[str, Any]) -> bool:
    """Return whether an error of pydantic's is about a key that nothing has."""
    kind: str = error["type"]
    return kind == "extra_forbidden" or (kind == "invalid_key" and error["loc"][-1] != "[key]")


def describe_error(error: Mapping[str, Any]) -> tuple[str, str]:
    """Return what an error of pydantic's says, and a hint."""
    kind = error["type"]
    if is_unknown_key(error):
        return f"unknown key '{shorten(str(error['loc'][-1]))}'", AGAIN
    if kind in _BOUNDS:
        words, name = _BOUNDS[kind]
        return f"{show_value(error['input'])} is out of range", f"expected {words.format(error['ctx'][name])}"
    describe = _DESCRIBERS.get(kind) or _DESCRIBERS.get(kind.partition("_")[0])
    if describe:
        return describe(error)
    if expected := _TYPES.get(kind.partition("_")[0]):
        return f"{_name_value(error['input'])} is not {expected[0]}", expected[1]
    return f"{error['msg'].lower()} (got {show_value(error['input'])})", AGAIN


def show_value(value: Any) -> str:
    """Return a value as YAML writes it, where Python writes it otherwise."""
    return str(value).lower() if isinstance(value, bool) else show_python_value(value)


def _describe_choice(error: Mapping[str, Any]) -> tuple[str, str]:
    words = re.findall(r"'([^']*)'|([^\s,']+)", error["ctx"]["expected"].replace(" or ", ", "))
    known = [quoted or plain for quoted, plain in words]
    nearest = find_nearest(error["input"], known) if isinstance(error["input"], str) else []
    other = _OTHER_VALUES.get(str(error["input"]).lower(), "")
    nearest = [other] if other in known else nearest
    meant = f"did you mean {nearest[0]}? " if nearest else ""
    return f"{_name_value(error['input'])} is not a known value", f"{meant}expected one of {', '.join(known)}"


def _describe_list(error: Mapping[str, Any]) -> tuple[str, str]:
    value = error["input"]
    if isinstance(value, Mapping):
        return "a mapping of keys is not a list", "begin each item with a dash: '- '"
    if value is None:
        return "it is empty, and not a list", "write a list, each item after a dash: '- '"
    return f"{show_value(value)} is not a list", f"write a list, such as [{shorten(str(value), 40)}]"


def _describe_text(error: Mapping[str, Any]) -> tuple[str, str]:
    value = error["input"]
    if isinstance(value, bool | int | float):
        kind = "true or false" if isinstance(value, bool) else "a number"
        return f"{show_value(value)} is not text", f"put it in quotes: without them YAML reads it as {kind}"
    return f"{_name_value(value)} is not text", "write one text"


def _describe_missing(error: Mapping[str, Any]) -> tuple[str, str]:
    name = error["loc"][-1]
    if isinstance(name, int):
        return "it has too few values", f"add value {name + 1}"
    return "a required key is missing", f"add '{name}'"


def _describe_pattern(error: Mapping[str, Any]) -> tuple[str, str]:
    pattern = error["ctx"]["pattern"]
    meaning, hint = _PATTERNS.get(pattern, (f"of the form {pattern}", AGAIN))
    return f"{show_value(error['input'])} is not {meaning}", hint


def _describe_count(error: Mapping[str, Any]) -> tuple[str, str]:
    if isinstance(error["input"], str):
        return "it is empty", "write a text, or leave the key out"
    return "at least one is needed", "add one: each item begins with a dash, '- '"


def _name_value(value: Any) -> str:
    if value is None:
        return "an empty value"
    if isinstance(value, Mapping):
        return "a mapping of keys"
    return f"the list {show_value(value)}" if isinstance(value, list | tuple) else show_value(value)


def _from_context(error: Mapping[str, Any]) -> tuple[str, str]:
    return str(error["ctx"]["message"]), str(error["ctx"]["hint"])


_DESCRIBERS: Mapping[str, Callable[[Mapping[str, Any]], tuple[str, str]]] = {
    "text": _from_context,
    "literal": _describe_choice,
    "enum": _describe_choice,
    "value": lambda error: (str(error["ctx"]["error"]), AGAIN),
    "missing": _describe_missing,
    "string_pattern_mismatch": _describe_pattern,
    "string": _describe_text,
    "string_too_short": _describe_count,
    "too_short": _describe_count,
    "tuple": _describe_list,
    "list": _describe_list,
}
