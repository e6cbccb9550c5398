"""Triton model repositories: one folder for each entry, replaced whole or not at all.

::

    <repository>/<entry>/config.pbtxt
    <repository>/<entry>/1/model.onnx | model_sm75.plan ...
    <repository>/<entry>/reference.npz, tokenizer.json     what `prep verify` sends, and the answers
    <repository>/<entry>/manifest.json                     written last
    <repository>/.lock, .staging-<entry>                   ours; the staging folder of a killed run goes with the next
"""

import importlib.metadata
import json
import logging
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from pipeline.artifact import MANIFEST_NAME, MANIFEST_SCHEMA, Engine, OnnxModel, RepositoryEntry
from pipeline.errors import RepositoryError, SpecError, WorkspaceBusyError, WorkspaceError
from pipeline.progress import Progress, ignore_progress
from pipeline.spec import NAME_PATTERN, PRECISIONS, Precision, ServingSpec
from pipeline.triton.config import CONFIG_NAME, model_config_from_artifact, plan_name, render_config
from pipeline.triton.exchange import swap_folders
from pipeline.workspace import (
    LOCK_TIMEOUT_S,
    Produced,
    Recipe,
    digest_file,
    load_artifact,
    record_files,
    remove_tree,
    save_manifest,
    translate_os_errors,
)

log = logging.getLogger(__name__)

VERSION = "1"
STAGING_PREFIX = ".staging-"
REFERENCE_NAME = "reference.npz"
TOKENIZER_NAME = "tokenizer.json"
# Files up to this size are always digested; larger ones when they are newer than the manifest.
DIGEST_LIMIT_BYTES = 1 << 20

# The smallest cosine of any answer to PyTorch FP32: FP32 rounds in another order, FP16 keeps 11 bits, and 0.97 is
# what careful INT8 holds with room to spare.
TOLERANCES: dict[Precision, float] = {"fp32": 0.9999, "fp16": 0.999, "int8": 0.97}


def assemble_entry(
    model: OnnxModel,
    engines: Sequence[Engine],
    serving: ServingSpec,
    repository_dir: Path,
    *,
    name: str | None = None,
    progress: Progress = ignore_progress,
) -> Produced[RepositoryEntry]:
    """Write one entry of a model repository, or find that it is already there.

    Args:
        model: The graph to serve, and the source of the reference answers and the tokenizer.
        engines: The plans to serve instead of the graph, one for each GPU architecture; none means
            that ONNX Runtime serves the graph.
        serving: The choices of config.pbtxt.
        repository_dir: The repository; made if it is not there.
        name: The entry's name instead of ``<model>-onnx-<precision>`` or ``<model>-trt-<precision>``.
        progress: Told what is being written.

    Raises:
        SpecError: The choices do not fit the artifacts, or the name is not one.
        RepositoryError: An engine is not a plan, engines disagree, or an artifact is damaged.
        WorkspaceBusyError: Another run writes this repository and does not finish.
        DiskFullError, WorkspaceError: The repository cannot be written; the old entry is still whole.
    """
    recipe = entry_recipe(model, engines, serving, name=name)
    final = repository_dir / recipe.name
    with translate_os_errors(repository_dir, setting="--output"), lock_repository(repository_dir):
        found = _find_unchanged(final, recipe)
        if found:
            return Produced(found, reused=True)
        progress(f"writing {recipe.name}")
        config = model_config_from_artifact(recipe.name, engines or model, serving)
        text = render_config(config)
        _warn_of_edits(final, text)
        staging = repository_dir / f"{STAGING_PREFIX}{recipe.name}"
        try:
            _write_files(staging, model, engines, text)
            entry = _record(recipe, staging, model, engines, config.max_batch_size)
            save_manifest(entry, staging)
            swap_folders(staging, final)
        finally:  # Ctrl-C too; after the swap the old entry lies here
            remove_tree(staging)
    return Produced(entry.model_copy(update={"folder": final}), reused=False)


def entry_recipe(
    model: OnnxModel, engines: Sequence[Engine], serving: ServingSpec, *, name: str | None = None
) -> Recipe:
    """Return everything that decides an entry's bytes; reads no file and imports no vendor library.

    Raises:
        SpecError: The name is not one, or the spec asks for a batch beyond an engine's profile.
        RepositoryError: The engines are of several precisions.
    """
    precision = _precision(model, engines)
    ranges = [_accepted_sequences(engine) for engine in engines]
    return Recipe(
        stage="entry",
        name=_checked_name(name or default_entry_name(model.name, precision, is_plan=bool(engines))),
        spec={
            "serving": serving.model_dump(mode="json"),
            # What `prep verify` may send: the range that every plan accepts.
            "min_sequence": max((shortest for shortest, _ in ranges), default=1),
            "max_sequence": min((longest for _, longest in ranges), default=model.max_sequence_length),
        },
        inputs={"model": model.key, **{f"engine {engine.compute_capability}": engine.key for engine in engines}},
        tools={name: importlib.metadata.version(name) for name in ("prep-triton", "tritonclient")},
    )


