"""A thin, typed face of Triton's gRPC client, with its errors translated."""

import struct
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from prep_triton.errors import ServerError, SpecError, VerifyError
from prep_triton.quoting import show_value
from prep_triton.triton.server.statistics import ModelStatistics, statistics_from_versions

if TYPE_CHECKING:
    import numpy as np
    from tritonclient.grpc.model_config_pb2 import ModelConfig

    Arrays = Mapping[str, np.ndarray[Any, Any]]

DEFAULT_GRPC_PORT = 8001
OUT_OF_TIME = "Deadline Exceeded"  # as gRPC says it
# How the message of a request that ran out of time begins, and what is to be done about it.
TIMED_OUT = "no answer within"
TIMEOUT_HINT = "allow more time with --timeout-s, or with verify.timeout_s in the pipeline file"


class RefusedRequestError(VerifyError):
    """The server refused or failed a request; `server_message` is what it said, in its own words."""

    def __init__(self, name: str, server_message: str) -> None:
        super().__init__(
            f"{name} did not answer a request: {server_message}", hint="read the server's log, or assemble it again"
        )
        self.server_message = server_message


def grpc_address_from_url(url: str) -> str:
    """Return ``host:port`` of a server's gRPC service.

    Args:
        url: ``host:port`` or ``host``, with or without ``http://`` or ``grpc://``.

    Raises:
        SpecError: It is not the address of a server.
    """
    try:
        parts = urlsplit(url if "://" in url else f"grpc://{url}")
        host, port = parts.hostname, parts.port or DEFAULT_GRPC_PORT
    except ValueError:
        host, port = None, 0
    if not host:
        raise SpecError(f"'{url}' is not the address of a server", hint="write --server HOST:PORT (gRPC, 8001)")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class TritonClient:
    """One gRPC connection to one server; a context."""

    def __init__(self, address: str, *, timeout_s: float) -> None:
        from tritonclient import grpc
        from tritonclient.utils import InferenceServerException

        self.address = address
        self.timeout_s = timeout_s
        self._grpc = grpc
        self._refused: type[Exception] = InferenceServerException
        self._client = grpc.InferenceServerClient(address)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, tb: TracebackType | None) -> None:
        self._client.close()

    def server_version(self) -> str:
        """Return the server's version.

        Raises:
            ServerError: Nothing that speaks Triton's gRPC protocol answers there.
        """
        try:
            return str(self._client.get_server_metadata(client_timeout=min(self.timeout_s, 10.0)).version)
        except self._refused as err:
            raise ServerError(
                f"no Triton answers at {self.address}: {err.message()}",  # type: ignore[attr-defined]
                hint="check that the server runs and that the port is its gRPC port (8001 unless it was changed)",
            ) from err

    def list_entries(self) -> list[str]:
        """Return the names of all entries in the server's repository, loaded or not."""
        return sorted({model.name for model in self._list_models()})

    def list_loaded(self) -> list[str]:
        """Return the names of the entries that the server serves now."""
        return sorted({model.name for model in self._list_models() if model.state == "READY"})

    def list_versions(self, name: str) -> tuple[int, ...]:
        """Return the versions of an entry that the server serves now."""
        served = [model for model in self._list_models() if model.name == name and model.state == "READY"]
        return tuple(sorted(int(model.version) for model in served if model.version.isdecimal()))

    def _list_models(self) -> Sequence[Any]:
        try:
            index = self._client.get_model_repository_index(client_timeout=self.timeout_s)
        except self._refused as err:
            raise ServerError(
                f"the server at {self.address} cannot list its repository: {err.message()}",  # type: ignore[attr-defined]
                hint="check that the repository can be reached from the server",
            ) from err
        models: Sequence[Any] = index.models
        return models

    def load_entry(self, name: str) -> str | None:
        """Have the server load an entry.

        Returns:
            None where it did, else why not, in the server's words.
        """
        try:
            self._client.load_model(name, client_timeout=self.timeout_s)
        except self._refused as err:
            return str(err.message())  # type: ignore[attr-defined]
        return None

    def is_loaded(self, name: str) -> bool:
        """Whether the server serves an entry now."""
        try:
            return bool(self._client.is_model_ready(name, client_timeout=self.timeout_s))
        except self._refused:
            return False

    def read_config(self, name: str) -> "ModelConfig":
        """Return the configuration by which the server serves an entry.

        Raises:
            RefusedRequestError: The server does not serve it.
        """
        call = partial(self._client.get_model_config, name, client_timeout=self.timeout_s)
        return self._translated(name, call).config

    def read_statistics(self, name: str) -> ModelStatistics:
        """Return what an entry did since it was loaded.

        Raises:
            RefusedRequestError: The server does not serve it.
        """
        call = partial(self._client.get_inference_statistics, name, client_timeout=self.timeout_s)
        return statistics_from_versions(self._translated(name, call).model_stats)

    def infer(
        self, name: str, inputs: "Arrays", outputs: Sequence[str], *, priority: int = 0
    ) -> tuple[dict[str, Any], float]:
        """Send one request.

        Args:
            name: The entry.
            inputs: One array for each input, shape [batch, ...].
            outputs: Which outputs to return.
            priority: The request's priority level, 1 is the highest; 0 takes the entry's default.

        Returns:
            One array for each output, shape [batch, ...], and the time it took in ms.

        Raises:
            RefusedRequestError: The server refused or failed the request.
            ServerError: Its answer is no tensors of these names.
        """
        started = time.perf_counter()
        request = self._request(inputs, outputs) | {"priority": priority}
        answer = self._translated(name, lambda: self._client.infer(name, **request))
        elapsed_ms = (time.perf_counter() - started) * 1000
        return self._arrays(name, answer, outputs), elapsed_ms

    def rank_classes(
        self, name: str, inputs: "Arrays", output: str, count: int, *, priority: int = 0
    ) -> tuple[list[tuple[int, str, float]], float]:
        """Send one request by Triton's classification extension, which names values by the output's label file.

        Returns:
            The `count` largest values with their indices and labels (the index where there is none), largest first,
            and the time it took in ms. Of several rows it is the first where the model has a batch axis; else the
            rows are one, and a label file names the values of the first of them.

        Raises:
            RefusedRequestError, ServerError: As `infer`.
        """
        requested = self._grpc.InferRequestedOutput(output, class_count=count)
        started = time.perf_counter()
        request = self._request(inputs, ()) | {"outputs": [requested], "priority": priority}
        answer = self._translated(name, lambda: self._client.infer(name, **request))
        elapsed_ms = (time.perf_counter() - started) * 1000
        rows = [text.decode().split(":", 2) for text in self._arrays(name, answer, [output])[output].ravel()[:count]]
        return [(int(row[1]), row[-1], float(row[0])) for row in rows], elapsed_ms

    def infer_at_once(self, name: str, requests: Sequence["Arrays"], outputs: Sequence[str]) -> list[dict[str, Any]]:
        """Send requests without waiting in between, so that the server may batch them; answers in order.

        Raises:
            RefusedRequestError: The server refused or failed a request.
            ServerError: An answer is no tensors of these names.
        """
        pending = [self._start(name, inputs, outputs) for inputs in requests]
        # gRPC ends each request after timeout_s itself; the extra seconds only bound a lost callback.
        answers = [self._translated(name, partial(future.result, self.timeout_s + 10)) for future in pending]
        return [self._arrays(name, answer, outputs) for answer in answers]

    def _arrays(self, name: str, answer: Any, outputs: Sequence[str]) -> dict[str, Any]:
        """Return an answer's tensors.

        Raises:
            ServerError: One is missing, or its bytes are not what its type and shape say.
        """
        arrays = {}
        for output in outputs:
            try:
                arrays[output] = _array_from_answer(answer, output)
            except (ValueError, TypeError, LookupError, MemoryError, OverflowError, struct.error) as err:
                raise ServerError(
                    f"{name} at {self.address} answered a {output} that cannot be read: {err}",
                    hint="see which server answers there: the tensor is not as its type and shape say",
                ) from err
        return arrays

    def _start(self, name: str, inputs: "Arrays", outputs: Sequence[str]) -> Future[Any]:
        future: Future[Any] = Future()

        def finish(result: Any, error: Exception | None) -> None:
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

        self._client.async_infer(name, callback=finish, **self._request(inputs, outputs))
        return future

    def _request(self, inputs: "Arrays", outputs: Sequence[str]) -> dict[str, Any]:
        from tritonclient.utils import np_to_triton_dtype

        tensors = []
        for key, array in inputs.items():
            tensor = self._grpc.InferInput(key, list(array.shape), np_to_triton_dtype(array.dtype))
            tensor.set_data_from_numpy(array)
            tensors.append(tensor)
        requested = [self._grpc.InferRequestedOutput(output) for output in outputs]
        return {"inputs": tensors, "outputs": requested, "client_timeout": self.timeout_s}

    def _translated(self, name: str, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except (self._refused, TimeoutError) as err:
            message = str(err.message()) if isinstance(err, self._refused) else OUT_OF_TIME  # type: ignore[attr-defined]
            if message == OUT_OF_TIME:
                raise RefusedRequestError(name, f"{TIMED_OUT} {self.timeout_s:g} s") from err
            raise RefusedRequestError(name, message) from err


def _array_from_answer(answer: Any, output: str) -> Any:
    from tritonclient.utils import triton_to_np_dtype

    tensor = answer.get_output(output)
    if tensor is None:
        raise LookupError("it is not in the answer")
    # as_numpy takes a type that it does not know for FP64, and a size of -1 for what is left.
    if triton_to_np_dtype(tensor.datatype) is None:
        raise ValueError(f"its type is {show_value(tensor.datatype)}")
    if any(size < 0 for size in tensor.shape):
        raise ValueError(f"its shape is {list(tensor.shape)}")
    array = answer.as_numpy(output)
    if array is None:
        raise ValueError("it has no bytes")
    return array
