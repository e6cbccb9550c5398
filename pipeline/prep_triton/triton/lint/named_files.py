"""Files beside the model that a configuration names: labels, a Python environment, operators of ONNX Runtime."""

import gzip
import math
import os
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prep_triton.triton.lint.entry import ENVIRONMENT, MODEL_DIRECTORY, EntryFolder
from prep_triton.triton.lint.finding import Finding
from prep_triton.triton.lint.tensors import WILDCARD, describe_dims
from prep_triton.triton.lint.tree import is_readable_file

_ACTIVATE = "bin/activate"
_GZIP_MAGIC = b"\x1f\x8b"
_PLUGINS = "trt_extra_plugin_lib_paths"


def find_named_file_problems(entry: EntryFolder) -> Iterator[Finding]:
    """Find files that a configuration names and that are missing, or hold too little."""
    config: Any = entry.config
    for index, tensor in enumerate(config.output):
        if tensor.label_filename:
            yield from _find_label_problems(entry, tensor, f"output[{index}]")
    if entry.environment.startswith(MODEL_DIRECTORY):
        yield from _find_environment_problems(entry, entry.environment)
    yield from _find_relative_paths(entry)


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

    An archive is a tar, plain or under gzip (pb_env.cc, ExtractTarFile). An absolute path is the server's machine's,
    and not looked for here.
    """
    where = f"parameters.{ENVIRONMENT}"
    path = Path(os.path.normpath(f"{entry.folder}{value.removeprefix(MODEL_DIRECTORY)}"))
    hint = f"put it there (conda-pack makes one), or remove {ENVIRONMENT}"
    if path.is_dir():
        if not (path / _ACTIVATE).is_file():
            message = f"{ENVIRONMENT} names the folder {value}, which has no {_ACTIVATE}: the server refuses it"
            yield entry.at("file-missing", where, message, hint)
    elif not is_readable_file(path):
        message = (
            f"{ENVIRONMENT} names {value}, and {path.name} {_describe_absence(path)}: the server refuses the entry"
        )
        yield entry.at("file-missing", where, message, hint)
    elif not _is_archive(path):
        message = f"{ENVIRONMENT} names {value}, and {path.name} is not a tar archive: the server refuses the entry"
        yield entry.at("file-missing", where, message, "pack it with conda-pack, as .tar.gz")


def _is_archive(path: Path) -> bool:
    """Whether a file begins as a tar does, plain or under gzip; no more than one header is read."""
    with path.open("rb") as stream:
        begin = stream.read(tarfile.BLOCKSIZE)
    try:
        if begin.startswith(_GZIP_MAGIC):
            with gzip.open(path) as unpacked:
                begin = unpacked.read(tarfile.BLOCKSIZE)
        tarfile.TarInfo.frombuf(begin, "utf-8", "surrogateescape")
    except (tarfile.TarError, OSError, EOFError, zlib.error):
        return False
    return True


def _find_relative_paths(entry: EntryFolder) -> Iterator[Finding]:
    """Find paths that mean a file below the folder in which the server was started, which nobody knows here.

    The backends hand them on as they are: onnxruntime.cc (LoadModel: RegisterCustomOpsLibrary, and the options of the
    TensorRT provider, which separates its libraries by ';'), python_be.cc.
    """
    config: Any = entry.config
    libraries = list(config.model_operations.op_library_filename) if entry.backend == "onnxruntime" else []
    paths = [("model_operations.op_library_filename", library) for library in libraries]
    for accelerator in config.optimization.execution_accelerators.gpu_execution_accelerator:
        plugins = accelerator.parameters[_PLUGINS].split(";") if _PLUGINS in accelerator.parameters else ()
        paths += [("optimization.execution_accelerators.gpu_execution_accelerator", plugin) for plugin in plugins]
    if not entry.environment.startswith(MODEL_DIRECTORY):
        paths.append((f"parameters.{ENVIRONMENT}", entry.environment))
    for where, path in paths:
        if path and not path.startswith("/"):
            message = f"'{path}' is looked for from the folder in which the server was started, not from the entry's"
            hint = f"begin it with {MODEL_DIRECTORY}/" if where.endswith(ENVIRONMENT) else "write the whole path"
            yield entry.at("path-relative", where, message, hint)


def _describe_absence(path: Path) -> str:
    return "cannot be read" if os.path.lexists(path) else "is not there"