def _accepted_sequences(engine: Engine) -> tuple[int, int]:
    """Return the shortest and the longest sequence of an engine, whose profiles together are its range."""
    return min(one.min[1] for one in engine.profiles), max(one.max[1] for one in engine.profiles)


def load_repository(repository_dir: Path, *, reference_only: bool = False) -> list[RepositoryEntry]:
    """Load every entry of a repository, by name. Folders without a manifest are left out with a warning.

    Args:
        repository_dir: The repository.
        reference_only: It is a copy of the files directly in the entries' folders (of a release that
            lies elsewhere, to verify it): do not ask for the models.

    Raises:
        RepositoryError: The folder is missing or holds no entry, or a manifest or a file is damaged.
    """
    if not repository_dir.is_dir():
        raise RepositoryError(f"{repository_dir} is not a folder", hint="make a repository with `prep assemble`")
    entries = []
    for folder in sorted(repository_dir.iterdir()):
        if not folder.is_dir() or folder.name.startswith("."):
            continue
        if not (folder / MANIFEST_NAME).is_file():
            log.warning("%s has no %s and is left out; `prep assemble` writes it", folder, MANIFEST_NAME)
            continue
        entries.append(_load_entry(folder, reference_only=reference_only))
    if not entries:
        raise RepositoryError(
            f"{repository_dir} holds no entry with a {MANIFEST_NAME}", hint="make one with `prep assemble`"
        )
    return entries


def _load_entry(folder: Path, *, reference_only: bool) -> RepositoryEntry:
    try:
        entry = _load_reference_copy(folder) if reference_only else load_artifact(folder, RepositoryEntry)
    except WorkspaceError as err:
        raise RepositoryError(err.message, hint="write the entry again with `prep assemble`") from err
    except (OSError, ValueError) as err:  # pydantic's and json's errors are ValueErrors
        raise RepositoryError(
            f"{folder} holds no whole copy of an entry: {err}", hint="publish the repository again"
        ) from err
    assert entry is not None
    if entry.name != folder.name:
        raise RepositoryError(
            f"{folder} holds the entry {entry.name}; Triton needs both names to be the same",
            hint="name the folder as the entry, or write it again with `prep assemble --name`",
        )
    return entry


def _load_reference_copy(folder: Path) -> RepositoryEntry:
    content = json.loads((folder / MANIFEST_NAME).read_text(encoding="utf-8"))
    if not isinstance(content, dict) or content.pop("schema", None) != MANIFEST_SCHEMA:
        raise ValueError(f"its {MANIFEST_NAME} was written by another version of prep")
    entry = RepositoryEntry.model_validate({**content, "folder": folder})
    missing = [name for name in entry.files if "/" not in name and not (folder / name).is_file()]
    if missing:
        raise ValueError(f"{', '.join(missing)} is missing")
    return entry


def _precision(model: OnnxModel, engines: Sequence[Engine]) -> Precision:
    found = sorted({engine.precision for engine in engines}) or [model.precision]
    if len(found) > 1:
        raise RepositoryError(
            f"the engines are of several precisions: {', '.join(found)}", hint="assemble one entry for each precision"
        )
    return found[0]


def default_entry_name(model_name: str, precision: Precision, *, is_plan: bool) -> str:
    """Return the name of an entry for which none was chosen."""
    for known in PRECISIONS:
        model_name = model_name.removesuffix(f"-{known}").removesuffix(f"-{known}-cpu")
    return f"{model_name}-{'trt' if is_plan else 'onnx'}-{precision}"


def _checked_name(name: str) -> str:
    if not re.fullmatch(NAME_PATTERN, name):
        raise SpecError(
            f"'{name}' cannot name an entry: expected at most 63 lower-case letters, digits, '.', '_' and '-'",
            hint="choose another name with --name",
        )
    return name


def _find_unchanged(final: Path, recipe: Recipe) -> RepositoryEntry | None:
    entry = load_artifact(final, RepositoryEntry, strict=False)
    if entry is None or entry.key != recipe.key:
        return None
    written_ns = (final / MANIFEST_NAME).stat().st_mtime_ns
    for relative, expected in entry.files.items():
        path = final / relative
        found = path.stat()
        if found.st_size > DIGEST_LIMIT_BYTES and found.st_mtime_ns <= written_ns:
            continue
        if digest_file(path) != expected.sha256:
            log.info("%s is not what was written; %s is written again", path, entry.name)
            return None
    return entry


