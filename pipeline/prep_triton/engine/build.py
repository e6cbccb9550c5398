"""The engine stage: one serialized engine for one GPU architecture, and proof of its precision."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prep_triton.artifact import Engine, OnnxModel, PrecisionProof, TensorSpec
from prep_triton.engine.builders import ResolvedBuilder
from prep_triton.engine.child import run_worker
from prep_triton.engine.elsewhere import find_built_elsewhere, is_built_elsewhere
from prep_triton.engine.machine import Machine, detect_machine
from prep_triton.engine.proof import check_proof
from prep_triton.engine.request import (
    check_precision,
    describe_request,
    name_engine,
    render_request,
    resolve_engine_request,
)
from prep_triton.errors import EngineError
from prep_triton.gpus import Gpu, check_gpu_present
from prep_triton.layout import ENGINE_NAME, TIMING_CACHES_DIR, timing_cache_name
from prep_triton.progress import Progress, ignore_progress
from prep_triton.spec import EngineSpec
from prep_triton.workspace import Produced, Recipe, Workspace


def build_engine(
    model: OnnxModel,
    spec: EngineSpec,
    workspace: Workspace,
    machine: Machine | None = None,
    *,
    progress: Progress = ignore_progress,
) -> Produced[Engine]:
    """Build one engine, in a child process, and prove that it holds the precision that it is to have.

    The artifact is ``engine/<model>-<precision>-<trt|rtx>-sm<capability>``: GPUs of one architecture
    share an engine, and `gpu` is the name that it was first built for.

    Args:
        model: The ONNX graph, already in the precision of `spec`.
        spec: Precision, GPU, builder and shapes.
        workspace: Where the engine is kept.
        machine: What `detect_machine` says of this workspace, for a caller who builds several; looked up where None.
        progress: Hears about the build, with a fraction.

    Raises:
        SpecError: The precision is not that of the graph, or a profile exceeds the model.
        UnsupportedGpuError: The GPU is unknown, or this builder does not build for it.
        EngineError: No builder is usable, the build failed, or the engine does not hold its precision.
    """
    check_precision(model, spec)
    machine = machine or detect_machine(workspace)
    if is_built_elsewhere(spec, machine):
        return Produced(find_built_elsewhere(model, spec, workspace, machine), reused=True)
    gpu, builder = resolve_engine_request(model, spec, machine)
    recipe = Recipe(
        stage="engine",
        name=name_engine(model, spec, gpu, builder.name),
        spec=describe_request(model, spec, gpu, builder.name),
        inputs={"onnx": model.key},
        tools={builder.name: builder.version},
    )

    def make(folder: Path) -> Mapping[str, Any]:
        request = render_request(model, spec, gpu, builder) | {"engine_path": str(folder / ENGINE_NAME)}
        if builder.name == "tensorrt":
            check_gpu_present(gpu, machine.gpus)
            request["timing_cache_path"] = str(_prepare_timing_cache(workspace, gpu, builder))
        phase, began = f"building {recipe.name}", time.monotonic()
        progress(phase, 0.0)
        built = run_worker(request, on_progress=lambda fraction: progress(phase, fraction))
        progress(phase, 1.0)
        return {
            "builder": builder.name,
            "builder_version": builder.version,
            "gpu": spec.gpu,
            "compute_capability": gpu.compute_capability,
            "build_seconds": round(time.monotonic() - began, 3),
            **_describe_built(model, spec, built),
        }

    return workspace.produce(recipe, Engine, make)


def _describe_built(model: OnnxModel, spec: EngineSpec, built: Mapping[str, Any]) -> dict[str, Any]:
    """Check what the worker built against the graph and the request; return what the record says of it."""
    return {
        "precision": spec.precision,
        "profiles": spec.engine_profiles(model.usual_length),
        "model_inputs": match_tensors(built["inputs"], model.model_inputs, "input"),
        "model_outputs": match_tensors(built["outputs"], model.model_outputs, "output"),
        "overflow": model.overflow,
        "proof": check_proof(PrecisionProof(**built["proof"]), model, spec.precision),
    }


def _prepare_timing_cache(workspace: Workspace, gpu: Gpu, builder: ResolvedBuilder) -> Path:
    """Return the path of a timing cache whose folder is there: it holds for one TensorRT and one architecture."""
    path = workspace.root / TIMING_CACHES_DIR / timing_cache_name(builder.version, gpu.compute_capability)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def match_tensors(
    built: Sequence[Mapping[str, Any]], expected: Sequence[TensorSpec], role: str
) -> tuple[TensorSpec, ...]:
    """Check an engine's tensors against the graph's record and name their dynamic axes.

    Raises:
        EngineError: A name, a type or a fixed dimension differs.
    """
    known = {tensor.name: tensor for tensor in expected}
    if [tensor["name"] for tensor in built] != list(known) and {tensor["name"] for tensor in built} != set(known):
        raise EngineError(
            f"the engine's {role}s are {[tensor['name'] for tensor in built]}, the graph's record says {list(known)}",
            hint="export the model again: prep export MODEL",
        )
    matched = []
    for tensor in built:
        spec = known[tensor["name"]]
        shape_fits = len(tensor["shape"]) == len(spec.shape) and all(
            size == -1 or not isinstance(axis, int) or size == axis
            for size, axis in zip(tensor["shape"], spec.shape, strict=True)
        )
        if tensor["dtype"] != spec.dtype or not shape_fits:
            raise EngineError(
                f"{role} '{spec.name}' of the engine is {tensor['dtype']} {tensor['shape']}, "
                f"the graph's record says {spec.dtype} {list(spec.shape)}",
                hint="export the model again: prep export MODEL",
            )
        matched.append(spec)
    return tuple(matched)
