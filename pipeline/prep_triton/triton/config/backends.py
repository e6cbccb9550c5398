"""Which choices mean something to which backend, as the backends' own sources have it.

Asking for one that the backend never reads is refused: it would be written, accepted by the server, and do
nothing.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from prep_triton.errors import SpecError, suggest
from prep_triton.spec import AcceleratorSpec, Runtime, ServingSpec

# core, constants.h: what the server calls the models of each backend.
PLATFORMS: dict[Runtime, str] = {"tensorrt": "tensorrt_plan", "onnxruntime": "onnxruntime_onnx"}
BACKEND_LABELS: dict[Runtime, str] = {"tensorrt": "TensorRT", "onnxruntime": "ONNX Runtime"}


@dataclass(frozen=True)
class FieldRule:
    """The one backend that reads a field, what it is there, and what to do on the other backend.

    `optimization` is the field of `ModelOptimizationPolicy` (model_config.proto) that it becomes, if any.
    """

    backend: Runtime
    meaning: str
    instead: str
    optimization: str | None = None


# tensorrt_backend, src/tensorrt_model.cc and instance_state.cc; onnxruntime_backend, src/onnxruntime.cc;
# common, protobuf/model_config.proto ("Currently only recognized by ...").
FIELD_RULES: dict[str, FieldRule] = {
    "stream_priority": FieldRule(
        "tensorrt",
        "a CUDA stream's priority",
        "rank requests with dynamic_batching.priority_levels, or models by tier",
        "priority",
    ),
    "cuda_graphs": FieldRule(
        "tensorrt",
        "the capture of its launches",
        "write trt_cuda_graph_enable into the parameters of execution_accelerators tensorrt",
        "cuda",
    ),
    "output_copy_stream": FieldRule("tensorrt", "a CUDA stream for its outputs", "use runtime: tensorrt", "cuda"),
    "eager_batching": FieldRule("tensorrt", "its two sets of buffers", "use runtime: tensorrt", "eager_batching"),
    "profiles": FieldRule("tensorrt", "the optimization profiles of a plan", "use runtime: tensorrt"),
    "threads": FieldRule("onnxruntime", "its CPU threads", "use runtime: onnxruntime"),
    "inter_op_threads": FieldRule("onnxruntime", "its CPU threads", "use runtime: onnxruntime"),
    "graph_level": FieldRule(
        "onnxruntime",
        "its graph optimizer",
        "use optimization_level when the engine is built: a plan is optimized",
        "graph",
    ),
    "execution_accelerators": FieldRule(
        "onnxruntime",
        "its execution providers",
        "use runtime: onnxruntime, or nothing: a plan is TensorRT already",
        "execution_accelerators",
    ),
}
# Which backend alone reads a field of `ModelOptimizationPolicy`; that of the buffers no spec has.
OPTIMIZATION_READERS: dict[str, Runtime] = {
    "gather_kernel_buffer_threshold": "tensorrt",
    **{rule.optimization: rule.backend for rule in FIELD_RULES.values() if rule.optimization},
}

Kind = Literal["int", "size", "bool", "precision", "text"]
_INT = re.compile(r"[+-]?[0-9]{1,9}")
_SIZE = re.compile(r"[0-9]{1,18}")
_BOOLS = ("true", "on", "1", "false", "off", "0")  # backend, src/backend_common.cc, ParseBoolValue
_PRECISIONS = ("FP32", "FP16", "BF16", "INT8")
_EXPECTED: dict[Kind, str] = {
    "int": "a whole number",
    "size": "a whole number from 0",
    "bool": "true or false",
    "precision": f"one of {', '.join(_PRECISIONS)}",
    "text": "any text",
}

# onnxruntime_backend, src/onnxruntime.cc, ModelState::LoadModel: it refuses every other parameter.
_TENSORRT_PROVIDER: dict[str, Kind] = {
    "precision_mode": "precision",
    "max_workspace_size_bytes": "size",
    **dict.fromkeys(
        (
            "trt_max_partition_iterations",
            "trt_min_subgraph_size",
            "trt_dla_core",
            "trt_builder_optimization_level",
            "trt_auxiliary_streams",
            "trt_ep_context_embed_mode",
        ),
        "int",
    ),
    **dict.fromkeys(
        (
            "int8_use_native_calibration_table",
            "trt_dla_enable",
            "trt_engine_cache_enable",
            "trt_dump_subgraphs",
            "trt_force_sequential_engine_build",
            "trt_context_memory_sharing_enable",
            "trt_layer_norm_fp32_fallback",
            "trt_timing_cache_enable",
            "trt_force_timing_cache",
            "trt_detailed_build_log",
            "trt_build_heuristics_enable",
            "trt_sparsity_enable",
            "trt_cuda_graph_enable",
            "trt_dump_ep_context_model",
        ),
        "bool",
    ),
    **dict.fromkeys(
        (
            "int8_calibration_table_name",
            "trt_engine_cache_path",
            "trt_engine_cache_prefix",
            "trt_timing_cache_path",
            "trt_tactic_sources",
            "trt_extra_plugin_lib_paths",
            "trt_profile_min_shapes",
            "trt_profile_max_shapes",
            "trt_profile_opt_shapes",
            "trt_ep_context_file_path",
        ),
        "text",
    ),
}
# onnxruntime, docs/execution-providers/CUDA-ExecutionProvider: the keys of its provider options, without those
# that the backend sets itself (device_id and the streams).
_CUDA_PROVIDER: dict[str, Kind] = {
    "gpu_mem_limit": "size",
    "arena_extend_strategy": "text",
    "cudnn_conv_algo_search": "text",
    "sdpa_kernel": "int",
    "tunable_op_max_tuning_duration_ms": "int",
    **dict.fromkeys(
        (
            "do_copy_in_default_stream",
            "use_ep_level_unified_stream",
            "cudnn_conv_use_max_workspace",
            "cudnn_conv1d_pad_to_nc1d",
            "enable_cuda_graph",
            "enable_skip_layer_norm_strict_mode",
            "tunable_op_enable",
            "tunable_op_tuning_enable",
            "prefer_nhwc",
            "use_tf32",
            "fuse_conv_bias",
        ),
        "bool",
    ),
}
PROVIDER_PARAMETERS: dict[str, Mapping[str, Kind]] = {
    "tensorrt": _TENSORRT_PROVIDER,
    "cuda": _CUDA_PROVIDER,
    "openvino": {},  # the backend takes the CPU device and reads no parameter
}
# The providers that each field of `ModelOptimizationPolicy.ExecutionAccelerators` takes (onnxruntime.cc, LoadModel).
PROVIDERS_OF_FIELD = {"gpu_execution_accelerator": ("tensorrt", "cuda"), "cpu_execution_accelerator": ("openvino",)}

# Parameters of the model that the backends read, and what they take; others are the user's own.
MODEL_PARAMETERS: dict[Runtime, Mapping[str, tuple[str, ...] | Kind]] = {
    "onnxruntime": {
        "intra_op_thread_count": "int",
        "inter_op_thread_count": "int",
        "execution_mode": ("0", "1"),
        "enable_mem_arena": "bool",
        "enable_mem_pattern": "bool",
        "cudnn_conv_algo_search": ("0", "1", "2"),
        "arena_extend_strategy": ("0", "1"),
        "gpu_mem_limit": "size",
    },
    "tensorrt": {"execution_context_allocation_strategy": ("STATIC", "ON_PROFILE_CHANGE")},
}


def check_backend_fields(serving: ServingSpec, backend: Runtime) -> None:
    """Refuse choices that the backend never reads, and parameters that it refuses.

    Raises:
        SpecError: Names the field, the backend and what to do instead.
    """
    for name in ServingSpec.model_fields:
        if name in FIELD_RULES and getattr(serving, name) != ServingSpec.model_fields[name].default:
            check_field(name, getattr(serving, name), backend)
    for group in serving.instance_groups:
        if group.profiles:
            check_field("profiles", group.profiles, backend)
    for accelerator in serving.execution_accelerators:
        check_accelerator(accelerator)
    for name, value in serving.parameters.items():
        expected = MODEL_PARAMETERS[backend].get(name)
        if expected is not None and not _is_of_kind(value, expected):
            raise SpecError(
                f"parameters.{name} is '{value}', which the {BACKEND_LABELS[backend]} backend refuses",
                hint=f"it takes {_describe(expected)}",
            )


def check_field(name: str, value: object, backend: Runtime) -> None:
    """Refuse one field on a backend that does not read it."""
    rule = FIELD_RULES[name]
    if rule.backend == backend:
        return
    shown = str(value).lower() if isinstance(value, bool) else value
    if isinstance(value, tuple):
        shown = ", ".join(item.name if isinstance(item, AcceleratorSpec) else str(item) for item in value)
    raise SpecError(
        f"{name} {shown} was asked for, but it means nothing to the {BACKEND_LABELS[backend]} backend: "
        f"it is {BACKEND_LABELS[rule.backend]}'s, for {rule.meaning}",
        hint=f"remove {name}, or {rule.instead}",
    )


def check_accelerator(accelerator: AcceleratorSpec) -> None:
    """Refuse a parameter that an execution provider does not take.

    Raises:
        SpecError: Names the parameter, and what the provider takes.
    """
    known = PROVIDER_PARAMETERS[accelerator.name]
    for name, value in accelerator.parameters.items():
        where = f"execution_accelerators {accelerator.name}: parameter {name}"
        if name not in known:
            takes = f"it takes {', '.join(sorted(known))}" if known else "it takes no parameters"
            raise SpecError(
                f"{where} is not known to the ONNX Runtime backend",
                hint=suggest(name, known, otherwise=takes),
            )
        if not _is_of_kind(value, known[name]):
            raise SpecError(
                f"{where} is '{value}', which the backend refuses", hint=f"it takes {_describe(known[name])}"
            )


def _is_of_kind(value: str, expected: tuple[str, ...] | Kind) -> bool:
    if isinstance(expected, tuple):
        return value in expected
    if expected == "bool":
        return value.lower() in _BOOLS
    if expected == "precision":
        return value in _PRECISIONS
    pattern = {"int": _INT, "size": _SIZE}.get(expected)
    return pattern is None or bool(pattern.fullmatch(value))


def _describe(expected: tuple[str, ...] | Kind) -> str:
    return f"one of {', '.join(expected)}" if isinstance(expected, tuple) else _EXPECTED[expected]
