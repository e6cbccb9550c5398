"""The generator, on a sender that answers as a test wants."""

import threading
from collections.abc import Callable

import numpy as np
import pytest
from prep_triton.bench.generator import (
    ClosedLoop,
    OpenLoop,
    Sample,
    Timing,
    measure_window,
    window_from_samples,
)
from prep_triton.errors import ServerError


class FakeSender:
    """Holds each request until `release`, or answers at once; counts how many are under way."""

    def __init__(self, *, is_held: bool = False, error: str | None = None) -> None:
        self.requests: list[bytes] = []
        self.most = 0
        self.error = error
        self.held: list[Callable[[str | None], None]] = []
        self.is_closed = threading.Event()
        self._is_held = is_held
        self._under_way = 0
        self._lock = threading.Lock()
        self._released = threading.Condition(self._lock)

    def infer(self, request: bytes) -> str | None:
        with self._lock:
            self.requests.append(request)
            self._under_way += 1
            self.most = max(self.most, self._under_way)
            self._released.wait_for(lambda: not self._is_held or self.is_closed.is_set(), timeout=0.002)
            self._under_way -= 1
        return self.error

    def start(self, request: bytes, finish: Callable[[str | None], None]) -> None:
        self.requests.append(request)
        if self._is_held and not self.is_closed.is_set():
            self.held.append(finish)
        else:
            finish(self.error)

    def close(self) -> None:
        self.is_closed.set()
        for finish in self.held:
            finish("cancelled")
        self.held.clear()


def timing(duration_s: float = 0.2, probe: Callable[[], object] = lambda: None) -> Timing:
    return Timing(0.05, duration_s, probe)


def test_a_closed_loop_keeps_its_number_under_way():
    sender = FakeSender(is_held=True)
    loop = ClosedLoop(sender, [b"a", b"b", b"c"], 3)
    looks = []
    span = measure_window(loop, sender, timing(), look=lambda: looks.append(len(loop.samples)))
    assert sender.most == 3
    assert len(looks) == 2
    window = window_from_samples(loop.samples, span, 0, None)
    assert 0 < len(window.latency_s) < len(loop.samples)
    assert len(sender.requests) == len(loop.samples)  # all that was sent has ended
    assert set(sender.requests) == {b"a", b"b", b"c"}


def test_an_open_loop_sends_each_request_of_its_schedule_once():
    sender = FakeSender()
    moments = np.linspace(0, 0.2, 40)
    loop = OpenLoop(sender, [b"a", b"b"], moments)
    span = measure_window(loop, sender, timing(), look=lambda: None)
    assert sender.requests == [b"a", b"b"] * 20
    intended = np.array([sample.intended_s for sample in loop.samples]) - (span[0] - 0.05)
    assert intended == pytest.approx(moments)
    assert all(sample.sent_s >= sample.intended_s for sample in loop.samples)


def test_latency_of_an_open_loop_counts_from_the_intended_moment():
    """A generator that was held up for 0.3 s does not hide it: coordinated omission."""
    samples = [Sample(1.0, 1.3, 1.31, None), Sample(1.1, 1.31, 1.32, None), Sample(2.5, 2.5, 2.6, None)]
    window = window_from_samples(samples, (1.0, 2.0), 0, offered=2)
    assert window.latency_s == pytest.approx([0.31, 0.22])
    assert window.lateness_s == pytest.approx([0.3, 0.21])
    assert window.unsent == 0


def test_what_was_not_sent_by_the_end_is_counted():
    window = window_from_samples([Sample(1.0, 1.0, 1.1, None)], (1.0, 2.0), 0, offered=50)
    assert window.unsent == 49
    assert window.sent == 1


def test_an_answer_that_comes_after_the_end_has_a_latency_and_adds_no_throughput():
    samples = [Sample(0.5, 0.5, 1.5, None), Sample(1.9, 1.9, 2.4, None)]
    window = window_from_samples(samples, (1.0, 2.0), 0, offered=1)
    assert window.latency_s == pytest.approx([0.5])
    assert window.completed_s == pytest.approx([0.5])  # of the one that the warm-up sent


def test_errors_have_no_latency_and_their_words_are_counted():
    samples = [Sample(1.1, 1.1, 1.2, "busy"), Sample(1.2, 1.2, 1.3, "busy"), Sample(1.3, 1.3, 1.4, None)]
    window = window_from_samples(samples, (1.0, 2.0), 0, None)
    assert window.error_messages == {"busy": 2}
    assert len(window.latency_s) == 1


def test_nothing_but_errors_has_the_server_looked_at():
    sender = FakeSender(error="gone")

    def probe() -> None:
        raise ServerError("no Triton answers", hint="see its log")

    loop = ClosedLoop(sender, [b"a"], 2)
    with pytest.raises(ServerError, match="no Triton answers"):
        measure_window(loop, sender, timing(duration_s=60.0, probe=probe), look=lambda: None)
    assert sender.is_closed.is_set()
    ended = len(sender.requests)
    assert len(loop.samples) == ended  # no thread goes on


@pytest.mark.parametrize("kind", ["closed", "open"])
def test_ctrl_c_waits_for_nothing(kind: str):
    sender = FakeSender(is_held=True)
    moments = np.array([0.0, 30.0])
    loop = ClosedLoop(sender, [b"a"], 1) if kind == "closed" else OpenLoop(sender, [b"a"], moments)

    def look() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure_window(loop, sender, timing(), look=look)
    assert sender.is_closed.is_set()
    assert len(loop.samples) == len(sender.requests)
