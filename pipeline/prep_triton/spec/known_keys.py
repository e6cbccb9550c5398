"""Where a key that is unknown here belongs: one level up or down, or under a name like it."""

import difflib
import json
from collections.abc import Iterator
from typing import Any, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError

from prep_triton.errors import find_nearest, suggest

Path = tuple[str | int, ...]
# What other tools, and our own flags, call a key.
_OTHER_NAMES = {
    **dict.fromkeys(("path", "source", "checkpoint", "model_id", "folder"), "model"),
    **dict.fromkeys(("backend", "platform"), "runtime"),
    **dict.fromkeys(("instances", "replicas"), "instance_count"),
    **dict.fromkeys(("batching", "queue"), "dynamic_batching"),
    **dict.fromkeys(("batch_size", "max_batch"), "max_batch_size"),
    **dict.fromkeys(("delay_us", "max_delay_us", "max_queue_delay_microseconds"), "max_queue_delay_us"),
    **dict.fromkeys(("bucket", "release", "store"), "publish"),
    "dtype": "precision",
    "head": "task",
    "calibration_data": "calibration",
    "server": "server_url",
    "port": "grpc_port",
}
# Of difflib's ratio: a key elsewhere has to be nearly the one that was written.
_NEAR_ELSEWHERE = 0.8


def suggest_key(root: type[BaseModel], path: Path) -> tuple[str, str]:
    """Return the key that was meant, or an empty text, and a hint.

    Args:
        root: What the whole of the values is to be.
        path: The unknown key, with what leads to it.
    """
    *parents, last = path
    key, place = str(last), tuple(parents)
    levels = list(_list_levels(root, place))
    own = sorted(levels[-1][1].model_fields) if levels else []
    other_name = _OTHER_NAMES.get(key, "")
    if other_name in own:
        return other_name, f"did you mean '{other_name}'?"
    if homes := _find_homes(levels, key):
        return "", f"'{key}' belongs to {' or '.join(homes)}"
    nearest = find_nearest(key, own)
    elsewhere = {name for _, model in levels for name in _list_names(model)} - set(own)
    other = difflib.get_close_matches(key, sorted(elsewhere), 1, _NEAR_ELSEWHERE)
    if other_name in elsewhere:
        other, nearest = [other_name], []
    if other and (not nearest or _likeness(key, other[0]) > _likeness(key, nearest[0])):
        homes = _find_homes(levels, other[0])
        return "", f"did you mean '{other[0]}'? It belongs to {' or '.join(homes)}"
    return (nearest[0] if nearest else ""), suggest(key, own, otherwise=f"known keys: {', '.join(own)}")


def suggest_mapping(root: type[BaseModel], path: Path, value: Any) -> str | None:
    """Return the mapping that a single value may have been meant for: ``{triton: "25.08"}``; None where there is none.

    Args:
        root: What the whole of the values is to be.
        path: The value that is there instead of a mapping.
        value: It.
    """
    place, model = list(_list_levels(root, path))[-1]
    if place != path:
        return None
    fields = sorted(model.model_fields.items(), key=lambda item: not item[1].is_required())
    name, field = fields[0]
    for candidate in (value, str(value)):
        try:
            TypeAdapter[Any](field.annotation or Any).validate_python(candidate, strict=True)
        except ValidationError:
            continue
        return f"{{{name}: {json.dumps(candidate) if candidate is not value else _plain(value)}}}"
    return None


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _last_name(home: tuple[str, ...]) -> str:
    return home[-1].strip(".[]")


def _likeness(word: str, other: str) -> float:
    return difflib.SequenceMatcher(None, word.lower(), other.lower()).ratio()


def _list_levels(root: type[BaseModel], place: Path) -> Iterator[tuple[Path, type[BaseModel]]]:
    """Yield each mapping on the way to a place, with the place of it: first the whole, last the innermost."""
    yield (), root
    model: type[BaseModel] | None = root
    for number, part in enumerate(place, 1):
        if isinstance(part, int) or model is None:
            continue
        field = model.model_fields.get(part)
        model = _model_of(field.annotation)[0] if field else None
        if model is not None:
            end = number + 1 if place[number : number + 1] and isinstance(place[number], int) else number
            yield place[:end], model


def _find_homes(levels: list[tuple[Path, type[BaseModel]]], key: str) -> list[str]:
    """Return the nearest places, two at most, in which a key is known."""
    for place, model in reversed(levels):
        if place != levels[-1][0] and key in model.model_fields:
            return [_show(place) or "the top of the file"]
        below = [(depth, path) for depth, path in _list_below(model) if path[-1] == key]
        nearest = min((depth for depth, _ in below), default=0)
        if below:
            homes = [path[:-1] for depth, path in below if depth == nearest]
            return [f"'{_last_name(home)}': {(_show(place) + ''.join(home)).lstrip('.')}.{key}" for home in homes[:2]]
    return []


def _list_below(model: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Yield the keys of the mappings within a mapping: how deep, and the path to each."""
    for name, field in model.model_fields.items():
        inner, is_many = _model_of(field.annotation)
        if inner is not None:
            here = (*path, f".{name}{'[]' if is_many else ''}")
            yield from ((len(here), (*here, key)) for key in inner.model_fields)
            yield from _list_below(inner, here)


def _list_names(model: type[BaseModel]) -> set[str]:
    return {*model.model_fields, *(path[-1] for _, path in _list_below(model))}


def _model_of(annotation: Any, *, is_many: bool = False) -> tuple[type[BaseModel] | None, bool]:
    """Return the mapping that an annotation stands for, and whether it is one of several."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, is_many
    is_many = is_many or get_origin(annotation) in (tuple, list, dict)
    for argument in get_args(annotation):
        inner = _model_of(argument, is_many=is_many)
        if inner[0] is not None:
            return inner
    return None, False


def _show(place: Path) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).lstrip(".")
