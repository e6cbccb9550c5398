"""What Triton's OpenVINO backend makes of serving choices (openvino_backend, ``src/openvino.cc``).

Without a `max_batch_size` a request has any batch and any length, and is executed by itself; the server merges nothing.
With one the backend makes the batch static (`ov::set_batch`), and neither of what it then offers works for an encoder:

- without ENABLE_BATCH_PADDING it refuses whatever is not one request of just that many rows, also several that the
  dynamic batcher merged: `ProcessRequests` compares after each of them;
- with it, it copies a smaller request into the tensor that OpenVINO allocated (`SetInputTensors`), which has no room
  where the length is open: "unexpected total byte size 128 for input 'input_ids', expecting 0". And a full batch after
  a padded one is answered with the other's number of rows (openvino_backend#115).

So prep writes no `max_batch_size` for it.
"""

from typing import TYPE_CHECKING

from prep_triton.errors import SpecError
from prep_triton.layout import GRAPH_NAME
from prep_triton.spec import Precision, ServingSpec
from prep_triton.triton.config.batching import MERGING_CHOICES

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig

_YES = "YES"


def resolve_openvino_choices(serving: ServingSpec) -> ServingSpec:
    """Return the choices with those of the backend where the user made none: no queue that waits, no padding.

    Raises:
        SpecError: Requests are to be merged, or to have a largest batch.
    """
    if serving.max_batch_size is not None:
        raise SpecError(
            f"max_batch_size {serving.max_batch_size} was asked for, but with one Triton's OpenVINO backend takes "
            f"requests of exactly {serving.max_batch_size} rows alone: its padding fails where the length is open",
            hint="remove max_batch_size: a request may have any number of rows without it",
        )
    changed: dict[str, object] = {}
    queue = serving.dynamic_batching
    if queue is not None and "dynamic_batching" not in serving.model_fields_set:
        changed["dynamic_batching"] = None
    elif queue is not None and (named := [key for key in MERGING_CHOICES if key in queue.model_fields_set]):
        raise SpecError(
            f"{named[0]} was asked for, but requests to Triton's OpenVINO backend are not merged",
            hint=f"remove {named[0]}, or use runtime: onnxruntime",
        )
    if "padding" not in serving.model_fields_set and not serving.length_buckets:
        changed["padding"] = "longest"
    return serving.model_copy(update=changed)


def fill_openvino_options(config: "ModelConfig", serving: ServingSpec, precision: Precision) -> None:
    """Write the file to load, and the parameters that the typed choices become.

    Raises:
        SpecError: A parameter is given twice, with two values.
    """
    config.default_model_filename = GRAPH_NAME
    for name, value in _parameters_of(serving, precision).items():
        if serving.parameters.get(name, value).lower() != value.lower():
            raise SpecError(
                f"parameters.{name} is '{serving.parameters[name]}', but the other choices make it '{value}'",
                hint=f"remove parameters.{name}",
            )
        config.parameters[name].string_value = value


def _parameters_of(serving: ServingSpec, precision: Precision) -> dict[str, str]:
    parameters = {}
    # Each instance has a request of its own, but those of one stream are executed one after the other.
    instances = sum(group.count for group in serving.groups())
    if serving.streams or (instances > 1 and serving.performance_hint is None):
        parameters["NUM_STREAMS"] = str(serving.streams or instances)
    if serving.threads:
        # Of all streams together; `threads` is of an instance.
        parameters["INFERENCE_NUM_THREADS"] = str(serving.threads * instances)
    if serving.performance_hint:
        parameters["PERFORMANCE_HINT"] = serving.performance_hint.upper()
    if precision == "bf16":
        parameters["HINT_BF16"] = _YES
    return parameters
