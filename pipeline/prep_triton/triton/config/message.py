"""config.pbtxt: from resolved choices and an artifact to Triton's own protobuf message, and to text.

What an artifact fixes (names, types, shapes, the largest batch) comes from the artifact; what is a
choice (queue, instances, threads, priority) from the `ResolvedServing`. The rules mirror the server's own
checks in triton-inference-server/core, `src/model_config_utils.cc`, so that what is written here loads.
The other parts of the message have files of their own beside this one.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from prep_triton.artifact import Engine, OnnxModel, TensorSpec
from prep_triton.errors import RepositoryError, SpecError
from prep_triton.layout import plan_name
from prep_triton.triton.config.backends import PLATFORMS
from prep_triton.triton.config.batching import fill_dynamic_batching
from prep_triton.triton.config.instances import fill_instances
from prep_triton.triton.config.openvino import fill_openvino_options
from prep_triton.triton.config.optimization import fill_onnxruntime_options, fill_shared_options, fill_tensorrt_options
from prep_triton.triton.config.resolve import ResolvedServing
from prep_triton.triton.config.warmup import fill_warmup

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig

BATCH_AXIS = "batch"


def model_config_from_artifact(
    name: str, artifact: OnnxModel | Sequence[Engine], resolved: ResolvedServing
) -> "ModelConfig":
    """Build the configuration of one repository entry.

    Args:
        name: The entry's directory name; Triton insists that both agree.
        artifact: The ONNX graph that ONNX Runtime or OpenVINO serves, or the TensorRT plans, one for each GPU
            architecture, that the TensorRT backend serves.
        resolved: The choices, resolved for that artifact.

    Returns:
        `inference.ModelConfig` of triton-inference-server/common, `protobuf/model_config.proto`.

    Raises:
        SpecError: A choice is one that the server would refuse, or does not fit its field.
        RepositoryError: The artifact has a tensor that Triton cannot serve.
    """
    from tritonclient.grpc import model_config_pb2

    config = model_config_pb2.ModelConfig(name=name)
    try:
        _fill(config, artifact, resolved)
    except (ValueError, OverflowError) as err:  # a number beyond the proto field's int32 or uint64
        raise SpecError(
            f"a serving value of {name} does not fit Triton's configuration: {err}",
            hint="make the value smaller: counts and sizes are 32-bit, delays and priority levels 64-bit",
        ) from err
    return config


def _fill(config: "ModelConfig", artifact: OnnxModel | Sequence[Engine], resolved: ResolvedServing) -> None:
    serving = resolved.choices
    config.backend = resolved.backend
    config.platform = PLATFORMS.get(resolved.backend, "")
    config.max_batch_size = resolved.max_batch_size
    fill_instances(config, artifact, serving, resolved.backend)
    if isinstance(artifact, OnnxModel):
        _fill_tensors(config, artifact.model_inputs, artifact.model_outputs)
        if resolved.backend == "openvino":
            fill_openvino_options(config, serving, resolved.precision)
        else:
            fill_onnxruntime_options(config, serving)
    else:
        _fill_tensors(config, artifact[0].model_inputs, artifact[0].model_outputs)
        for engine in artifact:
            config.cc_model_filenames[engine.compute_capability] = plan_name(engine.compute_capability)
        fill_tensorrt_options(config, artifact, serving)
    fill_dynamic_batching(config, serving)
    fill_shared_options(config, serving)
    fill_warmup(config, artifact, serving)


def render_config(config: "ModelConfig") -> str:
    """Render a configuration as the text of config.pbtxt."""
    from google.protobuf import text_format

    return str(text_format.MessageToString(config, use_short_repeated_primitives=True))


def _fill_tensors(config: "ModelConfig", inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> None:
    # Without a max_batch_size the batch is an axis like any other.
    batch = () if config.max_batch_size else (-1,)
    for repeated, tensors in ((config.input, inputs), (config.output, outputs)):
        for tensor in tensors:
            repeated.add(name=tensor.name, data_type=_data_type(tensor), dims=(*batch, *_dims(tensor)))


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
