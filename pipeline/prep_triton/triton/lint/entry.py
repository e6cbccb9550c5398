"""One entry as lint reads it: its files, its configuration as the server completes it, and its manifest."""

import os
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from prep_triton.artifact import RepositoryEntry
from prep_triton.layout import (
    CONFIG_NAME,
    GRAPH_NAME,
    MANIFEST_NAME,
    PLAN_NAME,
    PYTHON_MODEL_NAME,
    WARMUP_DIR,
    list_names,
)
from prep_triton.manifest import load_manifest
from prep_triton.triton.config.backends import PLATFORMS
from prep_triton.triton.config.parse import ScannedConfig, decode_config, scan_config
from prep_triton.triton.config.versions import pick_versions
from prep_triton.triton.lint.finding import Finding, make_finding

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig

# core, constants.h: kWarmupDataFolder, kInitialStateFolder, kModelConfigFolder
SERVER_FOLDERS = (WARMUP_DIR, "initial_state", "configs")
# Known so that a foreign model beside ours is not called wrong; no other rule looks at it. torch_aoti is of 26.01.
FOREIGN_PLATFORMS = {"pytorch_libtorch": "pytorch", "torch_aoti": "pytorch"}
# core, AutoCompleteBackendFields: what each backend calls its model file.
MODEL_FILES = {"tensorrt": PLAN_NAME, "onnxruntime": GRAPH_NAME, "python": PYTHON_MODEL_NAME, "pytorch": "model.pt"}
# python_backend, python_be.cc: the parameter, and what of it stands for the entry's folder
ENVIRONMENT, MODEL_DIRECTORY = "EXECUTION_ENV_PATH", "$$TRITON_MODEL_DIRECTORY"
CONFIG_SIZE_LIMIT = 16 << 20
_NUMBER = re.compile(r"\s*[+-]?[0-9]+")
_VERSION = re.compile(r"0|[1-9][0-9]{0,17}")


@dataclass(frozen=True)
class EntryFolder:
    """An entry's folder and what was read from it.

    `config` is None where there is none, or none that parses; `problems` says why.
    """

    name: str
    folder: Path
    config: "ModelConfig | None" = None
    scanned: ScannedConfig = field(default_factory=ScannedConfig)
    manifest: RepositoryEntry | None = None
    problems: tuple[Finding, ...] = ()

    @property
    def config_path(self) -> str:
        """The configuration's path within the repository."""
        return f"{self.name}/{CONFIG_NAME}"

    def at(self, code: str, where: str, message: str, hint: str) -> Finding:
        """Build a finding about a field of the configuration."""
        line = self.scanned.notes.line_of(where)
        return make_finding(code, self.config_path, message, hint, line=line, field=where)

    def on(self, code: str, relative: str, message: str, hint: str) -> Finding:
        """Build a finding about a file of the entry."""
        return make_finding(code, f"{self.name}/{relative}" if relative else self.name, message, hint)

    @cached_property
    def backend(self) -> str:
        """The backend that serves it, as the server works it out; empty where it does not."""
        config = self.config
        if config is None or config.platform == "ensemble" or config.HasField("ensemble_scheduling"):
            return "ensemble" if config is not None else ""
        if config.backend:
            return str(config.backend)
        by_platform = FOREIGN_PLATFORMS | {platform: str(backend) for backend, platform in PLATFORMS.items()}
        if config.platform:
            return by_platform.get(config.platform, "")
        by_file = {name: backend for backend, name in MODEL_FILES.items()}
        if config.default_model_filename:
            return by_file.get(config.default_model_filename, "")
        first = min(self.subfolders, default="")
        present = list_names(self.folder / first) if first else []
        by_content = next((backend for name, backend in by_file.items() if name in present), "")
        # core: a model called model.<backend> is that backend's.
        return by_content or self.name.partition(".")[2]

    @cached_property
    def environment(self) -> str:
        """What EXECUTION_ENV_PATH names for the Python backend; empty where it names nothing."""
        if self.config is None or self.backend != "python":
            return ""
        return str(self.config.parameters[ENVIRONMENT].string_value) if ENVIRONMENT in self.config.parameters else ""

    @cached_property
    def named_files(self) -> frozenset[str]:
        """Files and folders that the configuration names in the entry's folder: labels, and a Python environment."""
        if self.config is None:
            return frozenset()
        names = {tensor.label_filename for tensor in self.config.output}
        if self.environment.startswith(f"{MODEL_DIRECTORY}/"):
            names.add(self.environment.removeprefix(f"{MODEL_DIRECTORY}/"))
        return frozenset(os.path.normpath(name) for name in names if name)

    @cached_property
    def subfolders(self) -> tuple[str, ...]:
        """Every folder in it, in the server's order."""
        return tuple(name for name in list_names(self.folder) if (self.folder / name).is_dir())

    @cached_property
    def versions(self) -> tuple[int, ...]:
        """The version numbers for which there is a folder."""
        return tuple(sorted(int(name) for name in self.subfolders if _VERSION.fullmatch(name)))

    @cached_property
    def served_versions(self) -> tuple[int, ...]:
        """The versions that the version policy picks."""
        return self.versions[-1:] if self.config is None else pick_versions(self.config, self.versions)

    @property
    def misread_versions(self) -> tuple[str, ...]:
        """Names of folders in which the server reads a number, though they are not version numbers."""
        others = (name for name in self.subfolders if name not in SERVER_FOLDERS and not _VERSION.fullmatch(name))
        return tuple(name for name in others if _NUMBER.match(name) and not (name[0] == "0" and len(name) > 1))

    def is_batched(self) -> bool:
        """Whether the server adds a batch axis."""
        return self.config is not None and self.config.max_batch_size > 0


