"""What a run can be refused for before its first minute of work."""

import logging
import os
from pathlib import Path

from prep_triton.engine.machine import Machine
from prep_triton.errors import SpecError, StoreAccessError, WorkspaceError
from prep_triton.extras import check_extra
from prep_triton.run.resolve import ResolvedRun
from prep_triton.spec import VariantSpec

log = logging.getLogger(__name__)


def check_places(run: ResolvedRun) -> None:
    """Refuse folders that cannot be written, and a store that cannot be reached.

    A dry run goes on where the account alone is to blame, and says what a run would be refused for: who writes a file
    need not be who may publish it.

    Raises:
        WorkspaceError: A folder cannot be written.
        StoreError: The store refused or failed.
    """
    _check_writable(run.workspace.root, "the workspace", "name another with --workspace")
    if not run.only_engines:
        _check_writable(run.repository_dir, "the model repository", "name another with repository:")
    if run.store:
        try:
            run.store.check_access()
        except StoreAccessError as err:
            if not run.is_dry:
                raise
            log.warning("a run would be refused here: %s; %s", err.message, err.hint)


def _check_writable(folder: Path, what: str, hint: str) -> None:
    """Look at the nearest folder that is there, as the others would be made in it."""
    place = folder.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise WorkspaceError(f"{what} {folder} cannot be written: {place} is a file", hint=hint)
    if not os.access(place, os.W_OK | os.X_OK):
        raise WorkspaceError(f"{what} {folder} cannot be written: {place} is not yours to write to", hint=hint)


def check_machine(run: ResolvedRun) -> None:
    """Refuse what this machine cannot do; starts nothing and imports nothing heavy.

    Raises:
        MissingPackageError: A library that exports is not installed.
        UnsupportedGpuError: A builder does not build for a GPU.
        EngineError: A builder cannot be used here.
        SpecError: Nothing would come of it that Triton can serve.
        ServerError: There is no Triton to verify with.
    """
    check_extra("export")
    variants = [variant for model in run.spec.models for variant in model.variants]
    builders = {builder for variant in variants for builder in _check_engines(variant, run.machine)}
    if builders == {"tensorrt-rtx"} and all(variant.runtime == "tensorrt" for variant in variants):
        raise nothing_servable()
    if run.is_verified and run.spec.verify.server_url is None:
        from prep_triton.triton.server.installation import describe_server

        describe_server()


def check_weights(run: ResolvedRun) -> None:
    """Refuse to publish random weights unless the request says so.

    Raises:
        SpecError: A model has random weights, and the run publishes.
    """
    names = [model.name or model.model for model in run.spec.models if model.weights == "random"]
    if run.store and names and not run.spec.allow_random:
        raise SpecError(
            f"{', '.join(names)}: random weights are for benchmarks, and this run publishes",
            hint="remove weights: random, or publish them: --allow-random (allow_random: true in the file)",
        )


def nothing_servable() -> SpecError:
    """Return the error of a config whose engines are all TensorRT-RTX ones."""
    return SpecError(
        "nothing that Triton can serve comes of this config: its only engines are TensorRT-RTX ones",
        hint="add a variant with runtime: onnxruntime, or build with builder: tensorrt on the target GPU",
    )


def _check_engines(variant: VariantSpec, machine: Machine) -> set[str]:
    """Check a variant's engines as far as that needs no graph; return the names of their builders."""
    if variant.runtime != "tensorrt":
        return set()
    from prep_triton.engine.builders import resolve_builder
    from prep_triton.engine.elsewhere import is_built_elsewhere
    from prep_triton.gpus import check_gpu_present, check_rtx_builds, resolve_gpu

    names = set()
    for spec in variant.engine_specs():
        gpu = resolve_gpu(spec.gpu, machine.gpus)
        if is_built_elsewhere(spec, machine):
            names.add("tensorrt")
            continue
        builder = resolve_builder(spec.builder, machine.problems)
        if builder.name == "tensorrt-rtx":
            check_rtx_builds(gpu, spec.precision)
        else:
            check_gpu_present(gpu, machine.gpus)
        names.add(builder.name)
    return names
