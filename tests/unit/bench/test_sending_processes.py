"""A load from several processes: dealt out so that nothing of it changes, and ended whatever becomes of them."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from prep_triton.bench.generator import Timing, measure_window, window_from_samples
from prep_triton.bench.sending_processes import SendingProcesses, open_loops, split_share
from prep_triton.bench.sending_worker import Share
from prep_triton.errors import GeneratorError

REQUESTS = tuple(bytes([letter]) for letter in b"abcdefg")


class Echo(grpc.GenericRpcHandler):
    """Answers whatever it is sent, and keeps it."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []

    def service(self, handler_call_details: Any) -> Any:
        def answer(request: bytes, _context: Any) -> bytes:
            self.requests.append(request)
            return b""

        return grpc.unary_unary_rpc_method_handler(answer)


@pytest.fixture(scope="module")
def echo() -> Iterator[tuple[Echo, str]]:
    handler, server = Echo(), grpc.server(ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers([handler])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield handler, f"127.0.0.1:{port}"
    server.stop(None).wait()


def list_children() -> set[int]:
    return {int(pid) for pid in Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()}


@pytest.mark.parametrize("count", [1, 2, 3, 7, 64])
def test_all_together_send_what_one_would(count: int):
    moments = np.sort(np.random.default_rng(0).uniform(0, 1, 40))
    shares = split_share(count, Share("host:1", 5.0, REQUESTS, 0, moments))
    assert len(shares) == min(count, 40)
    sent = [
        (moment, share.requests[number % len(share.requests)])
        for share in shares
        for number, moment in enumerate(share.moments_s)  # type: ignore[arg-type]
    ]
    assert sorted(sent) == [(moment, REQUESTS[number % len(REQUESTS)]) for number, moment in enumerate(moments)]


@pytest.mark.parametrize(("count", "concurrency", "expected"), [(2, 5, [3, 2]), (4, 2, [1, 1]), (3, 3, [1, 1, 1])])
def test_requests_under_way_are_shared_out(count: int, concurrency: int, expected: list[int]):
    shares = split_share(count, Share("host:1", 5.0, REQUESTS, concurrency))
    assert [share.concurrency for share in shares] == expected


def test_a_load_from_two_processes_is_one_window(echo: tuple[Echo, str]):
    handler, address = echo
    moments, before = np.linspace(0, 0.4, 60), list_children()
    with SendingProcesses(2) as processes:
        with open_loops([Share(address, 30.0, REQUESTS, 0, moments)], processes) as (loop, sender, _):
            span = measure_window(loop, sender, Timing(0.1, 0.4, lambda: None), look=lambda: None)
        assert sorted(handler.requests) == sorted(REQUESTS[number % len(REQUESTS)] for number in range(60))
        began = span[0] - 0.1
        assert sorted(sample.intended_s - began for sample in loop.samples) == pytest.approx(moments)
        assert all(sample.error is None for sample in loop.samples)
        # The same processes take the next load: two streams at once, of which one is too small to be shared.
        shares = [Share(address, 30.0, REQUESTS, 1), Share(address, 30.0, REQUESTS, 0, moments)]
        with open_loops(shares, processes) as (loop, sender, streams):
            span = measure_window(loop, sender, Timing(0.1, 0.4, lambda: None), look=lambda: None)
        closed, opened = (stream.samples for stream in streams)
        assert window_from_samples(closed, span, 0, None).completed_s.size
        assert len(opened) == 60
        assert len(loop.samples) == len(closed) + len(opened)
        assert len(list_children() - before) >= 2
    assert len(list_children() - before) <= 1  # multiprocessing's own tracker of resources may stay


def test_a_process_that_dies_is_a_sentence(echo: tuple[Echo, str]):
    before = list_children()
    with SendingProcesses(2) as processes:
        victim = max(list_children() - before)

        def look() -> None:
            os.kill(victim, signal.SIGKILL)

        with (
            pytest.raises(GeneratorError, match="one of the processes that send the load died of signal 9"),
            open_loops([Share(echo[1], 30.0, REQUESTS, 2)], processes) as (loop, sender, _),
        ):
            measure_window(loop, sender, Timing(0.1, 60.0, lambda: None), look=look)
    assert list_children() == before


def test_ctrl_c_ends_all_at_once(echo: tuple[Echo, str]):
    before = list_children()

    def look() -> None:
        raise KeyboardInterrupt

    with (
        SendingProcesses(2) as processes,
        pytest.raises(KeyboardInterrupt),
        open_loops([Share(echo[1], 30.0, REQUESTS, 0, np.array([0.0, 3000.0]))], processes) as (loop, sender, _),
    ):
        measure_window(loop, sender, Timing(0.1, 60.0, lambda: None), look=look)
    assert list_children() == before


def test_nothing_that_is_heavy_is_imported_by_a_process_that_sends():
    script = "import sys, prep_triton.bench.sending_worker, grpc; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert not {"pydantic", "torch", "tritonclient", "yaml", "typer", "rich"} & set(loaded)
    assert {"grpc", "numpy"} <= set(loaded)
