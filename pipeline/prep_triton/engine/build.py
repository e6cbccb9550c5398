"""The engine stage: one serialized engine for one GPU architecture, and proof of its precision."""

import json
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prep_triton.artifact import Engine, OnnxModel, PrecisionProof, TensorSpec
from prep_triton.engine.builders import BuilderName, ResolvedBuilder, resolve_builder
from prep_triton.engine.child import run_worker
from prep_triton.engine.machine import Machine, detect_machine
from prep_triton.engine.options import check_options, plan_options
from prep_triton.engine.profile import check_profiles, largest_opt, shapes_from_profile
from prep_triton.engine.proof import check_proof
from prep_triton.errors import EngineError, SpecError
from prep_triton.gpus import Gpu, check_gpu_present, check_rtx_builds, resolve_gpu
from prep_triton.layout import ENGINE_NAME, GRAPH_NAME
from prep_triton.progress import Progress, ignore_progress
from prep_triton.spec import EngineSpec
from prep_triton.workspace import Produced, Recipe, Workspace

log = logging.getLogger(__name__)

# Part of the key: raise it when this stage gives another engine for the same request.
BUILD_VERSION = 2

_TAGS = {"tensorrt": "trt", "tensorrt-rtx": "rtx"}


def build_engine(
    model: OnnxModel,
    spec: EngineSpec,
    workspace: Workspace,
    machine: Machine | None = None,
    *,
    progress: Progress = ignore_progress,
) -> Produced[Engine]:
    """Build one engine, in a child process, and prove that it holds the precision asked for.

    The artifact is ``engine/<model>-<precision>-<trt|rtx>-sm<capability>``: GPUs of one architecture
    share an engine, and `gpu` is the name it was first asked for by.

    Args:
        model: The ONNX graph, already in the precision of `spec`.
        spec: Precision, GPU, builder and shapes.
        workspace: Where the engine is kept.
        machine: What `detect_machine` says of this workspace, for a caller who builds several; looked up where None.
        progress: Told about the build, with a fraction.

    Raises:
        SpecError: The precision is not that of the graph, or a profile exceeds the model.
        UnsupportedGpuError: The GPU is unknown, or this builder does not build for it.
        EngineError: No builder is usable, the build failed, or the engine is not what was asked for.
    """
    check_precision(model, spec)
    machine = machine or detect_machine(workspace)
    if is_built_elsewhere(spec, machine):
        return Produced(find_built_elsewhere(model, spec, workspace, machine), reused=True)
    gpu, builder = check_engine_request(model, spec, machine)
    recipe = Recipe(
        stage="engine",
        name=name_engine(model, spec, gpu, builder.name),
        spec=describe_request(spec, gpu, builder.name),
        inputs={"onnx": model.key},
        tools={builder.name: builder.version},
    )

    def make(folder: Path) -> Mapping[str, Any]:
        if builder.name == "tensorrt":
            check_gpu_present(gpu, machine.gpus)
        phase = f"building {recipe.name}"
        progress(phase, 0.0)
        started = time.monotonic()
        request = render_request(model, spec, gpu, builder) | {"engine_path": str(folder / ENGINE_NAME)}
        if builder.name == "tensorrt":
            cache = workspace.root / "timing-caches" / f"tensorrt-{builder.version}-{gpu.sm}.cache"
            cache.parent.mkdir(parents=True, exist_ok=True)
            request["timing_cache_path"] = str(cache)
        built = run_worker(request, on_progress=lambda fraction: progress(phase, fraction))
        progress(phase, 1.0)
        return {
            "builder": builder.name,
            "builder_version": builder.version,
            "precision": spec.precision,
            "gpu": spec.gpu,
            "compute_capability": gpu.compute_capability,
            "profiles": spec.engine_profiles(),
            "model_inputs": match_tensors(built["inputs"], model.model_inputs, "input"),
            "model_outputs": match_tensors(built["outputs"], model.model_outputs, "output"),
            "proof": check_proof(PrecisionProof(**built["proof"]), model, spec.precision),
            "build_seconds": round(time.monotonic() - started, 3),
        }

    return workspace.produce(recipe, Engine, make)


def name_engine(model: OnnxModel, spec: EngineSpec, gpu: Gpu, builder_name: BuilderName) -> str:
    """Return the artifact's name: ``minilm-fp16-trt-sm75``."""
    return f"{name_variant(model.name, spec.precision)}-{_TAGS[builder_name]}-{gpu.sm}"


def describe_request(spec: EngineSpec, gpu: Gpu, builder_name: BuilderName) -> dict[str, Any]:
    """Return the fields of a request that decide an engine's bytes, as JSON values."""
    return {
        "precision": spec.precision,
        "compute_capability": gpu.compute_capability,
        "builder": builder_name,
        "profiles": [str(profile) for profile in spec.engine_profiles()],
        **plan_options(spec),
        "build": BUILD_VERSION,
    }


