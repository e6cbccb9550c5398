"""The search against a server that is itself a simulation, whose best configuration is therefore known."""

from dataclasses import replace

import numpy as np
import pytest
from prep_triton.bench.batch_times import batch_seconds, contention_from_pair
from prep_triton.bench.candidates import Space, list_candidates, list_layouts, with_delays, with_preferred
from prep_triton.bench.predictor import Mix, Predictor
from prep_triton.bench.queue_model import Batcher, draw_traffic, simulate
from prep_triton.bench.records import Slo
from prep_triton.bench.search import Goal, Search
from prep_triton.bench.slo import judge_slo
from prep_triton.bench.trials import Trial, judge_early
from prep_triton.bench.tuning_records import BatchTimes, Choice, Layout
from prep_triton.bench.tuning_report import (
    best_by_padding,
    describe_best_seen,
    measure_model_error,
    measurements_from_search,
    winner_from_search,
)

ONE, TWO = Layout(instances=1, threads=2), Layout(instances=2, threads=1)
SLO = Slo(percent=99, bound_ms=60)
LENGTHS = (16, 24, 40, 48, 80, 100)
MIX = Mix({"longest": LENGTHS, "buckets": tuple(32 if length <= 32 else 128 for length in LENGTHS)})


def times(layout: Layout, per_token_ms: float, fixed_ms: float, contention: tuple[float, ...] = (1.0,)) -> BatchTimes:
    lengths, batches = (16, 128), (1, 8)
    seconds = tuple(tuple((fixed_ms + per_token_ms * length * rows) / 1000 for rows in batches) for length in lengths)
    return BatchTimes(
        layout=layout, lengths=lengths, batches=batches, seconds=seconds, overhead_s=0.001, contention=contention
    )


MEASURED = [times(ONE, 0.05, 1.5), times(TWO, 0.09, 1.5, (1.0, 1.1))]
# What the server really does: slower under load than alone, and more so with two instances.
TRUE = [times(ONE, 0.06, 1.6), times(TWO, 0.1, 1.6, (1.0, 1.3))]
SPACE = Space(layouts=(ONE, TWO), largest_batch=16, paddings=("buckets", "longest"))


def make_predictor(tables: list[BatchTimes], slo: Slo = SLO) -> Predictor:
    return Predictor(MIX, tables, slo, cores=2, seed=0)


class StandIn:
    """A server that is a simulation; each measurement has arrivals of its own."""

    def __init__(self, slo: Slo = SLO) -> None:
        self.tables = {table.layout: table for table in TRUE}
        self.slo, self.count = slo, 0

    def measure(self, choice: Choice, rate: float, purpose: str) -> Trial:
        del purpose
        self.count += 1
        table = self.tables[Layout(instances=choice.layout.instances, threads=choice.layout.threads)]
        traffic = draw_traffic(MIX.lengths[choice.padding], 2000, seed=100 + self.count).at_rate(rate)
        batcher = Batcher(
            choice.layout.instances, choice.max_batch, choice.delay_us / 1e6, choice.preferred, choice.merges
        )
        latency_s = simulate(
            batcher, traffic, lambda length, rows: batch_seconds(table, length, rows), table.contention
        )
        latency_ms = (np.array(latency_s) + table.overhead_s) * 1000
        over = int((latency_ms > self.slo.bound_ms).sum())
        return Trial(
            rate, 5.0, 2000, judge_slo(self.slo, 2000, over), over > 600,
            float(latency_ms.mean()), float(np.median(latency_ms)), float(np.percentile(latency_ms, 99)),
        )  # fmt: skip


def search(goal: Goal, predictor: Predictor | None = None) -> Search:
    found = Search(predictor or make_predictor(MEASURED), SPACE, goal, StandIn(goal.slo).measure)
    found.run()
    return found


@pytest.fixture(scope="module")
def done() -> Search:
    return search(Goal(SLO, "throughput", budget=17))


def best_of(done: Search) -> tuple[Choice, float]:
    best = done.best()
    assert best is not None
    return best


def test_it_finds_nearly_the_best_of_all_in_few_measurements(done: Search):
    truth = make_predictor(TRUE)
    best_rate = max(map(truth.highest_rate, list_candidates(SPACE)))
    choice, rate = best_of(done)
    assert len(done.measured) <= 17
    assert truth.highest_rate(choice) >= 0.95 * best_rate
    # The verdict needs fewer late ones than the level allows, so the rate itself is a little below.
    assert 0.85 * best_rate <= rate <= 1.02 * best_rate
    assert done.verdict(choice, rate).state == "met"
    assert sum(row.choice == choice and row.trial.rate == rate for row in done.measured) >= 2
    assert {"screen", "halve", "bisect", "confirm"} == {row.purpose for row in done.measured}


def test_the_report_has_the_winner_its_tokens_and_the_error_of_the_model(done: Search):
    choice, rate = best_of(done)
    mix = replace(MIX, tokens=50.0)
    winner = winner_from_search(done, mix)
    assert winner is not None
    assert (winner.choice, winner.rate, winner.is_shown) == (choice, rate, True)
    assert winner.tokens_per_s == pytest.approx(50 * rate)
    assert winner.padded_tokens_per_s == pytest.approx(rate * np.mean(MIX.lengths[choice.padding]))
    assert best_by_padding(done, mix)[choice.padding or "buckets"] == winner
    rows = measurements_from_search(done, before=3)
    assert [row.number for row in rows] == list(range(4, 4 + len(done.measured)))
    assert all(row.mean_ms is None for row in rows if row.ended_early)
    error = measure_model_error(rows)
    assert error is not None
    assert error.measurements == sum(not row.ended_early for row in rows)
    assert 0 < error.mean_median <= error.mean_worst < 2
    assert measure_model_error(rows[:0]) is None


