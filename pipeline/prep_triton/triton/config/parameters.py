"""Parameters that the backends read, and what each takes, as the backends' own sources have it."""

import re
from collections.abc import Mapping
from typing import Literal

from prep_triton.spec import Runtime

Kind = Literal["int", "size", "bool", "precision", "text", "hint", "streams", "yes", "switch"]
_INT = re.compile(r"[+-]?[0-9]{1,9}")
_SIZE = re.compile(r"[0-9]{1,18}")
# Words that are taken in any case.
_WORDS: dict[str, tuple[str, ...]] = {
    "bool": ("true", "on", "1", "false", "off", "0"),  # backend, src/backend_common.cc, ParseBoolValue
    "hint": ("latency", "throughput", "cumulative_throughput"),
    "streams": ("auto", "numa"),
    "yes": ("yes",),
    "switch": ("yes", "no"),
}
_PRECISIONS = ("FP32", "FP16", "BF16", "INT8")
_EXPECTED: dict[Kind, str] = {
    "int": "a whole number",
    "size": "a whole number from 0",
    "bool": "true or false",
    "precision": f"one of {', '.join(_PRECISIONS)}",
    "text": "any text",
    "hint": "LATENCY or THROUGHPUT",
    "streams": "a whole number, AUTO or NUMA",
    "yes": "YES; leave it out for no",
    "switch": "YES or NO",
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
    # openvino_backend, src/openvino.cc, ParseParameterHelper: its words in any case. A switch that is not YES is
    # off, so any other word but NO misleads.
    "openvino": {
        "PERFORMANCE_HINT": "hint",
        "NUM_STREAMS": "streams",
        "INFERENCE_NUM_THREADS": "size",
        "COMPILATION_NUM_THREADS": "size",
        "HINT_BF16": "yes",
        "SKIP_OV_DYNAMIC_BATCHSIZE": "switch",
        "ENABLE_BATCH_PADDING": "switch",
        "RESHAPE_IO_LAYERS": "switch",
        "CPU_EXTENSION_PATH": "text",
        "TARGET_DEVICE": "text",
    },
}


def is_of_kind(value: str, expected: tuple[str, ...] | Kind) -> bool:
    """Whether a parameter's text is one that the backend takes."""
    if isinstance(expected, tuple):
        return value in expected
    if expected in _WORDS:
        is_number = expected == "streams" and bool(_SIZE.fullmatch(value))
        return is_number or value.lower() in _WORDS[expected]
    if expected == "precision":
        return value in _PRECISIONS
    pattern = {"int": _INT, "size": _SIZE}.get(expected)
    return pattern is None or bool(pattern.fullmatch(value))


def describe_kind(expected: tuple[str, ...] | Kind) -> str:
    """Say what the backend takes."""
    return f"one of {', '.join(expected)}" if isinstance(expected, tuple) else _EXPECTED[expected]
