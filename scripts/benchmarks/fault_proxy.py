"""An HTTP proxy before a local GCS server that does what networks do, by a seed.

It answers 503, resets connections, stalls, cuts answers short, and flips a byte of a request's or an answer's body.
Half of the 503s and resets come after the server has done what it was asked: its answer is lost.
"""

import http.client
import random
import socket
import struct
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

FAULTS = ("unavailable", "lost", "reset", "reset-after", "stall", "cut", "damage-request", "damage-answer")
_KEPT_FROM_ANSWER = ("transfer-encoding", "connection", "content-length")


class FaultProxy(ThreadingHTTPServer):
    """Passes requests on to `upstream`; every one has the share `rate` of meeting a fault."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, upstream: str, seed: int, *, rate: float = 0.0, stall_s: float = 1.0) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream, self.stall_s = urlsplit(upstream), stall_s
        self._lock = threading.Lock()
        self.plan(seed, rate)

    @property
    def url(self) -> str:
        """What stands for the server's URL."""
        return f"http://127.0.0.1:{self.server_port}"

    def plan(self, seed: int, rate: float, kinds: tuple[str, ...] = FAULTS) -> None:
        """Begin again, with other faults."""
        with self._lock:
            self._random, self.rate, self.kinds = random.Random(seed), rate, kinds
            self.met: dict[str, int] = {}

    def choose(self) -> tuple[str | None, float]:
        """Return the next request's fault, or None, and a number in 0..1 that says where in its body."""
        with self._lock:
            fault = self._random.choice(self.kinds) if self._random.random() < self.rate else None
            if fault:
                self.met[fault] = self.met.get(fault, 0) + 1
            return fault, self._random.random()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that went away."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultProxy

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault, place = self.server.choose()
        if fault == "unavailable":
            self._answer(503, {}, b"unavailable")
            return
        if fault == "stall":
            time.sleep(self.server.stall_s)
        if fault in ("stall", "reset"):
            self._reset()
            return
        status, headers, answer = self._forward(_flip(body, place) if fault == "damage-request" else body)
        if fault == "reset-after":
            self._reset()
        elif fault == "lost":
            self._answer(503, {}, b"lost")
        elif fault == "cut" and answer:
            self._answer(status, headers, answer, cut=int(place * len(answer)))
        else:
            self._answer(status, headers, _flip(answer, place) if fault == "damage-answer" else answer)

    def _forward(self, body: bytes) -> tuple[int, Mapping[str, str], bytes]:
        upstream = self.server.upstream
        connection = http.client.HTTPConnection(upstream.hostname or "", upstream.port, timeout=60)
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
            headers["Host"] = upstream.netloc
            connection.request(self.command, self.path, body=body, headers=headers)
            answer = connection.getresponse()
            # An upload's session would otherwise go past the proxy.
            own = self.headers["Host"]
            answered = {name: value.replace(upstream.netloc, own) for name, value in answer.getheaders()}
            return answer.status, answered, answer.read()
        finally:
            connection.close()

    def _answer(self, status: int, headers: Mapping[str, str], body: bytes, *, cut: int | None = None) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in _KEPT_FROM_ANSWER:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body if cut is None else body[:cut])
        if cut is not None:
            self.wfile.flush()
            self._reset()

    def _reset(self) -> None:
        """Close so that the client hears "connection reset", not an end."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = _pass_on  # noqa: N815 - http.server's names

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
        """Say nothing."""


@contextmanager
def run_fault_proxy(upstream: str, seed: int = 0, *, rate: float = 0.0, stall_s: float = 1.0) -> Iterator[FaultProxy]:
    """Run the proxy while the block lasts."""
    proxy = FaultProxy(upstream, seed, rate=rate, stall_s=stall_s)
    thread = threading.Thread(target=proxy.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.shutdown()
        proxy.server_close()
        thread.join()


def _flip(body: bytes, place: float) -> bytes:
    if not body:
        return body
    where = int(place * len(body))
    return body[:where] + bytes([body[where] ^ 0x20]) + body[where + 1 :]
