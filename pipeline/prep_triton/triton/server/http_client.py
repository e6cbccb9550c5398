"""What a load needs to know of a server, and sends to it, over HTTP."""

import http.client
import json
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

from prep_triton.errors import ServerError
from prep_triton.triton.server.client import TIMED_OUT, RefusedRequestError
from prep_triton.triton.server.http_connections import HttpConnections
from prep_triton.triton.server.http_load import describe_refusal, render_http_request, render_post
from prep_triton.triton.server.load import serialize_request
from prep_triton.triton.server.statistics import ModelStatistics, statistics_from_versions

if TYPE_CHECKING:
    import numpy as np
    from tritonclient.grpc.model_config_pb2 import ModelConfig

    Arrays = Mapping[str, np.ndarray[Any, Any]]


class RenderedRequests(dict[bytes, bytes]):
    """The HTTP request of each serialised one, made when it is first looked up."""

    def __init__(self, host: str) -> None:
        super().__init__()
        self._host = host

    def __missing__(self, request: bytes) -> bytes:
        return self.setdefault(request, render_http_request(request, self._host))


class HttpTritonClient:
    """Connections to one server; a context."""

    def __init__(self, address: str, *, timeout_s: float) -> None:
        self.address = address
        self.timeout_s = timeout_s
        self._connections = HttpConnections(address, timeout_s=timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, tb: TracebackType | None) -> None:
        self._connections.close()

    @cached_property
    def rendered(self) -> RenderedRequests:
        """Requests as they go to this server."""
        return RenderedRequests(self.address)

    def server_version(self) -> str:
        """Return the server's version.

        Raises:
            ServerError: Nothing that speaks Triton's HTTP protocol answers there.
        """
        metadata = self._read("", "/v2")
        if not isinstance(metadata, dict) or "version" not in metadata:
            raise self._error_of_address("it does not tell its version")
        return str(metadata["version"])

    def list_loaded(self) -> list[str]:
        """Return the names of the entries that the server serves now."""
        models = self._read("", "/v2/repository/index", post=True)
        return sorted({str(model["name"]) for model in models if model.get("state") == "READY"})

    def read_config(self, name: str) -> "ModelConfig":
        """Return the configuration by which the server serves an entry.

        Raises:
            RefusedRequestError: The server does not serve it.
        """
        from google.protobuf import json_format
        from tritonclient.grpc.model_config_pb2 import ModelConfig

        config = self._read(name, f"/v2/models/{quote(name, safe='')}/config")
        return json_format.ParseDict(config, ModelConfig(), ignore_unknown_fields=True)

    def read_statistics(self, name: str) -> ModelStatistics:
        """Return what an entry did since it was loaded.

        Raises:
            RefusedRequestError: The server does not serve it.
        """
        from google.protobuf import json_format
        from tritonclient.grpc.service_pb2 import ModelStatisticsResponse

        said = self._read(name, f"/v2/models/{quote(name, safe='')}/stats")
        message = json_format.ParseDict(said, ModelStatisticsResponse(), ignore_unknown_fields=True)
        return statistics_from_versions(message.model_stats)

    def infer(self, name: str, inputs: "Arrays", outputs: Sequence[str]) -> tuple[dict[str, Any], float]:
        """Send one request; return an array for each output, and the time it took in ms.

        Raises:
            RefusedRequestError: The server refused or failed the request.
            ServerError: Its answer is no tensors of these names.
        """
        started = time.perf_counter()
        request = render_http_request(serialize_request(name, inputs), self.address, outputs=outputs)
        body = self._exchange(name, request)
        elapsed_ms = (time.perf_counter() - started) * 1000
        try:
            return _arrays_from_answer(body, outputs), elapsed_ms
        except (ValueError, LookupError, TypeError) as err:
            raise ServerError(
                f"{name} at {self.address} answered tensors that cannot be read: {err}",
                hint="see which server answers there",
            ) from err

    def _read(self, name: str, path: str, *, post: bool = False) -> Any:
        request = f"GET {path} HTTP/1.1\r\nHost: {self.address}\r\n\r\n".encode()
        body = self._exchange(name, render_post(path, self.address, b"", {}) if post else request)
        try:
            return json.loads(body)
        except ValueError as err:
            raise self._error_of_address("its answer is not JSON") from err

    def _exchange(self, name: str, request: bytes) -> bytes:
        try:
            status, body = self._connections.exchange(request)
        except TimeoutError as err:
            if not name:
                raise self._error_of_address(f"{TIMED_OUT} {self.timeout_s:g} s") from err
            raise RefusedRequestError(name, f"{TIMED_OUT} {self.timeout_s:g} s") from err
        except (OSError, http.client.HTTPException) as err:
            raise self._error_of_address(str(getattr(err, "strerror", None) or err or type(err).__name__)) from err
        if status == http.client.OK:
            return body
        if not name:
            raise self._error_of_address(describe_refusal(status, body))
        raise RefusedRequestError(name, describe_refusal(status, body))

    def _error_of_address(self, said: str) -> ServerError:
        return ServerError(
            f"no Triton answers at {self.address}: {said}",
            hint="check that the server runs and that the port is its HTTP port (8000 unless it was changed)",
        )


def _arrays_from_answer(body: bytes, outputs: Sequence[str]) -> dict[str, Any]:
    """Return the tensors of an answer that has only those, as binary, in this order."""
    import numpy as np
    from tritonclient.utils import triton_to_np_dtype

    head, length = json.JSONDecoder().raw_decode(body.decode("latin-1"))
    arrays, place = {}, length
    for tensor in head["outputs"]:
        size = int(tensor["parameters"]["binary_data_size"])
        dtype = triton_to_np_dtype(tensor["datatype"])
        if dtype is None or tensor["datatype"] == "BYTES":
            raise ValueError(f"{tensor['name']} is of {tensor['datatype']}")
        array = np.frombuffer(body[place : place + size], dtype).reshape(tensor["shape"])
        arrays[str(tensor["name"])] = array
        place += size
    return {name: arrays[name] for name in outputs}
