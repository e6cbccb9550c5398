"""YAML files of settings: pipeline files and serving files, read with their places and their variables."""

import os
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from prep_triton.errors import SpecError
from prep_triton.spec.base import Spec, build_spec
from prep_triton.spec.faults import Path as KeyPath
from prep_triton.spec.faults import Problem
from prep_triton.spec.run import RunSpec
from prep_triton.spec.serving import ServingSpec
from prep_triton.spec.variables import expand_variables
from prep_triton.spec.yaml_text import YamlDocument, load_document, parse_document

S = TypeVar("S", bound=Spec)

RUN_HINT = "a pipeline file begins with 'models:'"
SERVING_HINT = "such a file holds the keys of 'serving:', for example max_batch_size: 8; prep schema describes them"


@dataclass(frozen=True)
class SettingsFile:
    """The keys of a file, with variables expanded; `problems` are those that could not be."""

    values: Mapping[str, Any]
    document: YamlDocument
    problems: tuple[Problem, ...] = ()

    def build(self, spec_type: type[S]) -> S:
        """Build what the file asks for.

        Raises:
            SpecError: It is not a valid request; it has every fault with its line.
        """
        whole = self.with_serving_files() if spec_type is RunSpec else self
        where = self.document.where
        return build_spec(spec_type, whole.values, where=where, document=self.document, problems=whole.problems)

    def with_serving_files(self) -> "SettingsFile":
        """Return a pipeline file with the keys of each ``serving: FILE`` in place of the file's name.

        The name is relative to the pipeline file. What is wrong with such a file is a problem of the place that names
        it, in the words, and with the line, of the file's own.
        """
        named = list(_find_serving_files(self.values))
        if not named:
            return self
        values, problems = deepcopy(dict(self.values)), list(self.problems)
        folder = Path(self.document.where).parent
        for path, name in named:
            try:
                content = dict(load_serving_file(folder / name).values)
            except SpecError as err:
                problems.append(Problem(path, err.message, err.hint or ""))
                content = {}
            values["models"][path[1]]["variants"][path[3]]["serving"] = content
        return replace(self, values=values, problems=tuple(problems))


def _find_serving_files(values: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    """Yield where the serving of a variant is the name of a file; nothing was validated yet."""
    models = values.get("models")
    for number, model in enumerate(models if isinstance(models, list) else ()):
        variants = model.get("variants") if isinstance(model, Mapping) else None
        for index, variant in enumerate(variants if isinstance(variants, list) else ()):
            name = variant.get("serving") if isinstance(variant, Mapping) else None
            if isinstance(name, str):
                yield ("models", number, "variants", index, "serving"), name


def load_serving_file(path: Path) -> SettingsFile:
    """Load a file with the keys of ``serving:``, such as `prep tune` writes.

    Raises:
        SpecError: It is missing, or no serving choices; it has every fault with its line.
    """
    try:
        document = load_document(path)
    except FileNotFoundError as err:
        raise SpecError(f"there is no serving file {path}", hint=SERVING_HINT) from err
    settings = _settings_from_document(document, hint=SERVING_HINT)
    settings.build(ServingSpec)
    return settings


def load_run_spec(path: Path) -> RunSpec:
    """Load a pipeline file.

    Raises:
        SpecError: The file is missing, not UTF-8, not YAML, or not a valid pipeline.
    """
    return load_settings(path, hint=RUN_HINT).build(RunSpec)


def parse_run_spec(text: str, *, where: str) -> RunSpec:
    """Parse the text of a pipeline file; see `load_run_spec`."""
    return _settings_from_document(parse_document(text, where=where), hint=RUN_HINT).build(RunSpec)


def load_settings(path: Path, *, hint: str) -> SettingsFile:
    """Load a YAML file that is a mapping of keys.

    Args:
        path: The file.
        hint: What such a file holds, for the message.

    Raises:
        SpecError: The file is missing, not a mapping, or refused by `load_document`.
    """
    try:
        document = load_document(path)
    except FileNotFoundError as err:
        raise SpecError(f"there is no config file {path}", hint="prep init writes one to begin with") from err
    return _settings_from_document(document, hint=hint)


def _settings_from_document(document: YamlDocument, *, hint: str) -> SettingsFile:
    if not isinstance(document.value, Mapping):
        raise SpecError(f"{document.where} is not a mapping of keys", hint=hint)
    values, problems = expand_variables(document.value, os.environ)
    return SettingsFile(values, document, tuple(problems))
