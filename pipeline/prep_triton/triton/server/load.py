"""For load on a server: what an entry takes, requests serialised once, and calls that parse nothing."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from prep_triton.tasks import MASK_TOKEN, Task, find_task
from prep_triton.triton.server.batch_axis import has_batch_axis, row_dims
from prep_triton.triton.server.mask_token import find_mask_token
from prep_triton.triton.server.statistics import ModelStatistics

if TYPE_CHECKING:
    import numpy as np
    from tritonclient.grpc.model_config_pb2 import ModelConfig

    Arrays = Mapping[str, np.ndarray[Any, Any]]

_INFER = "/inference.GRPCInferenceService/ModelInfer"
# gRPC refuses answers above 4 MiB otherwise, which a batch of token vectors soon exceeds.
_UNLIMITED = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
# Else gRPC sends what several of them send through one connection, where a large answer holds up the others.
_OWN = [("grpc.use_local_subchannel_pool", 1)]
# A request that gRPC repeats by itself hides what a load is to show. Without that and its optional filters a call takes
# a tenth less.
_PLAIN = [("grpc.enable_retries", 0), ("grpc.minimal_stack", 1)]
LONGEST_DETAIL = 300
OUT_OF_TIME = "no answer in time"
CANCELLED = "cancelled"


class ServerClient(Protocol):
    """What a load needs to know of a server, over either protocol."""

    @property
    def address(self) -> str:
        """``host:port``."""

    def server_version(self) -> str:
        """Return the server's version."""

    def list_loaded(self) -> list[str]:
        """Return the names of the entries that the server serves now."""

    def read_config(self, name: str) -> "ModelConfig":
        """Return the configuration by which the server serves an entry."""

    def read_statistics(self, name: str) -> ModelStatistics:
        """Return what an entry did since it was loaded."""

    def infer(self, name: str, inputs: "Arrays", outputs: Sequence[str]) -> tuple[dict[str, Any], float]:
        """Send one request; return an array for each output, and the time it took in ms."""


@dataclass(frozen=True)
class InputTensor:
    """One input of an entry; `dtype` is the protocol's word (INT64, BYTES), `dims` are without the batch axis."""

    name: str
    dtype: str
    dims: tuple[int, ...]


@dataclass(frozen=True)
class ServedModel:
    """What a server says of an entry that it serves.

    `inputs` are those that a request must have. `steps` are the models that an ensemble calls, in order; `task` is
    known of text ensembles alone. `config_digest` is the SHA-256 of the configuration by which it is served.
    `priority_levels` are those of its queue, of an ensemble the most that a step has: it has no queue of its own.
    `mask_token` is what a text for fill-mask has.
    `has_batch` says whether the first axis of what is sent counts rows; `max_batch_size` may be 0 then, for any
    number.
    """

    name: str
    inputs: tuple[InputTensor, ...]
    max_batch_size: int
    steps: tuple[str, ...]
    task: Task | None
    config_digest: str
    priority_levels: int = 0
    has_batch: bool = True
    mask_token: str = MASK_TOKEN

    @property
    def takes_text(self) -> bool:
        """Whether every input is text."""
        return all(tensor.dtype == "BYTES" for tensor in self.inputs)

    @property
    def takes_ids(self) -> bool:
        """Whether it takes rows of token ids."""
        return any(tensor.name == "input_ids" for tensor in self.inputs)


def read_served_model(client: ServerClient, name: str) -> ServedModel:
    """Ask a server about an entry.

    Raises:
        RefusedRequestError: The server does not serve it.
    """
    config = client.read_config(name)
    steps = tuple(dict.fromkeys(step.model_name for step in config.ensemble_scheduling.step))
    configs = (config, *map(client.read_config, steps))
    return ServedModel(
        name=name,
        inputs=tuple(
            InputTensor(tensor.name, _wire_type(tensor), row_dims(config, tensor))
            for tensor in config.input
            if not tensor.optional
        ),
        max_batch_size=int(config.max_batch_size),
        has_batch=has_batch_axis(config),
        steps=steps,
        task=find_task([tensor.name for tensor in config.input], [tensor.name for tensor in config.output]),
        config_digest=hashlib.sha256(config.SerializeToString(deterministic=True)).hexdigest(),
        priority_levels=max(map(_levels_of, configs)),
        mask_token=find_mask_token(configs),
    )


