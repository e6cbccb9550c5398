"""``--set KEY=VALUE``: a key of a pipeline file for one run, held to the same rules as the file.

A key is the path to a value, with dots: ``jobs``, ``target.gpus``, ``verify.timeout_s``. A model goes by its name, or
by ``*`` for all of them, and a key of its variants is set in each: ``models.minilm.serving.max_batch_size``; in one of
them with its number from 0: ``models.minilm.variants[0].text``.
"""

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prep_triton.errors import SpecError, suggest
from prep_triton.run.names import name_of_model
from prep_triton.spec import ModelSpec, PipelineModelSpec, SettingsFile, VariantSpec
from prep_triton.spec.faults import Path, is_within
from prep_triton.spec.yaml_text import YamlDocument, parse_document


@dataclass(frozen=True)
class _OverriddenDocument(YamlDocument):
    """A file of which some values came with flags; `flags` has the flag of each, by its path."""

    flags: tuple[tuple[Path, str], ...] = ()

    def position_of(self, path: Sequence[str | int], *, at_key: bool = False) -> tuple[int, int]:
        """Return the place in the file; a flag's values come first."""
        return (0, 0) if self._flag_of(tuple(path)) else super().position_of(path, at_key=at_key)

    def place_of(self, path: Sequence[str | int], *, at_key: bool = False) -> str:
        """Return the flag, or the place in the file."""
        return self._flag_of(tuple(path)) or super().place_of(path, at_key=at_key)

    def _flag_of(self, path: Path) -> str | None:
        return next((flag for set_path, flag in self.flags if path == set_path or is_within(path, set_path)), None)


def override_settings(settings: SettingsFile, assignments: Sequence[str]) -> SettingsFile:
    """Return a file in which values are set by flags, each of the form ``KEY=VALUE``; a later one wins.

    Raises:
        SpecError: One is not of that form, or leads to no place of the file.
    """
    if not assignments:
        return settings
    settings = settings.with_serving_files()  # so that a key of such a file can be set as well
    values = copy.deepcopy(dict(settings.values))
    flags: list[tuple[Path, str]] = []
    for assignment in assignments:
        key, sign, text = assignment.partition("=")
        flag = f"--set {key}"
        if not sign or not key.strip():
            raise SpecError(f"--set '{assignment}' is not KEY=VALUE", hint="for example --set jobs=2", place="--set")
        value = _parse_value(text, flag)
        for path in _find_paths(key.strip(), values, flag):
            _set(values, path, value, flag)
            flags.insert(0, (path, flag))
    problems = tuple(
        problem
        for problem in settings.problems
        if not any(problem.path == path or is_within(problem.path, path) for path, _ in flags)
    )
    document = _OverriddenDocument(
        settings.document.value, settings.document.where, settings.document.root, tuple(flags)
    )
    return SettingsFile(values, document, problems)


def _parse_value(text: str, flag: str) -> Any:
    """Read a value as YAML; a number or true stays text, of which the key makes what it is."""
    value = parse_document(text, where=flag, hint="quote the value for the shell").value
    return text.strip() if isinstance(value, bool | int | float) else value


def _find_paths(key: str, values: Mapping[str, Any], flag: str) -> Iterator[Path]:
    """Yield the paths that a key means: several where it is of every variant, or of every model."""
    if not key.startswith("models."):
        yield _split(key)
        return
    rest = key.removeprefix("models.")
    entries = values.get("models")
    models = entries if isinstance(entries, list) else []
    for number, below in _find_models(rest, models, flag):
        for path in _find_in_variants(below, models[number]):
            yield ("models", number, *path)


def _find_models(rest: str, models: Sequence[Any], flag: str) -> list[tuple[int, Path]]:
    """Return the models that the beginning of a key names, with what follows it; a name may have dots in it."""
    names = [_name_of(entry) for entry in models]
    for name in sorted({*names, "*"}, key=len, reverse=True):
        if name and rest.startswith(f"{name}."):
            below = _split(rest.removeprefix(f"{name}."))
            if not below:
                raise _no_key(flag, name)
            return [(number, below) for number, other in enumerate(names) if name in (other, "*")]
    name = rest.partition(".")[0]
    known = sorted(filter(None, names))
    if name in known:
        raise _no_key(flag, name)
    otherwise = f"its models are {', '.join(known)}" if known else "the file has no models"
    raise SpecError(
        f"{flag}: the file has no model '{name}'", hint=suggest(name, known, otherwise=otherwise), place=flag
    )


def _no_key(flag: str, name: str) -> SpecError:
    return SpecError(f"{flag} names a model, and no key of it", hint=f"for example --set models.{name}.weights=random")


def _name_of(entry: Any) -> str:
    """Return the name of a model of a file that nobody has validated yet; empty where it has none."""
    values = entry if isinstance(entry, Mapping) else {}
    name, model = values.get("name"), values.get("model")
    if isinstance(name, str):
        return name
    return name_of_model(ModelSpec.model_construct(model=model, name=None)) if isinstance(model, str) else ""


def _find_in_variants(path: Path, model: Any) -> Iterator[Path]:
    """Yield the path itself, or one for each variant where its first key is one of theirs."""
    first = path[0]
    if first in PipelineModelSpec.model_fields and first != "variants":
        yield path
        return
    below = path[1:] if first == "variants" else path
    is_of_each = first in VariantSpec.model_fields or (first == "variants" and below and isinstance(below[0], str))
    variants = model.get("variants") if isinstance(model, Mapping) else None
    if is_of_each and isinstance(variants, list):
        yield from (("variants", index, *below) for index in range(len(variants)))
    else:
        yield path


def _split(key: str) -> Path:
    """Split ``variants[0].text`` at its dots and brackets."""
    parts = re.findall(r"[^.\[\]]+", key)
    return tuple(int(part) if part.isdecimal() else part for part in parts)


def _set(values: Any, path: Path, value: Any, flag: str) -> None:
    """Set a value in place; mappings on the way to it are made where there are none, or where a word stands for one."""
    *parents, last = path or ("",)
    place = values
    for part in parents:
        place = _step(place, part, flag)
    if isinstance(place, list) and isinstance(last, int) and last < len(place):
        place[last] = value
    elif isinstance(place, dict):
        place[last if last in place else str(last)] = value
    else:
        raise _no_place(flag, last)


def _step(place: Any, part: str | int, flag: str) -> Any:
    if isinstance(place, list) and isinstance(part, int) and part < len(place):
        return place[part]
    if not isinstance(place, dict):
        raise _no_place(flag, part)
    key = part if part in place else str(part)
    if place.get(key) is None or isinstance(place[key], bool):  # text: true has the defaults
        place[key] = {}
    return place[key]


def _no_place(flag: str, part: str | int) -> SpecError:
    message = f"{flag}: there is no '{part}' in the file"
    return SpecError(message, hint="count from 0, and write keys as prep schema has them", place=flag)