def is_built_elsewhere(spec: EngineSpec, machine: Machine) -> bool:
    """Whether a machine cannot build a plan, and its workspace holds plans for that GPU from one that can.

    A plan is built on its own GPU, so a fleet of several is built on several machines; one of them, or one
    without a GPU, gathers their workspaces (copied into one folder) and ships them.
    """
    if spec.builder != "tensorrt":
        return False
    capability = resolve_gpu(spec.gpu, machine.gpus).compute_capability
    if machine.has_capability(capability) and machine.problems["tensorrt"] is None:
        return False
    return any(plan.compute_capability == capability for plan in machine.plans)


def find_built_elsewhere(model: OnnxModel, spec: EngineSpec, workspace: Workspace, machine: Machine) -> Engine:
    """Return the plan that another machine built for this very request.

    Raises:
        EngineError: The plan in the workspace is of another graph, or was built with other options.
    """
    gpu = resolve_gpu(spec.gpu, machine.gpus)
    name = name_engine(model, spec, gpu, "tensorrt")
    request = json.loads(json.dumps(describe_request(spec, gpu, "tensorrt")))  # as a manifest holds it

    def is_meant(plan: Engine) -> bool:
        return plan.inputs.get("onnx") == model.key and plan.spec == request

    plan = next((plan for plan in machine.plans if plan.name == name and is_meant(plan)), None)
    if plan is None:  # the name may have meant it before
        kept = workspace.list_kept("engine", name, Engine)
        plan = next(filter(is_meant, kept), None)
    if plan is None:
        problem = "is of another graph or of other options" if kept else "is missing"
        raise EngineError(
            f"{name} cannot be built here, and the one that was built elsewhere {problem} in {workspace.root}",
            hint=f"where there is a {gpu.name}: prep build-engine --{spec.precision} --gpu {gpu.name} --builder "
            "tensorrt, with the same config and the same versions; then copy its workspace here",
        )
    log.info("%s was built by TensorRT %s on another machine", name, plan.builder_version)
    return plan


def check_engine_request(model: OnnxModel, spec: EngineSpec, machine: Machine) -> tuple[Gpu, ResolvedBuilder]:
    """Refuse, before any work, what cannot be built; return the GPU and the builder that are meant.

    Args:
        model: The graph in any precision: only its sizes matter here.
        spec: GPU, builder, precision and shapes.
        machine: Where it would be built.

    Raises:
        SpecError: A profile exceeds the model, or an option means nothing to the builder or the GPU.
        UnsupportedGpuError: The GPU is unknown, or this builder does not build for it.
        EngineError: No builder is usable.
    """
    check_profiles(model, spec.engine_profiles())
    gpu = resolve_gpu(spec.gpu, machine.gpus)
    builder = resolve_builder(spec.builder, machine.problems)
    if builder.name == "tensorrt-rtx":
        check_rtx_builds(gpu, spec.precision)
    check_options(spec, gpu, builder.name)
    return gpu, builder


def check_precision(model: OnnxModel, spec: EngineSpec) -> None:
    """Refuse a precision that the graph does not have: a builder would quietly build the graph's own.

    Raises:
        SpecError: The precisions differ, or the graph was quantised for the CPU.
    """
    if spec.precision != model.precision:
        raise SpecError(
            f"an {spec.precision} engine was asked for, but the graph of {model.name} is {model.precision}; "
            "an engine takes its precision from the graph",
            hint=f"convert the graph first (`prep build-engine --{spec.precision}` does), or ask for --"
            + model.precision,
        )
    if model.quantization is not None and model.quantization.scheme == "dynamic W8A8":
        raise SpecError(
            f"the graph of {model.name} is quantised for ONNX Runtime on the CPU ({model.quantization.scheme}), "
            "expected explicit Q/DQ for an engine",
            hint="quantise the exported fp32 graph for TensorRT: prep build-engine --int8",
        )


def name_variant(model_name: str, precision: str) -> str:
    """Return ``<model>-<precision>``, without saying the precision twice."""
    return f"{model_name.removesuffix(f'-{precision}')}-{precision}"


def render_request(model: OnnxModel, spec: EngineSpec, gpu: Gpu, builder: ResolvedBuilder) -> dict[str, Any]:
    """Write what the worker must know, as JSON values (`prep_triton.engine.worker.Request`)."""
    profiles = spec.engine_profiles()
    return {
        "task": "build",
        "builder": builder.name,
        "onnx_path": str(model.path(GRAPH_NAME)),
        "compute_capability": gpu.compute_capability,
        "profiles": [shapes_from_profile(model.model_inputs, profile) for profile in profiles],
        "weigh_at": list(largest_opt(profiles)),
        **plan_options(spec),
        "timing_cache_path": None,
    }


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
            hint="export the model again: prep export",
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
                hint="export the model again: prep export",
            )
        matched.append(spec)
    return tuple(matched)
