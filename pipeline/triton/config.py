"""config.pbtxt: from a spec and an artifact to Triton's own protobuf message, to text, and back.

What an artifact fixes (names, types, shapes, the largest batch) comes from the artifact; what is a
choice (queue, instances, threads, priority) from the `ServingSpec`. The rules mirror the server's own
checks in triton-inference-server/core, `src/model_config_utils.cc`, so that what is written here loads.
"""

import difflib
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pipeline.artifact import Engine, OnnxModel, TensorSpec
from pipeline.errors import RepositoryError, SpecError
from pipeline.spec import ServingSpec

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig

CONFIG_NAME = "config.pbtxt"
DEFAULT_MAX_BATCH_SIZE = 16
BATCH_AXIS = "batch"

_UNKNOWN_FIELD = re.compile(r'(\d+):\d+ : .*Message type "([\w.]+)" has no field named "(\w+)"', re.DOTALL)
_LINE = re.compile(r"^(\d+):\d+ : ")


def model_config_from_artifact(
    name: str, artifact: OnnxModel | Sequence[Engine], serving: ServingSpec
) -> "ModelConfig":
    """Build the configuration of one repository entry.

    Args:
        name: The entry's directory name; Triton insists that both agree.
        artifact: The ONNX graph that ONNX Runtime serves, or the TensorRT plans, one for each GPU
            architecture, that the TensorRT backend serves.
        serving: The choices.

    Returns:
        `inference.ModelConfig` of triton-inference-server/common, `protobuf/model_config.proto`.

    Raises:
        SpecError: The choices do not fit the backend or the artifact.
        RepositoryError: The artifact cannot be served by Triton.
    """
    from tritonclient.grpc import model_config_pb2

    config = model_config_pb2.ModelConfig(name=name)
    try:
        if isinstance(artifact, OnnxModel):
            _fill_onnxruntime(config, artifact, serving)
        else:
            _fill_tensorrt(config, artifact, serving)
        _fill_dynamic_batching(config, serving)
    except (ValueError, OverflowError) as err:  # a number beyond the proto field's int32 or uint64
        raise SpecError(
            f"a serving value of {name} does not fit Triton's configuration: {err}",
            hint="make the value smaller: counts and sizes are 32-bit, delays and priority levels 64-bit",
        ) from err
    return config


def largest_batch_size(artifact: OnnxModel | Sequence[Engine], serving: ServingSpec) -> int:
    """Return the `max_batch_size` that the entry gets.

    A plan accepts no batch beyond its optimization profile, so an entry of several plans is as large
    as the smallest profile among them.

    Raises:
        SpecError: The spec asks for more than a profile allows.
    """
    if isinstance(artifact, OnnxModel):
        return serving.max_batch_size or DEFAULT_MAX_BATCH_SIZE
    size, gpu = min((profile.max[0], engine.gpu) for engine in artifact for profile in engine.profiles)
    if serving.max_batch_size and serving.max_batch_size > size:
        raise SpecError(
            f"max_batch_size {serving.max_batch_size} exceeds the batch of the {gpu} engine's profile, {size}",
            hint=f"lower max_batch_size to {size}, or build the engine with a larger --profile",
        )
    return serving.max_batch_size or size


def plan_name(engine: Engine) -> str:
    """Return the file name of an engine's plan within its version folder."""
    return f"model_sm{engine.compute_capability.replace('.', '')}.plan"


def render_config(config: "ModelConfig") -> str:
    """Render a configuration as the text of config.pbtxt."""
    from google.protobuf import text_format

    return str(text_format.MessageToString(config, use_short_repeated_primitives=True))


def parse_config(text: str, *, where: str = CONFIG_NAME) -> "ModelConfig":
    """Parse the text of a config.pbtxt.

    Args:
        text: The file's content.
        where: What to call it in a message.

    Raises:
        RepositoryError: The text is no model configuration; names the line and the nearest field.
    """
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    try:
        return text_format.Parse(text, model_config_pb2.ModelConfig())
    except (text_format.ParseError, UnicodeError) as err:
        raise _config_error_from_parse(str(err), where, model_config_pb2.DESCRIPTOR.pool) from err


def _config_error_from_parse(told: str, where: str, pool: Any) -> RepositoryError:
    unknown = _UNKNOWN_FIELD.search(told)
    if unknown:
        line, message_type, field = unknown.groups()
        known = sorted(pool.FindMessageTypeByName(message_type).fields_by_name)
        nearest = difflib.get_close_matches(field, known, n=1, cutoff=0.5)
        hint = f"did you mean '{nearest[0]}'?" if nearest else f"known fields: {', '.join(known)}"
        short = message_type.rpartition(".")[2]
        return RepositoryError(f"{where}, line {line}: {short} has no field '{field}'", hint=hint)
    at = _LINE.match(told)
    place = f"{where}, line {at[1]}" if at else where
    return RepositoryError(
        f"{place}: {_LINE.sub('', told)}", hint="write the file again with `prep assemble`, or correct that line"
    )


