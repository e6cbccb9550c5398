"""The counters of Triton's statistics API (`ModelStatistics`, grpc_service.proto), and what they tell of a while."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

SETTLE_S = 2.0
POLL_INTERVAL_S = 0.005
STILL_S = 0.05


@dataclass(frozen=True)
class ModelStatistics:
    """What one entry did, since it was loaded or since an earlier look.

    `requests` were answered, `cache_hits` of them from the response cache, without running the model.
    `rows` ran through the model in `executions`; `batch_sizes` maps a batch size to the executions that had
    it. The `_ns` are sums over requests: a request counts the whole time of the batch that it was part of.
    """

    requests: int = 0
    cache_hits: int = 0
    rows: int = 0
    executions: int = 0
    batch_sizes: Mapping[int, int] | None = None
    queue_ns: int = 0
    compute_input_ns: int = 0
    compute_infer_ns: int = 0
    compute_output_ns: int = 0

    def since(self, before: "ModelStatistics") -> "ModelStatistics":
        """Return what was added after an earlier look."""
        earlier = before.batch_sizes or {}
        sizes = {size: count - earlier.get(size, 0) for size, count in (self.batch_sizes or {}).items()}
        numbers = {
            name: getattr(self, name) - getattr(before, name)
            for name in type(self).__dataclass_fields__
            if name != "batch_sizes"
        }
        return ModelStatistics(**numbers, batch_sizes={size: count for size, count in sorted(sizes.items()) if count})

    def mean_batch_size(self) -> float | None:
        """Return rows per execution; None where nothing was executed."""
        return self.rows / self.executions if self.executions else None

    def has_merged(self) -> bool:
        """Whether an execution answered more than one row."""
        return max(self.batch_sizes or {0: 0}) > 1

    def mean_us(self) -> dict[str, float | None]:
        """Return a request's mean time in the queue and in each part of the computation, in microseconds.

        The parts of the computation are those of the requests that were computed.
        """
        computed = self.requests - self.cache_hits
        counts = {"queue": self.requests, "compute_input": computed}
        counts |= {"compute_infer": computed, "compute_output": computed}
        return {
            f"{part}_us": getattr(self, f"{part}_ns") / count / 1000 if count > 0 else None
            for part, count in counts.items()
        }


def statistics_from_versions(versions: Iterable[Any]) -> ModelStatistics:
    """Add up the `ModelStatistics` messages of an entry's versions."""
    models, sizes = list(versions), dict[int, int]()
    for version in models:
        for batch in version.batch_stats:
            size = int(batch.batch_size)
            sizes[size] = sizes.get(size, 0) + int(batch.compute_infer.count)
    durations = [version.inference_stats for version in models]
    return ModelStatistics(
        requests=sum(int(duration.success.count) for duration in durations),
        cache_hits=sum(int(duration.cache_hit.count) for duration in durations),
        rows=sum(int(version.inference_count) for version in models),
        executions=sum(int(version.execution_count) for version in models),
        batch_sizes=dict(sorted(sizes.items())),
        queue_ns=sum(int(duration.queue.ns) for duration in durations),
        compute_input_ns=sum(int(duration.compute_input.ns) for duration in durations),
        compute_infer_ns=sum(int(duration.compute_infer.ns) for duration in durations),
        compute_output_ns=sum(int(duration.compute_output.ns) for duration in durations),
    )


def total_statistics(parts: Iterable[ModelStatistics]) -> ModelStatistics:
    """Add up what an entry did in several stretches of time."""
    parts, sizes = list(parts), dict[int, int]()
    for part in parts:
        for size, count in (part.batch_sizes or {}).items():
            sizes[size] = sizes.get(size, 0) + count
    names = [name for name in ModelStatistics.__dataclass_fields__ if name != "batch_sizes"]
    numbers = {name: sum(getattr(part, name) for part in parts) for name in names}
    return ModelStatistics(**numbers, batch_sizes=dict(sorted(sizes.items())))


def settled_statistics(read: Callable[[], ModelStatistics]) -> ModelStatistics:
    """Return the counters once they stand still: what was answered before is counted then."""
    deadline = time.monotonic() + SETTLE_S
    counters = read()
    while time.monotonic() < deadline:
        time.sleep(STILL_S)
        last, counters = counters, read()
        if counters == last:
            break
    return counters


def wait_for_statistics(
    read: Callable[[], ModelStatistics], before: ModelStatistics, sent: int, *, timeout_s: float = SETTLE_S
) -> ModelStatistics:
    """Return what was added after an earlier look, once the `sent` requests are counted.

    A backend answers a request first and counts it, and then its batch, a moment later.

    Args:
        read: Looks at the counters.
        before: The earlier look.
        sent: How many requests were answered since.
        timeout_s: When to take what is there: a backend need not count its batches.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        since = read().since(before)
        batched = sum(size * count for size, count in (since.batch_sizes or {}).items())
        if (since.requests >= sent and batched == since.rows) or time.monotonic() > deadline:
            return since
        time.sleep(POLL_INTERVAL_S)
