"""Batch times: measured in one load of many shapes, and looked up between what was measured."""

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing

from prep_triton.bench.generator import ClosedLoop, Sender
from prep_triton.bench.tuning_records import BatchTimes
from prep_triton.errors import ServerError

# A shape that was sent once or twice says little; what takes long is sent less often than these seconds allow.
_FEWEST_ROUNDS = 3
_LONGEST_SHARE = 6.0
_SHORTEST_S = 1e-5
_LOOK_S = 0.05


class _TimingSender:
    """Passes requests on, and keeps what each of them took."""

    def __init__(self, sender: Sender) -> None:
        self.times_s: dict[bytes, list[float]] = defaultdict(list)
        self.error: str | None = None
        self._sender = sender

    def infer(self, request: bytes) -> str | None:
        """Send a request."""
        began = time.perf_counter()
        error = self._sender.infer(request)
        if error is None:
            self.times_s[request].append(time.perf_counter() - began)
        else:
            self.error = error
        return error

    def start(self, request: bytes, finish: Callable[[str | None], None]) -> None:
        """Send a request without waiting."""
        self._sender.start(request, finish)

    def close(self) -> None:
        """Cancel what is under way."""
        self._sender.close()


def time_requests(sender: Sender, requests: Sequence[bytes], concurrency: int, seconds: float) -> dict[bytes, float]:
    """Send different requests in turn, and return the median seconds of each.

    For `seconds`, after a round that warms up; longer where that is not enough for three rounds of all of them, up to
    six times as long.

    Raises:
        ServerError: One was never answered.
    """
    timing = _TimingSender(sender)
    loop = ClosedLoop(timing, requests, concurrency)
    with closing(timing):
        began = loop.start()
        try:
            while (passed := time.perf_counter() - began) < seconds * _LONGEST_SHARE:
                if timing.error:
                    break
                if passed >= seconds and len(loop.samples) >= len(requests) * (1 + _FEWEST_ROUNDS):
                    break
                time.sleep(_LOOK_S)
        except BaseException:
            timing.close()
            raise
        finally:
            loop.finish()
    missing = [request for request in requests if not timing.times_s[request]]
    if timing.error or missing:
        raise ServerError(
            f"a request to measure batch times was not answered: {timing.error or 'there was no time for it'}",
            hint="see with prep bench whether the entry answers, or measure longer with --duration-s",
        )
    return {request: statistics.median(times[1:] or times) for request, times in timing.times_s.items()}


def batch_seconds(times: BatchTimes, length: int, rows: int) -> float:
    """Return what a batch takes: linear between what was measured, and on beyond it."""
    columns = [_interpolate(times.batches, row, rows) for row in times.seconds]
    return max(_SHORTEST_S, _interpolate(times.lengths, columns, length)) * times.scale


def _interpolate(places: Sequence[int], values: Sequence[float], place: int) -> float:
    if len(places) == 1:
        return values[0]
    right = next((index for index, known in enumerate(places) if known >= place), len(places) - 1)
    right = max(1, right)
    low, high = places[right - 1], places[right]
    share = (place - low) / (high - low)
    return values[right - 1] + share * (values[right] - values[right - 1])


def contention_from_pair(alone: Mapping[bytes, float], together: Mapping[bytes, float], instances: int) -> list[float]:
    """Return the factor on a batch's time where 1, 2, ... instances are busy, from the times at 1 and at all."""
    ratio = statistics.median(together[request] / alone[request] for request in alone)
    return [1 + (max(1.0, ratio) - 1) * (busy - 1) / max(1, instances - 1) for busy in range(1, instances + 1)]
