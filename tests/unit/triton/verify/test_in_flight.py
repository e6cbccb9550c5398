"""Requests at once are repeated with more of them until a batch forms; that none forms is a note, never a failure."""

import pytest
from prep_triton.triton.server.client import TritonClient
from prep_triton.triton.server.statistics import ModelStatistics
from prep_triton.triton.verify.in_flight import has_batching, infer_until_batched, notes_of_batching
from tritonclient.grpc.model_config_pb2 import ModelConfig


class Server(TritonClient):
    """Answers requests at once in executions of `together` rows, from the attempt `lucky` on; connects to nothing."""

    def __init__(self, *, lucky=0, together=4, cached=False):
        self.lucky, self.together, self.cached = lucky, together, cached
        self.counts = []
        self.statistics = ModelStatistics(batch_sizes={})

    def read_statistics(self, name):
        assert name == "m"
        return self.statistics

    def send(self, count):
        size = self.together if len(self.counts) >= self.lucky else 1
        self.counts.append(count)
        rows = 0 if self.cached else count
        sizes = dict(self.statistics.batch_sizes or {})
        sizes[size] = sizes.get(size, 0) + rows // size
        self.statistics = ModelStatistics(
            requests=self.statistics.requests + count,
            cache_hits=self.statistics.cache_hits + count - rows,
            rows=self.statistics.rows + rows,
            executions=self.statistics.executions + rows // size,
            batch_sizes=sizes,
        )


def config(*, batching=True, max_batch_size=8):
    message = ModelConfig(name="m", max_batch_size=max_batch_size)
    if batching:
        message.dynamic_batching.SetInParent()
    return message


def test_the_first_batch_ends_the_attempts():
    server = Server()
    report = infer_until_batched(server, config(), server.send)
    assert server.counts == [16]
    assert (report.model, report.in_flight, report.rows, report.executions) == ("m", 16, 16, 4)
    assert report.batch_sizes == {4: 4}
    assert report.mean_batch_size == 4
    assert notes_of_batching(config(), report) == []


def test_more_are_sent_until_a_batch_forms():
    server = Server(lucky=2)
    report = infer_until_batched(server, config(), server.send)
    assert server.counts == [16, 32, 64]
    assert (report.in_flight, report.batch_sizes) == (64, {4: 16})


def test_that_no_batch_formed_is_a_note():
    server = Server(lucky=9)
    report = infer_until_batched(server, config(), server.send)
    (note,) = notes_of_batching(config(), report)
    assert note.startswith("no batch formed: 64 requests in flight at once ran in 64 executions")


@pytest.mark.parametrize("without", [{"batching": False}, {"max_batch_size": 1}])
def test_without_a_batcher_nothing_is_repeated_or_noted(without):
    server = Server(lucky=9)
    report = infer_until_batched(server, config(**without), server.send)
    assert not has_batching(config(**without))
    assert server.counts == [16]
    assert notes_of_batching(config(**without), report) == []


@pytest.mark.parametrize(("most", "counts"), [(1, [2]), (20, [16, 20]), (16, [16])])
def test_no_more_are_sent_than_the_server_can_take(most, counts):
    server = Server(lucky=9)
    infer_until_batched(server, config(), server.send, most=most)
    assert server.counts == counts


def test_a_response_cache_that_answers_is_noted():
    server = Server(cached=True)
    report = infer_until_batched(server, config(), server.send)
    assert report.mean_batch_size is None
    assert notes_of_batching(config(), report) == ["the response cache answered 64 of 64 requests in flight"]
