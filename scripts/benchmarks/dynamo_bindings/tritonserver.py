"""Triton's in-process Python bindings, as much of them as Dynamo's worker calls, over gRPC to a running server.

NVIDIA ships the bindings inside its image alone; this takes their place in front of the same server, so that Dynamo's
own worker and HTTP front can be run without a GPU. Label files are read from the repository, as the core does.
"""

import asyncio
import enum
import os
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from google.protobuf import json_format
from tritonclient import grpc

# The server to call, HOST:PORT.
ADDRESS = "TRITON_GRPC"

LogFormat = enum.Enum("LogFormat", ["DEFAULT"])
RateLimitMode = enum.Enum("RateLimitMode", ["OFF"])
MemoryType = enum.Enum("MemoryType", ["CPU"])
DataType = enum.Enum("DataType", ["FP32"])


class TritonError(Exception):
    """What the worker catches."""


class MemoryBuffer:
    """Named in the worker's signatures alone."""


class Tensor:
    """Named in the worker's signatures alone."""


class _Output:
    """An output as the worker reads it: through DLPack, with its labels behind `memory_buffer.owner`."""

    def __init__(self, array: Any, labels: list[str]) -> None:
        self._array, self._labels = array, labels
        self.memory_buffer = SimpleNamespace(owner=self)

    def output_classification_label(self, _: int, index: int) -> str:
        """Return a value's label, empty where it has none."""
        return self._labels[index] if index < len(self._labels) else ""

    def __dlpack__(self, **options: Any) -> Any:
        return self._array.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self._array.__dlpack_device__()


class Model:
    """One loaded model."""

    def __init__(self, client: Any, name: str, folder: Path) -> None:
        self.name, self._client = name, client
        self._config = client.get_model_config(name).config
        self._labels = {
            output.name: (folder / output.label_filename).read_text().splitlines() if output.label_filename else []
            for output in self._config.output
        }

    def config(self) -> Any:
        """Return its configuration, as the bindings do: a dictionary by the protobuf's field names."""
        return json_format.MessageToDict(self._config, preserving_proto_field_name=True)

    def ready(self) -> bool:
        """Whether it answers."""
        return bool(self._client.is_model_ready(self.name))

    def create_request(self) -> SimpleNamespace:
        """Return a request without inputs."""
        return SimpleNamespace(inputs={})

    async def async_infer(self, request: SimpleNamespace) -> AsyncIterator[SimpleNamespace]:
        """Yield the one response."""
        yield await asyncio.to_thread(self._infer, request)

    def _infer(self, request: SimpleNamespace) -> SimpleNamespace:
        tensors = []
        for name, array in request.inputs.items():
            tensors.append(grpc.InferInput(name, list(array.shape), "BYTES"))
            tensors[-1].set_data_from_numpy(array)
        answer = self._client.infer(self.name, tensors)
        # The copy: DLPack takes no array that is read-only.
        outputs = {name: _Output(answer.as_numpy(name).copy(), labels) for name, labels in self._labels.items()}
        return SimpleNamespace(outputs=outputs)


class Server:
    """The server, which runs already."""

    def __init__(self, model_repository: str, **_: Any) -> None:
        self._repository = Path(model_repository)
        self._client = grpc.InferenceServerClient(os.environ[ADDRESS])

    def start(self, *, wait_until_ready: bool = True) -> None:
        """Do nothing: it was started."""

    def stop(self) -> None:
        """Do nothing: who started it ends it."""

    def ready(self) -> bool:
        """Whether it answers."""
        return bool(self._client.is_server_ready())

    def metrics(self) -> str:
        """Return nothing: Triton has an endpoint of its own for them."""
        return ""

    def models(self, **_: bool) -> dict[tuple[str, int], dict[str, str]]:
        """Return the models that are ready."""
        models = self._client.get_model_repository_index().models
        return {(model.name, 1): {} for model in models if model.state == "READY"}

    def model(self, name: str) -> Model:
        """Return a model by its name."""
        return Model(self._client, name, self._repository / name)
