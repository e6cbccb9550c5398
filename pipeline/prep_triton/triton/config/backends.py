"""Which choices mean something to which backend, as the backends' own sources have it.

Asking for one that the backend never reads is refused: it would be written, accepted by the server, and do
nothing.
"""

from dataclasses import dataclass

from prep_triton.errors import SpecError, suggest
from prep_triton.spec import AcceleratorSpec, Runtime, ServingSpec
from prep_triton.triton.config.parameters import (
    MODEL_PARAMETERS,
    PROVIDER_PARAMETERS,
    describe_kind,
    is_of_kind,
)

# core, constants.h: what the server calls the models of each backend.
PLATFORMS: dict[Runtime, str] = {"tensorrt": "tensorrt_plan", "onnxruntime": "onnxruntime_onnx"}
BACKEND_LABELS: dict[Runtime, str] = {
    "tensorrt": "TensorRT",
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
}


@dataclass(frozen=True)
class FieldRule:
    """The backends that read a field, what it is there, and what to do on another backend.

    `optimization` is the field of `ModelOptimizationPolicy` (model_config.proto) that it becomes, if any.
    """

    backends: tuple[Runtime, ...]
    meaning: str
    instead: str
    optimization: str | None = None


# tensorrt_backend, src/tensorrt_model.cc and instance_state.cc; onnxruntime_backend, src/onnxruntime.cc;
# openvino_backend, src/openvino.cc, ParseParameters; common, protobuf/model_config.proto ("Currently only recognized
# by ...").
FIELD_RULES: dict[str, FieldRule] = {
    "stream_priority": FieldRule(
        ("tensorrt",),
        "a CUDA stream's priority",
        "rank requests with dynamic_batching.priority_levels, or models by tier",
        "priority",
    ),
    "cuda_graphs": FieldRule(
        ("tensorrt",),
        "the capture of its launches",
        "write trt_cuda_graph_enable into the parameters of execution_accelerators tensorrt",
        "cuda",
    ),
    "output_copy_stream": FieldRule(("tensorrt",), "a CUDA stream for its outputs", "use runtime: tensorrt", "cuda"),
    "eager_batching": FieldRule(("tensorrt",), "its two sets of buffers", "use runtime: tensorrt", "eager_batching"),
    "profiles": FieldRule(("tensorrt",), "the optimization profiles of a plan", "use runtime: tensorrt"),
    "threads": FieldRule(("onnxruntime", "openvino"), "the threads of a CPU", "use runtime: onnxruntime"),
    "inter_op_threads": FieldRule(("onnxruntime",), "its CPU threads", "use runtime: onnxruntime"),
    "graph_level": FieldRule(
        ("onnxruntime",),
        "its graph optimizer",
        "use optimization_level when the engine is built: a plan is optimized",
        "graph",
    ),
    "execution_accelerators": FieldRule(
        ("onnxruntime",),
        "its execution providers",
        "use runtime: onnxruntime, or nothing: a plan is TensorRT already",
        "execution_accelerators",
    ),
    "streams": FieldRule(("openvino",), "the executions that share its threads", "use instance_count"),
    "performance_hint": FieldRule(("openvino",), "how it chooses streams and threads", "use threads"),
}
# Which backend alone reads a field of `ModelOptimizationPolicy`; that of the buffers no spec has.
OPTIMIZATION_READERS: dict[str, Runtime] = {
    "gather_kernel_buffer_threshold": "tensorrt",
    **{rule.optimization: rule.backends[0] for rule in FIELD_RULES.values() if rule.optimization},
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
        if expected is not None and not is_of_kind(value, expected):
            raise SpecError(
                f"parameters.{name} is '{value}', which the {BACKEND_LABELS[backend]} backend "
                f"{'takes for NO' if expected == 'switch' else 'refuses'}",
                hint=f"it takes {describe_kind(expected)}",
            )


def check_field(name: str, value: object, backend: Runtime) -> None:
    """Refuse one field on a backend that does not read it."""
    rule = FIELD_RULES[name]
    if backend in rule.backends:
        return
    shown = str(value).lower() if isinstance(value, bool) else value
    if isinstance(value, tuple):
        shown = ", ".join(item.name if isinstance(item, AcceleratorSpec) else str(item) for item in value)
    raise SpecError(
        f"{name} {shown} was asked for, but it means nothing to the {BACKEND_LABELS[backend]} backend: "
        f"it is {' and '.join(BACKEND_LABELS[reader] for reader in rule.backends)}'s, for {rule.meaning}",
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
        if not is_of_kind(value, known[name]):
            raise SpecError(
                f"{where} is '{value}', which the backend refuses", hint=f"it takes {describe_kind(known[name])}"
            )
