"""Triton's dynamic batcher as a simulation of its events: what a configuration would do under a load.

Requests wait in one queue. An instance that is free takes those at its head that have the same shape, up to the largest
batch; a request of another shape ends the batch, as it does in the server (core, dynamic_batch_scheduler.cc). Where
nothing else waits, a batch below the largest, or below a preferred size, waits for others until the delay of its oldest
request is over. A batch takes a time that is known, times a factor for what runs beside it.
"""

import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

# Seconds that a batch takes, by its shape and the requests in it.
ServiceTime = Callable[[int, int], float]

_STEPS = 8


@dataclass(frozen=True)
class Batcher:
    """The choices that decide who waits for whom.

    Args:
        instances: Batches that run at once.
        max_batch: Requests of a batch at most.
        delay_s: How long a request may wait for others.
        preferred: Batch sizes that are sent on without waiting.
        merges: Whether requests are merged at all.
    """

    instances: int = 1
    max_batch: int = 1
    delay_s: float = 0.0
    preferred: tuple[int, ...] = ()
    merges: bool = True


@dataclass(frozen=True)
class Traffic:
    """Requests: when each arrives, in seconds and ascending, and its shape, any number that equal shapes share."""

    arrivals_s: Sequence[float]
    shapes: Sequence[int]

    def at_rate(self, rate: float) -> "Traffic":
        """Return requests that came at a mean rate of 1/s at another rate: same gaps, in proportion."""
        return Traffic([moment / rate for moment in self.arrivals_s], self.shapes)


def draw_traffic(shapes: Sequence[int], count: int, seed: int) -> Traffic:
    """Return Poisson arrivals at a mean rate of 1/s, whose shapes are drawn from a list."""
    rng = np.random.default_rng([seed, 4])
    arrivals_s = np.cumsum(rng.exponential(1.0, count))
    return Traffic(arrivals_s.tolist(), rng.choice(np.array(shapes), count).tolist())


def simulate(
    batcher: Batcher,
    traffic: Traffic,
    service_s: ServiceTime,
    contention: Sequence[float] = (1.0,),
    *,
    give_up: tuple[float, float] | None = None,
) -> list[float]:
    """Return the latency of each request, in seconds: the wait, and the time of the batch that it was in.

    Args:
        batcher: The choices.
        traffic: The requests.
        service_s: What a batch takes where nothing runs beside it.
        contention: The factor on that where 1, 2, ... instances are busy as it starts; the last one for more.
        give_up: A latency, and how many requests may exceed it: with more the simulation ends, and the requests that
            are left have the latency infinity.
    """
    arrivals, shapes = traffic.arrivals_s, traffic.shapes
    bound_s, allowed = give_up or (math.inf, math.inf)
    free = [0.0] * batcher.instances
    latency_s = [math.inf] * len(arrivals)
    first = over = 0
    while first < len(arrivals) and over <= allowed:
        start, end = _gather(batcher, traffic, first, free[0])
        factor = contention[0]
        if len(contention) > 1:  # the instance that takes the batch is free by then
            factor = contention[min(sum([moment > start for moment in free]), len(contention) - 1)]
        finished = start + service_s(shapes[first], end - first) * factor
        heapq.heapreplace(free, finished)
        for place in range(first, end):
            latency_s[place] = finished - arrivals[place]
        if finished - arrivals[first] > bound_s:
            over += sum([finished - arrival > bound_s for arrival in arrivals[first:end]])
        first = end
    return latency_s


def _gather(batcher: Batcher, traffic: Traffic, first: int, free_s: float) -> tuple[float, int]:
    """Return when the batch begins whose oldest request is `first`, and the request behind its last one."""
    arrivals, shapes = traffic.arrivals_s, traffic.shapes
    oldest, shape = arrivals[first], shapes[first]
    start = free_s if free_s > oldest else oldest
    end = first + 1
    if not batcher.merges:
        return start, end
    limit = min(len(arrivals), first + batcher.max_batch)
    while end < limit and arrivals[end] <= start and shapes[end] == shape:
        end += 1
    is_full = end == first + batcher.max_batch or (end < len(arrivals) and arrivals[end] <= start)
    if is_full or not batcher.delay_s:
        return start, end
    preferred = max((size for size in batcher.preferred if size <= end - first), default=0)
    if preferred:
        return start, first + preferred
    deadline = oldest + batcher.delay_s
    while end < limit and arrivals[end] <= deadline:
        if shapes[end] != shape:
            return max(start, arrivals[end]), end
        end += 1
        if end - first == batcher.max_batch or end - first in batcher.preferred:
            return max(start, arrivals[end - 1]), end
    return max(start, deadline), end


def find_highest_rate(holds: Callable[[float], bool], capacity: float) -> float:
    """Return the highest rate, of those up to `capacity`, that holds; 0 where the lowest that is tried does not.

    To a 256th of the capacity, by halving: what holds at a rate is taken to hold below it.
    """
    low, high = 0.0, capacity
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