def _warn_of_edits(final: Path, text: str) -> None:
    """Warn where a config.pbtxt that is about to be replaced was neither written by us nor is the same."""
    path = final / CONFIG_NAME
    if not path.is_file():
        return
    entry = load_artifact(final, RepositoryEntry, strict=False)
    recorded = entry.files.get(CONFIG_NAME) if entry else None
    current = path.read_text(encoding="utf-8", errors="replace")
    if current != text and (recorded is None or digest_file(path) != recorded.sha256):
        log.warning("%s was edited by hand; it is written again from the spec", path)


def _write_files(staging: Path, model: OnnxModel, engines: Sequence[Engine], config_text: str) -> None:
    remove_tree(staging)
    version_dir = staging / VERSION
    version_dir.mkdir(parents=True)
    (staging / CONFIG_NAME).write_text(config_text, encoding="utf-8")
    for engine in engines:
        _copy_file(engine, "model.engine", version_dir / plan_name(engine))
    if not engines:
        # A graph beyond 2 GB keeps its weights beside it.
        for relative in ("model.onnx", *(name for name in model.files if name.startswith("model.onnx."))):
            _copy_file(model, relative, version_dir / relative)
    _copy_file(model, REFERENCE_NAME, staging / REFERENCE_NAME)
    if TOKENIZER_NAME in model.files:
        _copy_file(model, TOKENIZER_NAME, staging / TOKENIZER_NAME)


def _copy_file(artifact: OnnxModel | Engine, relative: str, target: Path) -> None:
    """Copy a file of an artifact and check that it is the one in its manifest."""
    source, expected = artifact.path(relative), artifact.files.get(relative)
    if expected is None or not source.is_file():
        raise RepositoryError(
            f"{artifact.name} has no {relative} in {artifact.folder}", hint="make it again: export, then build"
        )
    shutil.copyfile(source, target)
    shutil.copymode(source, target)
    if digest_file(target) != expected.sha256:
        raise RepositoryError(
            f"{source} is damaged: its digest is not the one in its manifest",
            hint=f"remove {artifact.folder} and make it again",
        )


def _record(
    recipe: Recipe, staging: Path, model: OnnxModel, engines: Sequence[Engine], max_batch_size: int
) -> RepositoryEntry:
    precision = _precision(model, engines)
    fields: dict[str, Any] = {key: getattr(model, key) for key in ("task", "architecture", "weights")}
    return RepositoryEntry(
        name=recipe.name,
        key=recipe.key,
        folder=staging,
        files=record_files(staging),
        spec=dict(recipe.spec),
        inputs=dict(recipe.inputs),
        tools=dict(recipe.tools),
        runtime="tensorrt" if engines else "onnxruntime",
        precision=precision,
        max_batch_size=max_batch_size,
        compute_capabilities=tuple(engine.compute_capability for engine in engines),
        tolerance=TOLERANCES[precision],
        **fields,
    )


def check_unchanged(repository_dir: Path, entries: Sequence[RepositoryEntry]) -> None:
    """Refuse a repository into which another run has written other entries since.

    Raises:
        RepositoryError: An entry is gone or is another one now.
    """
    found = {entry.name: entry.key for entry in load_repository(repository_dir)}
    for entry in entries:
        if found.get(entry.name) != entry.key:
            raise RepositoryError(
                f"another run has changed {entry.name} in {repository_dir} since it was assembled",
                hint="run again, or give each config its own repository: key",
            )


@contextmanager
def lock_repository(repository_dir: Path) -> Iterator[None]:
    """Keep other runs from writing a repository; the remains of a killed run are removed.

    Raises:
        WorkspaceBusyError: Another run holds it and does not finish.
    """
    repository_dir.mkdir(parents=True, exist_ok=True)
    lock = FileLock(repository_dir / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.warning("another run is writing %s; waiting for it", repository_dir)
        try:
            lock.acquire(timeout=LOCK_TIMEOUT_S)
        except Timeout as err:
            raise WorkspaceBusyError(
                f"another run has held {repository_dir} for over {LOCK_TIMEOUT_S:g} s",
                hint="wait for it, end it, or use another repository folder",
            ) from err
    try:
        for leftover in repository_dir.glob(f"{STAGING_PREFIX}*"):  # of a killed run: the lock is ours
            remove_tree(leftover)
        yield
    finally:
        lock.release()
