"""Writes entries of a Triton model repository: one folder for each, replaced whole or not at all.

::

    <repository>/<entry>/config.pbtxt
    <repository>/<entry>/1/model.onnx | model_sm75.plan ...
    <repository>/<entry>/reference.npz, tokenizer.json     what `prep verify` sends, and the answers
    <repository>/<entry>/warmup/input_ids-32.bin ...       where warm-up was asked for
    <repository>/<entry>/manifest.json                     written last
    <repository>/server.args                               what the server must be started with, if anything
    <repository>/.lock, .staging-<entry>                   ours; the staging folder of a killed run goes with the next
"""

import importlib.metadata
import logging
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from prep_triton.artifact import Engine, OnnxModel, RepositoryEntry
from prep_triton.errors import RepositoryError, SpecError
from prep_triton.layout import (
    CONFIG_NAME,
    ENGINE_NAME,
    GRAPH_NAME,
    REFERENCE_NAME,
    STAGING_PREFIX,
    TOKENIZER_NAME,
    VERSION_DIR,
    is_graph_file,
    plan_name,
)
from prep_triton.progress import Progress, ignore_progress
from prep_triton.spec import NAME_PATTERN, PRECISIONS, Precision, ServingSpec
from prep_triton.triton.config import ResolvedServing, model_config_from_artifact, render_config, resolve_serving
from prep_triton.triton.config.server_arguments import arguments_from_serving
from prep_triton.triton.config.traps import find_ensemble_traps, find_traps
from prep_triton.triton.config.warmup import write_warmup_files
from prep_triton.triton.entries.exchange import swap_folders
from prep_triton.triton.entries.load import (
    find_unchanged,
    list_entries,
    load_repository,
    lock_repository,
)
from prep_triton.triton.entries.server_arguments import (
    check_shared_resources,
    write_server_arguments,
)
from prep_triton.workspace import (
    Produced,
    Recipe,
    digest_file,
    find_artifact,
    record_files,
    remove_tree,
    save_manifest,
    translate_os_errors,
)

__all__ = [
    "TOLERANCES",
    "assemble_entry",
    "default_entry_name",
    "entry_recipe",
    "load_repository",
    "lock_repository",
    "place_entry",
    "preview_entry",
]

log = logging.getLogger(__name__)


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
    resolved = resolve_serving(engines or model, serving, longest=model.max_sequence_length)
    recipe = entry_recipe(model, engines, resolved, name=name)

    def make(staging: Path) -> dict[str, Any]:
        check_shared_resources(repository_dir, recipe.name, resolved.choices)
        text = render_config(model_config_from_artifact(recipe.name, engines or model, resolved))
        _warn_of_edits(repository_dir / recipe.name, text)
        is_composed = any(recipe.name in entry.composes for entry in list_entries(repository_dir))
        for trap in find_traps(resolved.choices, is_composed=is_composed):
            log.warning("%s: %s", recipe.name, trap.sentence)
        _write_files(staging, model, engines, text)
        if resolved.choices.warmup:
            inputs = engines[0].model_inputs if engines else model.model_inputs
            write_warmup_files(staging, staging / REFERENCE_NAME, inputs, resolved.length_buckets)
        return _fields(model, engines, resolved)

    return place_entry(recipe, repository_dir, make, progress=progress)


def place_entry(
    recipe: Recipe,
    repository_dir: Path,
    make: Callable[[Path], Mapping[str, Any]],
    *,
    progress: Progress = ignore_progress,
) -> Produced[RepositoryEntry]:
    """Put an entry of any kind into a repository, unless it is there as it would be written.

    Args:
        recipe: What decides its bytes; its name is the folder's.
        repository_dir: The repository; made if it is not there.
        make: Writes the files into the empty folder it is given, and returns the record's own fields.
        progress: Told what is being written.

    Raises:
        WorkspaceBusyError: Another run writes this repository and does not finish.
        DiskFullError, WorkspaceError: The repository cannot be written; the old entry is still whole.
    """
    final = repository_dir / recipe.name
    with translate_os_errors(repository_dir, setting="--output"), lock_repository(repository_dir):
        found = find_unchanged(final, recipe)
        if found is None:
            progress(f"writing {recipe.name}")
            entry = _place(recipe, repository_dir / f"{STAGING_PREFIX}{recipe.name}", final, make)
            others = list_entries(repository_dir) if entry.composes else []
            for name, trap in find_ensemble_traps(entry, others):
                log.warning("%s, in %s: %s", name, entry.name, trap.sentence)
        write_server_arguments(repository_dir)
    return Produced(found or entry, reused=found is not None)