def test_measurements_correct_the_model(done: Search):
    choice, rate = best_of(done)
    measured = next(row.trial for row in reversed(done.measured) if (row.choice, row.trial.rate) == (choice, rate))
    assert done.predictor.predict(choice, rate).mean_ms == pytest.approx(measured.mean_ms, rel=0.25)
    other = Choice(layout=ONE, max_batch=16, padding="longest")
    assert done.predictor.predict(other, 120).mean_ms > make_predictor(MEASURED).predict(other, 120).mean_ms


def test_what_is_served_now_is_measured_first_of_all():
    current = Choice(layout=Layout(instances=1), max_batch=16, delay_us=500, padding="buckets")
    done = Search(
        make_predictor(MEASURED),
        SPACE,
        Goal(SLO, "throughput", budget=9, current=current),
        lambda choice, rate, purpose: StandIn().measure(
            choice.model_copy(update={"layout": ONE}) if choice.layout.threads is None else choice, rate, purpose
        ),
    )
    done.run()
    assert current in [row.choice for row in done.measured if row.purpose == "screen"]
    assert {row.choice.padding for row in done.measured if row.purpose == "screen"} == {"buckets", "longest"}
    assert len(done.measured) <= 9


def test_a_level_that_nothing_holds_has_no_best():
    impossible = Slo(percent=99, bound_ms=1.2)
    done = search(Goal(impossible, "throughput", budget=6), make_predictor(MEASURED, impossible))
    assert done.best() is None
    assert 1 <= len(done.measured) <= 6
    assert winner_from_search(done, MIX) is None
    assert describe_best_seen(done).startswith("nothing holds p99 <= 1.2 ms: the best seen is ")


def test_the_lowest_latency_is_searched_at_one_rate():
    done = search(Goal(SLO, "latency", budget=14, rate=60.0))
    choice, rate = best_of(done)
    assert {row.trial.rate for row in done.measured} == {60.0}
    assert rate == 60.0
    truth = make_predictor(TRUE)
    assert truth.predict(choice, 60.0).p99_ms <= 1.1 * min(
        truth.predict(other, 60.0).p99_ms for other in list_candidates(SPACE)
    )


def test_a_load_that_was_not_sent_counts_for_nothing():
    stand_in = StandIn()

    def measure(choice: Choice, rate: float, purpose: str) -> Trial:
        trial = stand_in.measure(choice, rate, purpose)
        return replace(trial, verdict=judge_slo(SLO, 2000, 0, sustained=False), answered_per_s=50.0)

    done = Search(make_predictor(MEASURED), SPACE, Goal(SLO, "throughput", budget=6), measure)
    done.run()
    assert done.best() is None
    rates = [row.trial.rate for row in done.measured]
    assert rates[0] > 50
    assert all(rate <= 30 for rate in rates[1:])  # nothing faster is tried than what it was seen to send


def test_the_early_end_leaves_no_doubt():
    assert not judge_early(SLO, 40, 40)
    assert not judge_early(SLO, 500, 10)
    assert judge_early(SLO, 500, 20)
    assert judge_early(SLO, 60, 30)


def test_batch_times_are_linear_between_and_beyond():
    table = times(ONE, 0.05, 1.5)
    for length, rows in ((16, 1), (72, 4), (128, 8), (128, 16), (200, 3)):
        assert batch_seconds(table, length, rows) == pytest.approx((1.5 + 0.05 * length * rows) / 1000)
    single = table.model_copy(update={"lengths": (16,), "seconds": table.seconds[:1], "scale": 2.0})
    assert batch_seconds(single, 500, 8) == pytest.approx(2 * (1.5 + 0.05 * 16 * 8) / 1000)


def test_contention_grows_with_the_busy_instances():
    alone, together = {b"a": 1.0, b"b": 2.0, b"c": 3.0}, {b"a": 1.3, b"b": 3.0, b"c": 6.0}
    assert contention_from_pair(alone, together, 3) == pytest.approx([1, 1.25, 1.5])
    assert contention_from_pair(alone, alone, 1) == [1.0]


def test_layouts_share_out_the_cores_as_far_as_the_budget_goes():
    assert list_layouts(2, 20, has_threads=True) == (ONE, TWO)
    assert [layout.describe() for layout in list_layouts(8, 20, has_threads=True)] == [
        "1 instance x 8 threads", "8 instances x 1 thread", "2 instances x 4 threads", "4 instances x 2 threads",
    ]  # fmt: skip
    assert list_layouts(8, 5, has_threads=True) == (Layout(instances=1, threads=8),)
    assert list_layouts(1, 20, has_threads=True) == (Layout(instances=1, threads=1),)
    assert [layout.threads for layout in list_layouts(8, 20, has_threads=False)] == [None, None, None]


def test_candidates_keep_within_the_artifact():
    space = Space(layouts=(ONE,), largest_batch=6, rows=2)
    assert [choice.max_batch for choice in list_candidates(space) if choice.merges] == [4, 6]
    assert [choice.merges for choice in list_candidates(replace(space, largest_batch=2))] == [False]
    assert with_preferred(Choice(layout=ONE, max_batch=2)) == []
    assert [choice.preferred for choice in with_preferred(Choice(layout=ONE, max_batch=8))] == [(4,), (2, 4), (8,)]
    assert [choice.delay_us for choice in with_delays(Choice(layout=ONE, max_batch=8), 5)] == [500, 1000]