def _fill_onnxruntime(config: "ModelConfig", model: OnnxModel, serving: ServingSpec) -> None:
    if serving.stream_priority != "default":
        # A CUDA stream priority; onnxruntime_backend never reads optimization.priority.
        raise SpecError(
            f"stream_priority {serving.stream_priority} was asked for, but the ONNX Runtime backend never reads it",
            hint="remove stream_priority, or use dynamic_batching.priority_levels to rank requests",
        )
    config.platform, config.backend = "onnxruntime_onnx", "onnxruntime"
    config.max_batch_size = largest_batch_size(model, serving)
    _fill_tensors(config, model.model_inputs, model.model_outputs)
    config.instance_group.add(count=serving.instance_count, kind=f"KIND_{(serving.instance_kind or 'cpu').upper()}")
    if serving.threads:
        # onnxruntime_backend, README: "Model Config Options".
        config.parameters["intra_op_thread_count"].string_value = str(serving.threads)


def _fill_tensorrt(config: "ModelConfig", engines: Sequence[Engine], serving: ServingSpec) -> None:
    _check_plans(engines)
    if serving.instance_kind == "cpu":
        raise SpecError(
            "instance_kind cpu was asked for, but a TensorRT plan runs on a GPU only",
            hint="remove instance_kind, or use runtime: onnxruntime",
        )
    if serving.threads:
        raise SpecError(
            f"threads {serving.threads} was asked for, but only ONNX Runtime entries have threads",
            hint="remove threads, or use runtime: onnxruntime",
        )
    config.platform, config.backend = "tensorrt_plan", "tensorrt"
    config.max_batch_size = largest_batch_size(engines, serving)
    _fill_tensors(config, engines[0].model_inputs, engines[0].model_outputs)
    group = config.instance_group.add(count=serving.instance_count, kind="KIND_GPU")
    profile_count = min(len(engine.profiles) for engine in engines)
    if profile_count > 1:  # without a list the backend uses the first profile alone
        group.profile.extend(str(index) for index in range(profile_count))
    for engine in engines:
        config.cc_model_filenames[engine.compute_capability] = plan_name(engine)
    if serving.stream_priority != "default":
        config.optimization.priority = f"PRIORITY_{serving.stream_priority.upper()}"


def _check_plans(engines: Sequence[Engine]) -> None:
    if not engines:
        raise RepositoryError("a TensorRT entry has no engine", hint="build one with `prep build-engine`")
    for engine in engines:
        if engine.builder != "tensorrt":
            raise RepositoryError(
                f"the {engine.gpu} engine was built by {engine.builder} {engine.builder_version}: an RTX engine is "
                "never a plan, and no Triton backend loads it",
                hint=f"build it with --builder tensorrt on a machine with a {engine.gpu}, or use runtime: onnxruntime",
            )
    first = engines[0]
    for engine in engines[1:]:
        if (engine.model_inputs, engine.model_outputs) != (first.model_inputs, first.model_outputs):
            raise RepositoryError(
                f"the engines for {first.gpu} and {engine.gpu} have different inputs or outputs",
                hint="build both from the same ONNX model",
            )
    found = [engine.compute_capability for engine in engines]
    if len(set(found)) < len(found):
        raise RepositoryError(
            f"two engines are for the same compute capability: {', '.join(sorted(found))}",
            hint="keep one engine for each GPU architecture",
        )


def _fill_tensors(config: "ModelConfig", inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> None:
    for repeated, tensors in ((config.input, inputs), (config.output, outputs)):
        for tensor in tensors:
            repeated.add(name=tensor.name, data_type=_data_type(tensor), dims=_dims(tensor))


def _data_type(tensor: TensorSpec) -> int:
    from tritonclient.grpc import model_config_pb2

    known = model_config_pb2.DataType.keys()
    if f"TYPE_{tensor.dtype}" not in known:
        raise RepositoryError(
            f"tensor {tensor.name} has the type {tensor.dtype}, which Triton does not know",
            hint=f"types that Triton knows: {', '.join(sorted(name.removeprefix('TYPE_') for name in known))}",
        )
    return int(model_config_pb2.DataType.Value(f"TYPE_{tensor.dtype}"))


def _dims(tensor: TensorSpec) -> list[int]:
    # With max_batch_size >= 1 the server adds the batch axis itself (model_config.proto, max_batch_size),
    # and it refuses a tensor without any other.
    if len(tensor.shape) < 2 or tensor.shape[0] != BATCH_AXIS:
        raise RepositoryError(
            f"tensor {tensor.name} has the shape {list(tensor.shape)}; expected a leading '{BATCH_AXIS}' axis and "
            "at least one more",
            hint="export the model again with `prep export`",
        )
    return [size if isinstance(size, int) else -1 for size in tensor.shape[1:]]


def _fill_dynamic_batching(config: "ModelConfig", serving: ServingSpec) -> None:
    queue, largest = serving.dynamic_batching, config.max_batch_size
    if queue is None:
        return
    for size in queue.preferred_batch_sizes:
        if size > largest:
            raise SpecError(
                f"preferred batch size {size} exceeds max_batch_size {largest}",
                hint=f"keep preferred_batch_sizes within 1..{largest}",
            )
    if largest == 1 and not queue.priority_levels:
        return  # nothing to batch, and no queue to rank
    batching = config.dynamic_batching
    batching.max_queue_delay_microseconds = queue.max_queue_delay_us
    batching.preferred_batch_size.extend(queue.preferred_batch_sizes)
    if queue.priority_levels:
        batching.priority_levels = queue.priority_levels
        batching.default_priority_level = queue.default_priority_level
    batching.SetInParent()
