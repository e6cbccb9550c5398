"""Requests at once are repeated with more of them until a batch forms; that none forms is told, never a failure."""

import pytest
from prep_triton.triton.server.statistics import ModelStatistics
from prep_triton.triton.verify.in_flight import ask_until_batched, has_batching, notes_of_batching
from tritonclient.grpc.model_config_pb2 import ModelConfig


class Server:
    """Answers requests at once in executions of `together` rows, from the attempt `lucky` on."""

    def __init__(self, *, lucky=0, together=4, cached=False):
        self.lucky, self.together, self.cached = lucky, together, cached
        self.asked = []
        self.found = ModelStatistics(batch_sizes={})

    def read_statistics(self, name):
        assert name == "m"
        return self.found

    def ask(self, count):
        size = self.together if len(self.asked) >= self.lucky else 1
        self.asked.append(count)
        rows = 0 if self.cached else count
        sizes = dict(self.found.batch_sizes)
        sizes[size] = sizes.get(size, 0) + rows // size
        self.found = ModelStatistics(
            requests=self.found.requests + count,
            cache_hits=self.found.cache_hits + count - rows,
            rows=self.found.rows + rows,
            executions=self.found.executions + rows // size,
            batch_sizes=sizes,
        )


def config(*, batching=True, max_batch_size=8):
    made = ModelConfig(name="m", max_batch_size=max_batch_size)
    if batching:
        made.dynamic_batching.SetInParent()
    return made


def test_the_first_batch_ends_the_attempts():
    server = Server()
    found = ask_until_batched(server, config(), server.ask)
    assert server.asked == [16]
    assert (found.model, found.in_flight, found.rows, found.executions) == ("m", 16, 16, 4)
    assert found.batch_sizes == {4: 4}
    assert found.mean_batch_size == 4
    assert notes_of_batching(config(), found) == []


def test_more_are_sent_until_a_batch_forms():
    server = Server(lucky=2)
    found = ask_until_batched(server, config(), server.ask)
    assert server.asked == [16, 32, 64]
    assert (found.in_flight, found.batch_sizes) == (64, {4: 16})


def test_that_no_batch_formed_is_told():
    server = Server(lucky=9)
    found = ask_until_batched(server, config(), server.ask)
    (note,) = notes_of_batching(config(), found)
    assert note.startswith("no batch formed: 64 requests in flight at once ran in 64 executions")


@pytest.mark.parametrize("without", [{"batching": False}, {"max_batch_size": 1}])
def test_without_a_batcher_nothing_is_repeated_or_told(without):
    server = Server(lucky=9)
    found = ask_until_batched(server, config(**without), server.ask)
    assert not has_batching(config(**without))
    assert server.asked == [16]
    assert notes_of_batching(config(**without), found) == []


@pytest.mark.parametrize(("most", "asked"), [(1, [2]), (20, [16, 20]), (16, [16])])
def test_no_more_are_sent_than_the_server_can_take(most, asked):
    server = Server(lucky=9)
    ask_until_batched(server, config(), server.ask, most=most)
    assert server.asked == asked


def test_a_response_cache_that_answers_is_told():
    server = Server(cached=True)
    found = ask_until_batched(server, config(), server.ask)
    assert found.mean_batch_size is None
    assert notes_of_batching(config(), found) == ["the response cache answered 64 of 64 requests in flight"]