def preview_entry(
    model: OnnxModel, engines: Sequence[Engine], serving: ServingSpec, *, name: str | None = None
) -> tuple[str, str]:
    """Return the name and the config.pbtxt of the entry that `assemble_entry` would write; writes nothing.

    Raises:
        SpecError, RepositoryError: As `assemble_entry`.
    """
    resolved = resolve_serving(engines or model, serving, longest=model.max_sequence_length)
    recipe = entry_recipe(model, engines, resolved, name=name)
    return recipe.name, render_config(model_config_from_artifact(recipe.name, engines or model, resolved))


def entry_recipe(
    model: OnnxModel, engines: Sequence[Engine], resolved: ResolvedServing, *, name: str | None = None
) -> Recipe:
    """Return everything that decides an entry's bytes; reads no file and imports no vendor library.

    Raises:
        SpecError: The name is not one.
        RepositoryError: The engines are of several precisions.
    """
    precision = _precision(model, engines)
    return Recipe(
        stage="entry",
        name=_checked_name(name or default_entry_name(model.name, precision, is_plan=bool(engines))),
        spec={
            # With what the tier adds, and with the buckets: whether a value was given or not is no part of a dump.
            "serving": resolved.choices.model_dump(mode="json"),
            "server_arguments": list(arguments_from_serving(resolved.choices)),
            # What `prep verify` may send: the range that every plan accepts.
            "min_sequence": resolved.shortest,
            "max_sequence": resolved.longest,
        },
        inputs={"model": model.key, **{f"engine {engine.compute_capability}": engine.key for engine in engines}},
        tools={name: importlib.metadata.version(name) for name in ("prep-triton", "tritonclient")},
    )


def _place(recipe: Recipe, staging: Path, final: Path, make: Callable[[Path], Mapping[str, Any]]) -> RepositoryEntry:
    try:
        remove_tree(staging)
        staging.mkdir(parents=True)
        fields = make(staging)
        entry = RepositoryEntry(
            name=recipe.name,
            key=recipe.key,
            folder=staging,
            files=record_files(staging),
            spec=dict(recipe.spec),
            inputs=dict(recipe.inputs),
            tools=dict(recipe.tools),
            **fields,
        )
        save_manifest(entry, staging)
        swap_folders(staging, final)
    finally:  # Ctrl-C too; after the swap the old entry lies here
        remove_tree(staging)
    return entry.model_copy(update={"folder": final})


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


def _warn_of_edits(final: Path, text: str) -> None:
    """Warn where a config.pbtxt that is about to be replaced was neither written by us nor is the same."""
    path = final / CONFIG_NAME
    if not path.is_file():
        return
    entry = find_artifact(final, RepositoryEntry)
    recorded = entry.files.get(CONFIG_NAME) if entry else None
    current = path.read_text(encoding="utf-8", errors="replace")
    if current != text and (recorded is None or digest_file(path) != recorded.sha256):
        log.warning("%s was edited by hand; it is written again from the spec", path)


def _write_files(staging: Path, model: OnnxModel, engines: Sequence[Engine], config_text: str) -> None:
    version_dir = staging / VERSION_DIR
    version_dir.mkdir()
    (staging / CONFIG_NAME).write_text(config_text, encoding="utf-8")
    for engine in engines:
        _copy_file(engine, ENGINE_NAME, version_dir / plan_name(engine.compute_capability))
    if not engines:
        for relative in sorted({GRAPH_NAME, *filter(is_graph_file, model.files)}):
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


def _fields(model: OnnxModel, engines: Sequence[Engine], resolved: ResolvedServing) -> dict[str, Any]:
    nowhere = {"folder": Path()}  # a record within a record has no folder of its own
    precision = _precision(model, engines)
    return {
        "runtime": resolved.backend,
        "precision": precision,
        "task": model.task,
        "architecture": model.architecture,
        "weights": model.weights,
        "max_batch_size": resolved.max_batch_size,
        "compute_capabilities": tuple(engine.compute_capability for engine in engines),
        "tolerance": TOLERANCES[precision],
        "tier": resolved.choices.tier,
        "length_buckets": resolved.length_buckets,
        "onnx": model.model_copy(update=nowhere),
        "engines": tuple(engine.model_copy(update=nowhere) for engine in engines),
        "server_arguments": arguments_from_serving(resolved.choices),
    }
