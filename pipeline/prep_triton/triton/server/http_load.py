"""For load over HTTP: KServe's protocol, version 2, with its extension for binary tensors."""

import http.client
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from prep_triton.triton.server.http_connections import ConnectionsClosedError, HttpConnections
from prep_triton.triton.server.load import CANCELLED, LONGEST_DETAIL, OUT_OF_TIME

# HTTP/1.1 has a connection for each request under way. An open loop that needs more of them waits, and is late.
MOST_CONNECTIONS = 512
_LENGTH_HEADER = "Inference-Header-Content-Length"

Job = tuple[bytes, Callable[[str | None], None]]


def render_http_request(request: bytes, host: str, *, outputs: Sequence[str] = ()) -> bytes:
    """Return a serialised gRPC request as a whole HTTP request for the same tensors, whose answer is binary.

    Args:
        request: What `prep_triton.triton.server.load.serialize_request` returns.
        host: For the header of that name.
        outputs: Those to return; all where empty.
    """
    from tritonclient.grpc import service_pb2

    message = service_pb2.ModelInferRequest.FromString(request)
    parameters: dict[str, Any] = {"binary_data_output": True}
    if "priority" in message.parameters:
        parameters["priority"] = message.parameters["priority"].uint64_param
    inputs = [
        {
            "name": tensor.name,
            "shape": list(tensor.shape),
            "datatype": tensor.datatype,
            "parameters": {"binary_data_size": len(content)},
        }
        for tensor, content in zip(message.inputs, message.raw_input_contents, strict=True)
    ]
    asked: dict[str, Any] = {"inputs": inputs, "parameters": parameters}
    if outputs:
        asked["outputs"] = [{"name": name, "parameters": {"binary_data": True}} for name in outputs]
    head = json.dumps(asked).encode()
    body = b"".join([head, *message.raw_input_contents])
    path = f"/v2/models/{quote(message.model_name, safe='')}/infer"
    return render_post(path, host, body, {_LENGTH_HEADER: str(len(head)), "Content-Type": "application/octet-stream"})


def render_post(path: str, host: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    """Return a whole HTTP request."""
    lines = [f"POST {path} HTTP/1.1", f"Host: {host}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def describe_refusal(status: int, body: bytes) -> str:
    """Return what a server says of a request that it refused."""
    try:
        said = json.loads(body)["error"]
    except (ValueError, LookupError, TypeError):
        said = f"HTTP {status} {http.client.responses.get(status, '')}"
    return " ".join(str(said).split())[:LONGEST_DETAIL]


class HttpLoadConnection:
    """Sends serialised requests over connections that are kept alive; a context. Leaving it ends what is under way.

    An answer is read and not parsed, unless it is a refusal. `rendered` has the HTTP request of each serialised one.
    """

    def __init__(self, address: str, rendered: Mapping[bytes, bytes], *, timeout_s: float) -> None:
        self._connections = HttpConnections(address, timeout_s=timeout_s)
        self._rendered = rendered
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._slots = threading.Semaphore(MOST_CONNECTIONS)
        self._lock = threading.Lock()
        self._workers: list[threading.Thread] = []
        self._idle = 0
        self._is_closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections, which ends what is under way."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            for _ in self._workers:
                self._jobs.put(None)
        self._connections.close()

    def infer(self, request: bytes) -> str | None:
        """Send a request and wait for its answer; return why there is none, or None."""
        try:
            status, body = self._connections.exchange(self._rendered[request])
        except ConnectionsClosedError:
            return CANCELLED
        except TimeoutError:
            return OUT_OF_TIME
        except (OSError, http.client.HTTPException) as err:
            return " ".join(str(getattr(err, "strerror", None) or err).split())[:LONGEST_DETAIL]
        return None if status == http.client.OK else describe_refusal(status, body)

    def start(self, request: bytes, finish: Callable[[str | None], None]) -> None:
        """Send a request on a thread of its own; `finish` hears there why there is no answer, or None.

        Waits where all `MOST_CONNECTIONS` are in use.
        """
        self._slots.acquire()
        with self._lock:
            if not self._is_closed:
                self._jobs.put((request, finish))
                if self._idle:
                    self._idle -= 1
                else:
                    worker = threading.Thread(target=self._work, daemon=True)
                    self._workers.append(worker)
                    worker.start()
                return
        self._slots.release()
        finish(CANCELLED)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            request, finish = job
            error = self.infer(request)
            finish(error)
            with self._lock:
                self._idle += 1
            self._slots.release()
