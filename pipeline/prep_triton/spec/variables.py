"""``${VARIABLE}`` in the values of a YAML file: taken from the environment, or refused with the line.

``${NAME}`` is the variable's value, ``${NAME:-default}`` the default where it is unset or empty, as in a shell, and
``$${`` stands for ``${``. A value stays one value: a number or true may come of it, a list or a mapping may not. Keys
are not looked at.
"""

import re
from collections.abc import Mapping
from typing import Any

from prep_triton.quoting import shorten
from prep_triton.spec.faults import Path, Problem

# $${ first, so that its second dollar begins nothing.
_REFERENCE = re.compile(r"\$\$\{|\$\{(?P<inside>[^}]*)(?P<end>\}?)")
_INSIDE = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<has_default>:-(?P<default>.*))?", re.DOTALL)


def expand_variables(value: Any, environment: Mapping[str, str]) -> tuple[Any, list[Problem]]:
    """Return a value of YAML with every variable expanded, and what cannot be: there the text stays as it is."""
    problems: list[Problem] = []
    return _expand(value, (), environment, problems), problems


def _expand(value: Any, path: Path, environment: Mapping[str, str], problems: list[Problem]) -> Any:
    if isinstance(value, dict):
        return {key: _expand(item, (*path, key), environment, problems) for key, item in value.items()}
    if isinstance(value, list):
        return [_expand(item, (*path, index), environment, problems) for index, item in enumerate(value)]
    if not isinstance(value, str) or "${" not in value:
        return value

    def replace(match: re.Match[str]) -> str:
        if match[0] == "$${":
            return "${"
        expanded = _look_up(match, path, environment)
        if isinstance(expanded, str):
            return expanded
        problems.append(expanded)
        return match[0]

    return _REFERENCE.sub(replace, value)


def _look_up(match: re.Match[str], path: Path, environment: Mapping[str, str]) -> str | Problem:
    reference = _INSIDE.fullmatch(match["inside"])
    if reference is None or not match["end"]:
        message = f"'{shorten(match[0])}' is not a variable, which is ${{NAME}} or ${{NAME:-default}}"
        return Problem(path, message, "write $${ where ${ itself is meant")
    name = reference["name"]
    if reference["has_default"]:
        return environment.get(name) or reference["default"]
    if name in environment:
        return environment[name]
    hint = f"export {name}=…, or give it a default: ${{{name}:-default}}"
    return Problem(path, f"the environment variable {name} is not set", hint)
