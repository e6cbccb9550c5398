import pytest
from prep_triton.triton.server.statistics import (
    ModelStatistics,
    settled_statistics,
    statistics_from_versions,
    wait_for_statistics,
)
from tritonclient.grpc import service_pb2


def version(*, requests=0, hits=0, queue=0, infer=0, batches=()):
    statistics = service_pb2.ModelStatistics(name="m", inference_count=sum(size * count for size, count in batches))
    statistics.execution_count = sum(count for _, count in batches)
    statistics.inference_stats.success.count = requests
    statistics.inference_stats.cache_hit.count = hits
    statistics.inference_stats.queue.ns = queue
    statistics.inference_stats.compute_infer.ns = infer
    for size, count in batches:
        statistics.batch_stats.add(batch_size=size).compute_infer.count = count
    return statistics


def test_the_versions_of_an_entry_are_added_up():
    statistics = statistics_from_versions(
        [version(requests=5, batches=[(4, 1), (1, 1)]), version(requests=3, hits=1, batches=[(1, 2)])]
    )
    assert (statistics.requests, statistics.cache_hits, statistics.rows, statistics.executions) == (8, 1, 7, 4)
    assert statistics.batch_sizes == {1: 3, 4: 1}


def test_what_was_added_since_has_its_own_batches_and_means():
    before = statistics_from_versions([version(requests=2, queue=9000, batches=[(1, 2)])])
    after = statistics_from_versions([version(requests=8, hits=2, queue=69000, infer=8000, batches=[(1, 2), (4, 1)])])
    since = after.since(before)
    assert since.batch_sizes == {4: 1}
    assert since.mean_batch_size() == 4
    assert since.has_merged()
    assert since.mean_us() == {
        "queue_us": 10.0,
        "compute_input_us": 0.0,
        "compute_infer_us": 2.0,
        "compute_output_us": 0.0,
    }


def test_nothing_executed_has_no_means():
    nothing = ModelStatistics()
    assert nothing.since(nothing).mean_batch_size() is None
    assert not nothing.has_merged()
    assert set(nothing.mean_us().values()) == {None}
    cached = ModelStatistics(requests=2, cache_hits=2, queue_ns=4000)
    assert cached.mean_us()["queue_us"] == 2
    assert cached.mean_us()["compute_infer_us"] is None


def looks(*answers):
    """Look at the counters: one of `answers` after the other, then the last again."""
    remaining = list(answers)
    return lambda: remaining.pop(0) if len(remaining) > 1 else remaining[0]


LATE = ModelStatistics(requests=3, rows=3, batch_sizes={})
WHOLE = ModelStatistics(requests=3, rows=3, batch_sizes={3: 1})


def test_statistics_are_waited_for_until_requests_and_batches_are_counted():
    statistics = wait_for_statistics(looks(ModelStatistics(), LATE, WHOLE), ModelStatistics(), 3)
    assert statistics.batch_sizes == {3: 1}


def test_a_backend_that_counts_no_batches_is_not_waited_for_long():
    statistics = wait_for_statistics(looks(LATE), ModelStatistics(), 3, timeout_s=0.05)
    assert statistics.rows == 3


def test_an_earlier_look_is_taken_when_the_counters_stand_still():
    assert settled_statistics(looks(ModelStatistics(), LATE, WHOLE, WHOLE)) == WHOLE


@pytest.mark.parametrize(("sizes", "merged"), [({1: 9}, False), ({1: 9, 2: 1}, True), ({}, False), (None, False)])
def test_a_batch_is_more_than_one_row(sizes, merged):
    assert ModelStatistics(batch_sizes=sizes).has_merged() is merged
