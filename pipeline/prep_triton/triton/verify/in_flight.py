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
IN_FLIGHT = (16, 32, 64)


def has_batching(config: "ModelConfig") -> bool:
    """Whether the server may merge requests of this entry."""
    return bool(config.HasField("dynamic_batching") and config.max_batch_size > 1)


def ask_until_batched(
    client: TritonClient,
    config: "ModelConfig",
    ask: Callable[[int], None],
    *,
    most: int = IN_FLIGHT[-1],
) -> BatchingReport:
    """Send requests at once, more of them where no batch formed, and read the server's statistics.

    Args:
        client: The server.
        config: The model that is to batch: it need not be the one that is asked.
        ask: Sends that many single requests at once and compares their answers.
        most: The largest number that the server can take at once.

    Returns:
        What the statistics say of the last attempt; `notes_of_batching` puts it into words.

    Raises:
        RefusedRequestError: The server refused or failed a request.
    """
    name, count, found = config.name, 0, ModelStatistics()
    read = partial(client.read_statistics, name)
    for count in _attempts(most):
        before = settled_statistics(read)
        ask(count)
        found = wait_for_statistics(read, before, count)
        if found.has_merged() or not has_batching(config):
            break
    return BatchingReport(
        model=name,
        in_flight=count,
        requests=found.requests,
        cache_hits=found.cache_hits,
        rows=found.rows,
        executions=found.executions,
        batch_sizes=dict(found.batch_sizes or {}),
        mean_batch_size=found.mean_batch_size(),
        **found.mean_us(),
    )


def _attempts(most: int) -> Iterator[int]:
    last = 0
    for count in IN_FLIGHT:
        if (now := max(2, min(count, most))) > last:
            yield now
        last = now


def notes_of_batching(config: "ModelConfig", found: BatchingReport) -> list[str]:
    """Say what a person should know: that no batch formed, or that the response cache answered."""
    notes = []
    if found.cache_hits:
        notes.append(f"the response cache answered {found.cache_hits} of {found.requests} requests in flight")
    if has_batching(config) and found.executions and max(found.batch_sizes, default=1) == 1:
        notes.append(
            f"no batch formed: {found.in_flight} requests in flight at once ran in {found.executions} executions "
            "of one row; whether requests meet in the queue depends on their timing"
        )
    return notes
