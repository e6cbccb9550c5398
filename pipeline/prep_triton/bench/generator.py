"""Sends requests: so many at a time (closed loop), or at given moments whatever becomes of them (open loop).

In an open loop a latency counts from the moment at which a request was meant to be sent: what waits behind a late
answer, or behind the generator itself, is not left out. A closed loop has a thread for each request under way, since
a blocking call costs the least; an open loop has one thread that sends and gRPC's own to take the answers.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from prep_triton.bench.intervals import Window

    Array = np.ndarray[Any, Any]

_SLICE_S = 0.1
# A server that refuses at once is not to be asked as fast as a processor can.
_AFTER_ERROR_S = 0.005


class Sender(Protocol):
    """Sends serialised requests; `prep_triton.triton.server.load.LoadConnection` is one."""

    def infer(self, request: bytes) -> str | None:
        """Send a request, and return why there is no answer, or None."""

    def start(self, request: bytes, finish: Callable[[str | None], None]) -> None:
        """Send a request; `finish` hears why there is no answer, or None."""

    def close(self) -> None:
        """Cancel what is under way."""


@dataclass(frozen=True)
class Sample:
    """One request: when it was meant to be sent, was sent and ended, in seconds of the clock, and what went wrong."""

    intended_s: float
    sent_s: float
    ended_s: float
    error: str | None


class Loop(Protocol):
    """Requests that are sent until it is told to finish; `samples` is what became of them until now."""

    @property
    def samples(self) -> Sequence[Sample]:
        """All that ended, of which what is new stands at the end."""

    def start(self) -> float:
        """Begin, and return when that was."""

    def finish(self) -> None:
        """Send no more, and wait for what is under way."""


class Closable(Protocol):
    """What holds connections."""

    def close(self) -> None:
        """Cancel what is under way."""


class ClosedLoop:
    """Keeps a number of requests under way."""

    def __init__(self, sender: Sender, requests: Sequence[bytes], concurrency: int) -> None:
        self.samples: list[Sample] = []
        self._sender = sender
        self._requests = requests
        self._numbers = count()
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(concurrency)]

    def start(self, at_s: float | None = None) -> float:
        """Begin, now or at a moment of the clock, and return when that was."""
        if at_s is not None:
            time.sleep(max(0.0, at_s - time.perf_counter()))
        began = time.perf_counter()
        for thread in self._threads:
            thread.start()
        return began

    def end(self) -> None:
        """Send no more."""
        self._ending.set()

    def finish(self) -> None:
        """Send no more, and wait for what is under way."""
        self.end()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while not self._ending.is_set():
            request = self._requests[next(self._numbers) % len(self._requests)]
            sent = time.perf_counter()
            error = self._sender.infer(request)
            self.samples.append(Sample(sent, sent, time.perf_counter(), error))
            if error is not None:
                self._ending.wait(_AFTER_ERROR_S)


class OpenLoop:
    """Sends at given moments, in seconds from the start."""

    def __init__(self, sender: Sender, requests: Sequence[bytes], moments_s: "Array") -> None:
        self.samples: list[Sample] = []
        self._sender = sender
        self._requests = requests
        self._moments_s = moments_s.tolist()
        self._ending = threading.Event()
        self._pending = threading.Semaphore(0)
        self._sent = 0
        self._began = 0.0
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self, at_s: float | None = None) -> float:
        """Begin, now or at a moment of the clock, and return when that was."""
        self._began = time.perf_counter() if at_s is None else at_s
        self._thread.start()
        return self._began

    def end(self) -> None:
        """Send no more."""
        self._ending.set()

    def finish(self) -> None:
        """Send no more, and wait for what is under way."""
        self.end()
        self._thread.join()
        for _ in range(self._sent):
            self._pending.acquire()

    def _run(self) -> None:
        for number, moment_s in enumerate(self._moments_s):
            intended = self._began + moment_s
            wait_s = intended - time.perf_counter()
            if wait_s > 0 and self._ending.wait(wait_s):
                return
            if self._ending.is_set():
                return
            self._send(self._requests[number % len(self._requests)], intended)

    def _send(self, request: bytes, intended_s: float) -> None:
        sent = time.perf_counter()

        def finish(error: str | None) -> None:
            self.samples.append(Sample(intended_s, sent, time.perf_counter(), error))
            self._pending.release()

        self._sent += 1
        self._sender.start(request, finish)


def measure_window(loop: Loop, sender: Closable, timing: "Timing", *, look: Callable[[], None]) -> tuple[float, float]:
    """Run a loop through its warm-up and its measured time; return when that began and ended.

    Args:
        loop: Is started here, and has ended at the end.
        sender: Is closed where this is interrupted, so that nothing is waited for.
        timing: How long.
        look: Is called at the beginning and at the end of the measured time.
    """
    with _ended(loop, sender):
        began = loop.start() + timing.warmup_s
        _sleep_until(began, loop, timing)
        look()
        _sleep_until(began + timing.duration_s, loop, timing)
        look()
    return began, began + timing.duration_s


@dataclass(frozen=True)
class Timing:
    """How long one repeat takes. `probe` is called where nothing but errors comes back, and raises if that is all."""

    warmup_s: float
    duration_s: float
    probe: Callable[[], object]


def _sleep_until(moment: float, loop: Loop, timing: Timing) -> None:
    seen = len(loop.samples)
    while (left := moment - time.perf_counter()) > 0:
        time.sleep(min(left, _SLICE_S))
        recent = loop.samples[seen:]
        if recent and all(sample.error for sample in recent):
            timing.probe()
        seen += len(recent)


@contextmanager
def _ended(loop: Loop, sender: Closable) -> Iterator[None]:
    try:
        yield
    except BaseException:
        sender.close()
        raise
    finally:
        loop.finish()


def window_from_samples(
    samples: Sequence[Sample], span: tuple[float, float], repeat: int, offered: int | None
) -> "Window":
    """Return what of the samples belongs to the measured time.

    Latencies of an open loop are of the requests that were meant to be sent in it, those of a closed loop of the
    requests that ended in it: else the slow ones, under way at an end, would be missed.

    Args:
        samples: All, those of the warm-up too.
        span: When the measured time began and ended.
        repeat: Its number.
        offered: How many requests an open loop was to send in it; None of a closed loop.
    """
    from prep_triton.bench.intervals import Window  # which a process that only sends does without

    began, ended = span

    def moment(sample: Sample) -> float:
        return sample.ended_s if offered is None else sample.intended_s

    own = [sample for sample in samples if began <= moment(sample) < ended]
    answered = [sample for sample in own if sample.error is None]
    return Window(
        repeat=repeat,
        seconds=ended - began,
        completed_s=np.array([s.ended_s - began for s in samples if s.error is None and began <= s.ended_s < ended]),
        moment_s=np.array([moment(sample) - began for sample in answered]),
        latency_s=np.array([sample.ended_s - sample.intended_s for sample in answered]),
        error_s=np.array([moment(sample) - began for sample in own if sample.error is not None]),
        lateness_s=np.array([sample.sent_s - sample.intended_s for sample in own]),
        sent=sum(began <= sample.sent_s < ended for sample in samples),
        unsent=0 if offered is None else max(0, offered - len(own)),
        error_messages=dict(Counter(sample.error for sample in own if sample.error is not None)),
    )
