"""Writes entries of a Triton model repository: one folder for each, replaced whole or not at all.

::

    <repository>/<entry>/config.pbtxt
    <repository>/<entry>/1/model.onnx, model.onnx.data | model_sm75.plan ...
    <repository>/<entry>/reference.npz, tokenizer.json     what `prep verify` sends, and the answers
    <repository>/<entry>/library.json                      texts, and what the checkpoint's own library answers
    <repository>/<entry>/warmup/input_ids-32.bin ...       where warm-up was asked for
    <repository>/<entry>/manifest.json                     written last
    <repository>/server.args                               what the server must be started with, if anything
    <repository>/.lock, .staging-<entry>                   ours; the staging folder of a killed run goes with the next
"""

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prep_triton.artifact import Engine, OnnxModel, RepositoryEntry
from prep_triton.errors import RepositoryError
from prep_triton.files import digest_file
from prep_triton.layout import (
    CONFIG_NAME,
    ENGINE_NAME,
    GRAPH_NAME,
    LIBRARY_NAME,
    REFERENCE_NAME,
    TOKENIZER_NAME,
    VERSION_DIR,
    is_graph_file,
    plan_name,
)
from prep_triton.progress import Progress, ignore_progress
from prep_triton.spec import DEFAULT_BATCH, EntrySpec
from prep_triton.triton.config import model_config_from_artifact, render_config, resolve_serving
from prep_triton.triton.config.resolve import ResolvedServing
from prep_triton.triton.config.traps import find_traps
from prep_triton.triton.config.warmup import write_warmup_files
from prep_triton.triton.entries.load import list_entries
from prep_triton.triton.entries.place import place_entry
from prep_triton.triton.entries.recipe import entry_fields, entry_recipe
from prep_triton.triton.entries.server_arguments import (
    check_shared_resources,
)
from prep_triton.workspace import Produced

log = logging.getLogger(__name__)


def assemble_entry(
    model: OnnxModel,
    engines: Sequence[Engine],
    spec: EntrySpec,
    repository_dir: Path,
    *,
    progress: Progress = ignore_progress,
) -> Produced[RepositoryEntry]:
    """Write one entry of a model repository, or find that it is already there.

    Args:
        model: The graph to serve, and the source of the reference answers and the tokenizer.
        engines: The plans to serve instead of the graph, one for each GPU architecture, of runtime tensorrt alone.
        spec: The runtime, the choices of config.pbtxt, and perhaps a name instead of ``<model>-onnx-<precision>``,
            ``<model>-openvino-<precision>`` or ``<model>-trt-<precision>``.
        repository_dir: The repository; made if it is not there.
        progress: Is called with what is being written.

    Raises:
        SpecError: The choices do not fit the artifacts, or the name is not one.
        RepositoryError: An engine is not a plan, engines disagree, an artifact is damaged, or the entry's config.pbtxt
            was edited by hand and would be lost.
        WorkspaceBusyError: Another run writes this repository and does not finish.
        DiskFullError, WorkspaceError: The repository cannot be written; the old entry is still whole.
    """
    resolved = resolve_serving(engines or model, spec, longest=model.max_sequence_length, usual=model.usual_length)
    recipe = entry_recipe(model, engines, resolved, name=spec.name)

    def make(staging: Path) -> dict[str, Any]:
        check_shared_resources(repository_dir, recipe.name, resolved.choices)
        text = render_config(model_config_from_artifact(recipe.name, engines or model, resolved))
        is_composed = any(recipe.name in entry.composes for entry in list_entries(repository_dir))
        for trap in find_traps(resolved.choices, is_composed=is_composed):
            log.warning("%s: %s", recipe.name, trap.sentence)
        if not engines and spec.serving.max_batch_size is None:
            _warn_of_small_batch(recipe.name, resolved)
        _write_files(staging, model, engines, text)
        if resolved.choices.warmup:
            inputs = engines[0].model_inputs if engines else model.model_inputs
            write_warmup_files(staging, staging / REFERENCE_NAME, inputs, resolved.length_buckets)
        return entry_fields(model, engines, resolved)

    return place_entry(recipe, repository_dir, make, progress=progress)


def preview_entry(model: OnnxModel, engines: Sequence[Engine], spec: EntrySpec) -> tuple[str, str]:
    """Return the name and the config.pbtxt of the entry that `assemble_entry` would write; writes nothing.

    Raises:
        SpecError, RepositoryError: As `assemble_entry`.
    """
    resolved = resolve_serving(engines or model, spec, longest=model.max_sequence_length, usual=model.usual_length)
    recipe = entry_recipe(model, engines, resolved, name=spec.name)
    return recipe.name, render_config(model_config_from_artifact(recipe.name, engines or model, resolved))


def _warn_of_small_batch(name: str, resolved: ResolvedServing) -> None:
    """Say where nobody asked for a batch, and the longest texts leave memory for a small one."""
    if 0 < resolved.max_batch_size < DEFAULT_BATCH[-1]:
        log.warning(
            "%s takes texts of up to %d tokens, and %d at once by default, which is what memory holds of them: where "
            "yours are shorter, end length_buckets earlier, or say max_batch_size",
            name, resolved.length_buckets[-1], resolved.max_batch_size,
        )  # fmt: skip


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
    for relative in (TOKENIZER_NAME, LIBRARY_NAME):
        if relative in model.files:
            _copy_file(model, relative, staging / relative)


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
