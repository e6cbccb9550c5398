"""Requests over HTTP: what is sent, connections that are kept, and servers that refuse, hang or go away."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from prep_triton.errors import ServerError, SpecError
from prep_triton.triton.server.client import RefusedRequestError
from prep_triton.triton.server.http_client import HttpTritonClient, RenderedRequests
from prep_triton.triton.server.http_connections import http_address_from_url
from prep_triton.triton.server.http_load import MOST_CONNECTIONS, HttpLoadConnection, render_http_request
from prep_triton.triton.server.load import CANCELLED, OUT_OF_TIME, serialize_request

REQUEST = serialize_request("tiny é", {"input_ids": np.arange(6, dtype=np.int64).reshape(2, 3)}, priority=2)


class Answers(ThreadingHTTPServer):
    """Answers what a test wants, and counts connections."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status, self.body, self.closes = 200, b"x" * 100_000, False
        self.connections = 0
        self.received: list[tuple[str, dict[str, str], bytes]] = []
        self.is_held = threading.Event()
        self.is_released = threading.Event()
        self.is_released.set()

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of a client that went away, which is what some tests want."""

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: Answers

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        self.server.received.append((self.path, dict(self.headers), body))
        self.server.is_held.set()
        self.server.is_released.wait(10)
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(self.server.body)))
        if self.server.closes:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(self.server.body)

    do_GET = do_POST  # noqa: N815 - as http.server calls it

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def answers() -> Iterator[Answers]:
    server = Answers()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.is_released.set()
    server.shutdown()
    server.server_close()
    thread.join()


def connect(server: Answers, timeout_s: float = 10.0) -> HttpLoadConnection:
    return HttpLoadConnection(server.address, RenderedRequests(server.address), timeout_s=timeout_s)


def test_a_request_is_kserves_with_binary_tensors(answers: Answers):
    with connect(answers) as sender:
        assert sender.infer(REQUEST) is None
    ((path, headers, body),) = answers.received
    assert path == "/v2/models/tiny%20%C3%A9/infer"
    assert headers["Host"] == answers.address
    length = int(headers["Inference-Header-Content-Length"])
    assert json.loads(body[:length]) == {
        "inputs": [{"name": "input_ids", "shape": [2, 3], "datatype": "INT64", "parameters": {"binary_data_size": 48}}],
        "parameters": {"binary_data_output": True, "priority": 2},
    }
    assert np.frombuffer(body[length:], np.int64).tolist() == [0, 1, 2, 3, 4, 5]
    assert b'"outputs": [{"name": "a", ' in render_http_request(REQUEST, "host:1", outputs=["a"])


@pytest.mark.parametrize("closes", [False, True])
def test_connections_are_kept_unless_the_server_closes_them(answers: Answers, *, closes: bool):
    answers.closes = closes
    with connect(answers) as sender:
        assert [sender.infer(REQUEST) for _ in range(5)] == [None] * 5
    assert answers.connections == (5 if closes else 1)


def test_a_connection_that_was_closed_meanwhile_is_made_anew(answers: Answers):
    with connect(answers) as sender:
        assert sender.infer(REQUEST) is None
        (kept,) = sender._connections._kept
        kept.shutdown(2)
        assert sender.infer(REQUEST) is None
    assert answers.connections == 2


def test_a_refusal_is_said_in_the_servers_words(answers: Answers):
    answers.status, answers.body = 400, b'{"error": "unexpected shape\\n for input"}'
    with connect(answers) as sender:
        assert sender.infer(REQUEST) == "unexpected shape for input"
        answers.status, answers.body = 503, b"<html>"
        assert sender.infer(REQUEST) == "HTTP 503 Service Unavailable"


def test_a_server_that_hangs_is_out_of_time_and_one_that_is_gone_is_an_error(answers: Answers):
    answers.is_released.clear()
    with connect(answers, timeout_s=0.05) as sender:
        assert sender.infer(REQUEST) == OUT_OF_TIME
    gone = HttpLoadConnection("127.0.0.1:9", RenderedRequests(""), timeout_s=5)
    assert gone.infer(REQUEST) == "Connection refused"


def test_requests_are_under_way_at_once_and_closing_ends_them(answers: Answers):
    answers.is_released.clear()
    errors: list[str | None] = []
    ended = threading.Semaphore(0)

    def finish(error: str | None) -> None:
        errors.append(error)
        ended.release()

    sender = connect(answers)
    for _ in range(20):
        sender.start(REQUEST, finish)
    deadline = time.monotonic() + 10
    while len(answers.received) < 20 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(answers.received) == 20  # none waits for another's answer
    sender.close()
    assert all(ended.acquire(timeout=10) for _ in range(20))
    assert errors == [CANCELLED] * 20
    sender.start(REQUEST, finish)
    assert errors[20:] == [CANCELLED]


def test_workers_are_used_again(answers: Answers):
    ended = threading.Semaphore(0)
    with connect(answers) as sender:
        for _ in range(10):
            sender.start(REQUEST, lambda error: ended.release())
            assert ended.acquire(timeout=10)
            while not sender._idle:  # it is counted a moment after it has finished
                time.sleep(0.001)
        assert len(sender._workers) == 1
        assert sender._slots._value in (MOST_CONNECTIONS, MOST_CONNECTIONS - 1)


@pytest.mark.parametrize(
    ("url", "address"),
    [("localhost", "localhost:8000"), ("http://h:80/", "h:80"), ("[::1]:9", "[::1]:9"), ("h:8", "h:8")],
)
def test_an_address_is_a_host_and_a_port(url: str, address: str):
    assert http_address_from_url(url) == address


@pytest.mark.parametrize("url", ["https://h:443", "http://h/triton", "grpc://h:8001", ":8000", "h:x"])
def test_what_is_no_address_of_plain_http_is_refused(url: str):
    with pytest.raises(SpecError) as refused:
        http_address_from_url(url)
    assert refused.value.hint


def test_what_is_no_triton_is_said(answers: Answers):
    with HttpTritonClient(answers.address, timeout_s=5) as client:
        with pytest.raises(ServerError, match="its answer is not JSON"):
            client.server_version()
        answers.status, answers.body = 400, b'{"error": "no such model"}'
        with pytest.raises(RefusedRequestError, match="no such model"):
            client.read_config("a")
        answers.status, answers.body = 200, b'{"outputs": [{"name": "a"}]}'
        with pytest.raises(ServerError, match="tensors that cannot be read"):
            client.infer("a", {}, ["a"])
    with HttpTritonClient("127.0.0.1:9", timeout_s=5) as client, pytest.raises(ServerError, match="Connection refused"):
        client.list_loaded()
