"""Every fault of a request at once: where each is, and what to do about it."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from prep_triton.errors import Fault, SpecError
from prep_triton.spec.known_keys import suggest_key, suggest_mapping
from prep_triton.spec.wording import AGAIN, RULES, describe_error, is_unknown_key
from prep_triton.spec.yaml_text import YamlDocument

# Keys and indices that lead to a value: ("models", 0, "variants").
Path = tuple[str | int, ...]

# The rules among several keys are looked at only where each key alone is right, so what is wrong is taken out and
# the rest looked at again: as often as rules are nested.
_MOST_PASSES = 5
# Of a message: more faults than that are one fault, made often.
_MOST_SHOWN = 30


@dataclass(frozen=True)
class Problem:
    """One fault of a request: where, what, and what to do.

    `at_key` is true where the key itself is wrong, and `meant` is then the one that was meant, if there is one near;
    `is_rule` is true where a key is missing, or several do not go together.
    """

    path: Path
    message: str
    hint: str
    at_key: bool = False
    is_rule: bool = False
    meant: Path | None = None


def find_problems(
    model: type[BaseModel], values: Mapping[str, Any], known: Sequence[Problem] = ()
) -> tuple[BaseModel | None, list[Problem]]:
    """Validate values, and find every fault and not the first alone.

    Args:
        model: What the values are to be.
        values: Raw values, keyed by field name.
        known: Faults that were found already; nothing more is said of the values there.

    Returns:
        The model, or None; and its faults, with those that were known.
    """
    problems = list(known)
    said = {problem.path for problem in known}
    left_out: set[Path] = set()
    meant: set[Path] = set()
    for _ in range(_MOST_PASSES):
        try:
            built = model.model_validate(_leave_out(values, left_out))
        except ValidationError as err:
            found = _problems_from_error(err, model, values)
            meant |= {problem.meant for problem in found if problem.meant}
            new = [
                problem
                for problem in found
                if problem not in problems
                and (problem.at_key or problem.path not in said)
                and not _follows(problem, left_out | meant)
            ]
            problems += new
            left_out |= {path for problem in new if (path := _find_key_to_leave_out(problem, values))}
            if not new:
                break
        else:
            return (None if problems else built), problems
    return None, problems


def _follows(problem: Problem, absent: Iterable[Path]) -> bool:
    """Whether a rule is broken, or a key missing, only because something was left out or written under another name."""
    if not problem.is_rule:
        return False
    names = {str(path[-1]) for path in absent if path[:-1] == problem.path}
    words = set(re.findall(r"\w+", f"{problem.message} {problem.hint}"))
    return bool(names & words)


def error_from_problems(problems: Sequence[Problem], *, where: str, document: YamlDocument | None = None) -> SpecError:
    """Return one error for all faults: a sentence where there is one, else a line for each.

    Args:
        problems: One or more.
        where: What the user wrote it in, for the message.
        document: The file, whose lines are named.
    """
    if document:
        problems = sorted(problems, key=lambda problem: document.position_of(problem.path, at_key=problem.at_key))
    faults = [Fault(_place_of(problem, where, document), problem.message, problem.hint) for problem in problems]
    return error_from_faults(faults, where=where)


def _place_of(problem: Problem, where: str, document: YamlDocument | None) -> str:
    path = problem.path[:-1] if problem.at_key else problem.path  # the message names the key
    if document is None:
        return f"{where}, {show_path(path)}" if path else where
    place = document.place_of(problem.path, at_key=problem.at_key)
    return f"{place}: {show_path(path)}" if path else place


def error_from_faults(faults: Sequence[Fault], *, where: str) -> SpecError:
    """Return one error for one or more faults whose places are known."""
    first = faults[0]
    if len(faults) == 1:
        return SpecError(f"{first.place}: {first.message}", hint=first.hint, place=first.place, faults=faults)
    lines = [_render_fault(fault) for fault in faults[:_MOST_SHOWN]]
    if len(faults) > _MOST_SHOWN:
        lines.append(f"  and {len(faults) - _MOST_SHOWN} more")
    message = "\n".join([f"{where} has {len(faults)} faults", *lines])
    return SpecError(message, hint="correct each; prep schema describes every key", place=first.place, faults=faults)


def _render_fault(fault: Fault) -> str:
    hint = "" if fault.hint == AGAIN else f"; {fault.hint}"
    return f"  {fault.place}: {fault.message}{hint}"


def show_path(path: Path) -> str:
    """Render a path as a message names it: ``models[0].variants[1].gpus``."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")


