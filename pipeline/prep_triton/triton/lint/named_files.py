"""Files beside the model that a configuration names: labels, a Python environment, operators of ONNX Runtime."""

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prep_triton.triton.lint.entry import EntryFolder
from prep_triton.triton.lint.finding import Finding
from prep_triton.triton.lint.tensors import WILDCARD, describe_dims
from prep_triton.triton.lint.tree import is_readable_file

_ENVIRONMENT = "EXECUTION_ENV_PATH"
_MODEL_DIRECTORY = "$$TRITON_MODEL_DIRECTORY"
_ACTIVATE = "bin/activate"


def find_named_file_problems(entry: EntryFolder) -> Iterator[Finding]:
    """Find files that a configuration names and that are missing, or hold too little."""
    config: Any = entry.config
    for index, tensor in enumerate(config.output):
        if tensor.label_filename:
            yield from _find_label_problems(entry, tensor, f"output[{index}]")
    if entry.backend == "python" and _ENVIRONMENT in config.parameters:
        yield from _find_environment_problems(entry, config.parameters[_ENVIRONMENT].string_value)


def _find_label_problems(entry: EntryFolder, tensor: Any, output: str) -> Iterator[Finding]:
    """A label file is looked for in the entry's folder, and has a label a line (core, label_provider.cc, AddLabels)."""
    name, where = tensor.label_filename, f"{output}.label_filename"
    path = Path(os.path.normpath(f"{entry.folder}/{name}"))
    if not is_readable_file(path):
        message = f"the label file {name} of the output '{tensor.name}' {_describe_absence(path)}"
        yield entry.at("file-missing", where, message, f"put it into the folder {entry.name}, or remove label_filename")
        return
    if not tensor.dims or WILDCARD in tensor.dims:
        return
    labels, values = len(path.read_bytes().splitlines()), math.prod(tensor.dims)
    if labels < values:
        message = (
            f"{name} has {labels} labels, and the output '{tensor.name}' has {values} values "
            f"(dims {describe_dims(tensor.dims)}): the others are served without a label"
        )
        yield entry.at("labels-count", where, message, f"write {values} labels, one a line")


def _find_environment_problems(entry: EntryFolder, value: str) -> Iterator[Finding]:
    """An environment is an archive, or a folder with ``bin/activate`` (python_backend, stub_launcher.cc, pb_env.cc).

    The server looks for other relative paths from where it was started, and only there does an absolute one mean
    anything: neither is looked for here.
    """
    if not value.startswith(_MODEL_DIRECTORY):
        return
    where = f"parameters.{_ENVIRONMENT}"
    path = Path(os.path.normpath(f"{entry.folder}{value.removeprefix(_MODEL_DIRECTORY)}"))
    hint = f"put it there (conda-pack makes one), or remove {_ENVIRONMENT}"
    if path.is_dir():
        if not (path / _ACTIVATE).is_file():
            message = f"{_ENVIRONMENT} names the folder {value}, which has no {_ACTIVATE}: the server refuses it"
            yield entry.at("file-missing", where, message, hint)
    elif not is_readable_file(path):
        message = (
            f"{_ENVIRONMENT} names {value}, and {path.name} {_describe_absence(path)}: the server refuses the entry"
        )
        yield entry.at("file-missing", where, message, hint)


def _describe_absence(path: Path) -> str:
    return "cannot be read" if os.path.lexists(path) else "is not there"
