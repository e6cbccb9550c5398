"""YAML files of settings: pipeline files and serving files, read with their places and their variables."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from prep_triton.errors import SpecError
from prep_triton.spec.base import Spec, build_spec
from prep_triton.spec.faults import Problem
from prep_triton.spec.run import RunSpec
from prep_triton.spec.variables import expand_variables
from prep_triton.spec.yaml_text import YamlDocument, load_document, parse_document

S = TypeVar("S", bound=Spec)

RUN_HINT = "a pipeline file begins with 'models:'"


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
        where = self.document.where
        return build_spec(spec_type, self.values, where=where, document=self.document, problems=self.problems)


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