def _problems_from_error(err: ValidationError, model: type[BaseModel], values: Mapping[str, Any]) -> list[Problem]:
    """Turn pydantic's errors into problems."""
    errors = err.errors(include_url=False)
    places = [_path_of(error["loc"], values) for error in errors]
    problems = []
    for error, path in zip(errors, places, strict=True):
        kind, (message, hint) = error["type"], describe_error(error)
        if is_unknown_key(error):
            nearest, hint = suggest_key(model, path)
            meant = (*path[:-1], nearest) if nearest else None
            problems.append(Problem(path, message, hint, at_key=True, meant=meant))
        elif kind == "missing":
            problems.append(Problem(path[: len(error["loc"]) - 1], message, hint, is_rule=True))
        # A list whose items are wrong is reported as too short as well.
        elif kind != "too_short" or not any(is_within(other, path) for other in places):
            value = _value_at(path, values)
            if kind in ("model_type", "tuple_type") and isinstance(value, str | int | float):
                mapping = suggest_mapping(model, path, value)
                hint = _hint_to_write(mapping, is_list=kind == "tuple_type") if mapping else hint
            is_rule = kind in RULES and isinstance(value, Mapping)
            problems.append(Problem(path, message, hint, is_rule=is_rule))
    return problems


def _hint_to_write(mapping: str, *, is_list: bool) -> str:
    return f"write [{mapping}]" if is_list else f"write {mapping}"


def is_within(path: Path, outer: Path) -> bool:
    """Return whether a path leads to something within another."""
    return len(path) > len(outer) and path[: len(outer)] == outer


def _path_of(loc: Sequence[str | int], values: Any) -> Path:
    """Return the part of pydantic's location that is there: it also names branches of unions, and missing keys."""
    path: list[str | int] = []
    for part in loc:
        value = _child(values, part)
        if value is _ABSENT:
            break
        key = _key_of(values, part) if isinstance(values, Mapping) else part
        values = value
        path.append(key)
    return tuple(path)


_ABSENT = object()


def _child(value: Any, part: str | int) -> Any:
    if isinstance(value, Mapping):
        return value.get(_key_of(value, part), _ABSENT)
    if isinstance(value, list | tuple) and isinstance(part, int) and part < len(value):
        return value[part]
    return _ABSENT


def _key_of(values: Mapping[Any, Any], part: str | int) -> Any:
    """Return the key that pydantic calls by a text: a number, true or null of YAML may be one."""
    return part if part in values else next((key for key in values if str(key) == str(part)), part)


def _find_key_to_leave_out(problem: Problem, values: Mapping[str, Any]) -> Path | None:
    """Return the key without which a fault is gone.

    It is never an item of a list, whose neighbours would change places, nor a list of mappings, each of which has
    faults of its own.
    """
    path = problem.path
    while path:
        container = _value_at(path[:-1], values)
        if isinstance(container, Mapping):
            return path
        if any(isinstance(item, Mapping) for item in container):
            return None
        path = path[:-1]
    return None


def _value_at(path: Path, values: Any) -> Any:
    for part in path:
        values = _child(values, part)
    return values


def _leave_out(value: Any, paths: Iterable[Path]) -> Any:
    """Return a copy of plain values without those at some paths."""
    here = {path[0] for path in paths if len(path) == 1}
    below: dict[str | int, set[Path]] = {}
    for path in paths:
        if len(path) > 1:
            below.setdefault(path[0], set()).add(path[1:])
    if not here and not below:
        return value

    def copy(key: str | int, item: Any) -> Any:
        return _leave_out(item, below[key]) if key in below else item

    if isinstance(value, Mapping):
        return {key: copy(key, item) for key, item in value.items() if key not in here}
    if isinstance(value, list | tuple):
        return [copy(index, item) for index, item in enumerate(value)]
    return value