def _levels_of(config: Any) -> int:
    return int(config.dynamic_batching.priority_levels)


def _wire_type(tensor: Any) -> str:
    values = tensor.DESCRIPTOR.fields_by_name["data_type"].enum_type.values_by_number
    name = str(values[tensor.data_type].name).removeprefix("TYPE_")
    return "BYTES" if name == "STRING" else name  # as the protocol calls it


def serialize_request(name: str, inputs: "Arrays", *, priority: int = 0) -> bytes:
    """Return a request for all outputs of an entry as it goes over the wire.

    Args:
        name: The entry.
        inputs: One array for each input, shape [batch, ...]; text as an object array of bytes.
        priority: Of the request, 1 is the highest; 0 leaves it to the entry.
    """
    from tritonclient.grpc import service_pb2
    from tritonclient.utils import np_to_triton_dtype, serialize_byte_tensor

    request = service_pb2.ModelInferRequest(model_name=name)
    if priority:
        request.parameters["priority"].uint64_param = priority
    for key, array in inputs.items():
        tensor = request.inputs.add()
        tensor.name = key
        tensor.datatype = np_to_triton_dtype(array.dtype)
        tensor.shape.extend(array.shape)
        is_text = tensor.datatype == "BYTES"
        request.raw_input_contents.append(serialize_byte_tensor(array).item() if is_text else array.tobytes())
    return bytes(request.SerializeToString(deterministic=True))


class LoadConnection:
    """One gRPC connection that sends serialised requests; a context. Leaving it cancels what is under way.

    An answer is not parsed: a refusal is gRPC's status.
    """

    def __init__(self, address: str, *, timeout_s: float) -> None:
        import grpc

        self._timeout_s = timeout_s
        self._grpc = grpc
        self._channel = grpc.insecure_channel(address, options=[*_UNLIMITED, *_OWN, *_PLAIN])
        self._call = self._channel.unary_unary(_INFER, request_serializer=bytes, response_deserializer=bytes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection, which cancels what is under way."""
        self._channel.close()

    def infer(self, request: bytes) -> str | None:
        """Send a request and wait for its answer; return why there is none, or None."""
        try:
            self._call(request, timeout=self._timeout_s)
        except self._grpc.RpcError as err:
            return self._describe(err)
        except ValueError:  # of a channel that was closed meanwhile
            return CANCELLED
        return None

    def start(self, request: bytes, finish: Callable[[str | None], None]) -> None:
        """Send a request; `finish` hears, on another thread, why there is no answer, or None."""
        try:
            future = self._call.future(request, timeout=self._timeout_s)
        except ValueError:
            finish(CANCELLED)
            return
        # A future that failed is its own exception.
        future.add_done_callback(lambda done: finish(None if done.code() is self._ok else self._describe(done)))

    @property
    def _ok(self) -> Any:
        return self._grpc.StatusCode.OK

    def _describe(self, err: Any) -> str:
        if err.code() is self._grpc.StatusCode.DEADLINE_EXCEEDED:
            return OUT_OF_TIME
        if err.code() is self._grpc.StatusCode.CANCELLED:
            return CANCELLED
        return " ".join(str(err.details() or err.code().name).split())[:LONGEST_DETAIL]


def list_parts(models: Sequence[ServedModel]) -> list[str]:
    """Return the names whose statistics tell what entries did: of an ensemble its steps, in order."""
    return list(dict.fromkeys(part for model in models for part in model.steps or (model.name,)))