def read_entry(folder: Path) -> EntryFolder:
    """Read an entry's configuration and manifest; whatever is wrong with them becomes a finding."""
    problems: list[Finding] = []
    manifest = _read_manifest(folder, problems)
    text = _read_config_text(folder, problems)
    if text is None:
        return EntryFolder(folder.name, folder, manifest=manifest, problems=tuple(problems))
    scanned, path = scan_config(text), f"{folder.name}/{CONFIG_NAME}"
    for unknown in scanned.notes.unknown:
        message = f"{unknown.message} has no field '{unknown.name}', so the server refuses the whole file"
        problems.append(
            make_finding("config-unknown-field", path, message, unknown.hint, line=unknown.line, field=unknown.name)
        )
    for double in scanned.notes.repeated_keys:
        message = f"{double.where} has the key '{double.key}' twice: the server keeps the last one"
        problems.append(
            make_finding(
                "config-duplicate-key", path, message, "keep one of them", line=double.line, field=double.where
            )
        )
    if scanned.problem is not None:
        message = f"the server cannot parse it: {scanned.problem.message}"
        hint = "correct that line, or write the entry again with prep assemble"
        problems.append(make_finding("config-syntax", path, message, hint, line=scanned.problem.line))
    return EntryFolder(folder.name, folder, scanned.message, scanned, manifest, tuple(problems))


def _read_config_text(folder: Path, problems: list[Finding]) -> str | None:
    path, place = folder / CONFIG_NAME, f"{folder.name}/{CONFIG_NAME}"
    hint = "write the entry again with prep assemble, or write the file by hand"
    if not path.is_file():
        message = f"{folder.name} has no {CONFIG_NAME}: the server would guess one, or refuse the entry"
        problems.append(make_finding("config-missing", place, message, hint))
        return None
    try:
        if path.stat().st_size > CONFIG_SIZE_LIMIT:
            raise ValueError(f"it has {path.stat().st_size} bytes")
        return decode_config(path.read_bytes())
    except (OSError, ValueError) as err:
        message = f"it is not the text of a model configuration: {_brief(err)}"
        problems.append(make_finding("config-syntax", place, message, hint))
        return None


def _read_manifest(folder: Path, problems: list[Finding]) -> RepositoryEntry | None:
    path, place = folder / MANIFEST_NAME, f"{folder.name}/{MANIFEST_NAME}"
    if not path.is_file():
        message = (
            f"{folder.name} has no {MANIFEST_NAME}: nothing was checked against it, and prep publishes no such entry"
        )
        problems.append(make_finding("manifest-missing", place, message, "write the entry with prep assemble"))
        return None
    try:
        return load_manifest(folder, RepositoryEntry)
    except (OSError, ValueError) as err:
        message = f"it is not the manifest of an entry: {_brief(err)}"
        problems.append(make_finding("manifest-damaged", place, message, "write the entry again with prep assemble"))
        return None


def _brief(err: Exception) -> str:
    message = " ".join(str(err).split())
    return message if len(message) <= 200 else f"{message[:200]}…"
