"""What an engine is asked to be: its name, the fields that decide its bytes, and what is refused before any work."""

from typing import Any

from prep_triton.artifact import OnnxModel
from prep_triton.engine.builders import BuilderName, ResolvedBuilder, resolve_builder
from prep_triton.engine.machine import Machine
from prep_triton.engine.options import check_options, plan_options
from prep_triton.engine.profile import check_profiles, largest_opt, shapes_from_profile
from prep_triton.errors import SpecError
from prep_triton.gpus import Gpu, check_rtx_builds, resolve_gpu
from prep_triton.layout import GRAPH_NAME
from prep_triton.spec import EngineSpec, flags_from_precision

# Part of the key: raise it when this stage gives another engine for the same request.
BUILD_VERSION = 2

_TAGS = {"tensorrt": "trt", "tensorrt-rtx": "rtx"}


def name_engine(model: OnnxModel, spec: EngineSpec, gpu: Gpu, builder_name: BuilderName) -> str:
    """Return the artifact's name: ``minilm-fp16-trt-sm75``."""
    return f"{name_variant(model.name, spec.precision)}{_suffix(gpu, builder_name)}"


def is_plan_name(name: str, gpu: Gpu) -> bool:
    """Whether an engine's name is that of a plan for a GPU's architecture."""
    return name.endswith(_suffix(gpu, "tensorrt"))


def _suffix(gpu: Gpu, builder_name: BuilderName) -> str:
    return f"-{_TAGS[builder_name]}-{gpu.sm}"


def name_variant(model_name: str, precision: str) -> str:
    """Return ``<model>-<precision>``, without saying the precision twice."""
    return f"{model_name.removesuffix(f'-{precision}')}-{precision}"


def describe_request(model: OnnxModel, spec: EngineSpec, gpu: Gpu, builder_name: BuilderName) -> dict[str, Any]:
    """Return the fields of a request that decide an engine's bytes, as JSON values."""
    return {
        "precision": spec.precision,
        "compute_capability": gpu.compute_capability,
        "builder": builder_name,
        "profiles": [str(profile) for profile in spec.engine_profiles(model.usual_length)],
        **plan_options(spec),
        "build": BUILD_VERSION,
    }


def resolve_engine_request(model: OnnxModel, spec: EngineSpec, machine: Machine) -> tuple[Gpu, ResolvedBuilder]:
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
    check_profiles(model, spec.engine_profiles(model.usual_length))
    gpu = resolve_gpu(spec.gpu, machine.gpus)
    builder = resolve_builder(spec.builder, machine.problems)
    if builder.name == "tensorrt-rtx":
        check_rtx_builds(gpu, spec.precision)
    check_options(spec, gpu, builder.name)
    return gpu, builder


def check_precision(model: OnnxModel, spec: EngineSpec) -> None:
    """Refuse a precision that the graph does not have: a builder would quietly build the graph's own.

    Raises:
        SpecError: The precisions differ, or the graph was quantised for a CPU.
    """
    if spec.precision != model.precision:
        raise SpecError(
            f"the graph of {model.name} is {model.precision}, and an engine takes its precision from the graph; "
            f"expected {spec.precision}",
            hint=f"convert the graph first (`prep build-engine {flags_from_precision(spec.precision)}` does), or build "
            f"--{model.precision}",
        )
    if model.quantization is not None and model.quantization.runtime != "tensorrt":
        raise SpecError(
            f"the graph of {model.name} is quantised for {model.quantization.runtime} "
            f"({model.quantization.scheme}), expected explicit Q/DQ for tensorrt",
            hint=f"quantise the exported fp32 graph for TensorRT: prep build-engine {flags_from_precision('int8')}",
        )


def render_request(model: OnnxModel, spec: EngineSpec, gpu: Gpu, builder: ResolvedBuilder) -> dict[str, Any]:
    """Render what the worker must know, as JSON values (`prep_triton.engine.worker.Request`)."""
    profiles = spec.engine_profiles(model.usual_length)
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
