"""Many requests at once, so that the dynamic batcher has something to merge; and what became of them."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from prep_triton.triton.server.client import TritonClient
from prep_triton.triton.server.statistics import ModelStatistics, settled_statistics, wait_for_statistics
from prep_triton.triton.verify.report import BatchingReport

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig

# Whether two requests meet in the queue is a matter of time: where none did, more are sent.
IN_FLIGHT_COUNTS = (16, 32, 64)


def has_batching(config: "ModelConfig") -> bool:
    """Whether the server may merge requests of this entry."""
    return bool(config.HasField("dynamic_batching") and config.max_batch_size > 1)


def infer_until_batched(
    client: TritonClient,
    config: "ModelConfig",
    infer_at_once: Callable[[int], None],
    *,
    most: int = IN_FLIGHT_COUNTS[-1],
) -> BatchingReport:
    """Send requests at once, more of them where no batch formed, and read the server's statistics.

    Args:
        client: The server.
        config: The model that is to batch: it need not be the entry that requests are sent to.
        infer_at_once: Sends that many single requests at once and compares their answers.
        most: The largest number that the server can take at once.

    Returns:
        What the statistics say of the last attempt; `notes_of_batching` puts it into words.

    Raises:
        RefusedRequestError: The server refused or failed a request.
    """
    name, count, statistics = config.name, 0, ModelStatistics()
    read = partial(client.read_statistics, name)
    for count in _attempt_counts(most):
        before = settled_statistics(read)
        infer_at_once(count)
        statistics = wait_for_statistics(read, before, count)
        if statistics.has_merged() or not has_batching(config):
            break
    return BatchingReport(
        model=name,
        in_flight=count,
        requests=statistics.requests,
        cache_hits=statistics.cache_hits,
        rows=statistics.rows,
        executions=statistics.executions,
        batch_sizes=dict(statistics.batch_sizes or {}),
        mean_batch_size=statistics.mean_batch_size(),
        **statistics.mean_us(),
    )


def _attempt_counts(most: int) -> Iterator[int]:
    last = 0
    for count in IN_FLIGHT_COUNTS:
        if (now := max(2, min(count, most))) > last:
            yield now
        last = now


def notes_of_batching(config: "ModelConfig", report: BatchingReport) -> list[str]:
    """Say what a person should know: that no batch formed, or that the response cache answered."""
    notes = []
    if report.cache_hits:
        notes.append(f"the response cache answered {report.cache_hits} of {report.requests} requests in flight")
    if has_batching(config) and report.executions and max(report.batch_sizes, default=1) == 1:
        notes.append(
            f"no batch formed: {report.in_flight} requests in flight at once ran in {report.executions} executions "
            "of one row; whether requests meet in the queue depends on their timing"
        )
    return notes
