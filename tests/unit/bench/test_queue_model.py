"""The simulated batcher against what queueing theory knows exactly, and against a server's rules, one by one."""

import numpy as np
import pytest
from prep_triton.bench.queue_model import Batcher, Traffic, draw_traffic, find_highest_rate, simulate

TRAFFIC = draw_traffic([0], 60_000, seed=1)


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
def test_without_batches_it_is_md1(load: float):
    """M/D/1: the mean wait is load x service / (2 (1 - load)) (Pollaczek and Khinchine)."""
    latency_s = simulate(Batcher(), TRAFFIC.at_rate(load / 0.01), lambda shape, size: 0.01)
    assert np.mean(latency_s) == pytest.approx(0.01 + load * 0.01 / (2 * (1 - load)), rel=0.04)


def test_two_instances_are_as_fast_as_erlang_has_it():
    """M/D/2 waits half as long as M/M/2, times a factor of Cosmetatos' that is right to a few percent."""
    load, service = 0.7, 0.01
    rate = 2 * load / service
    latency_s = simulate(Batcher(instances=2), TRAFFIC.at_rate(rate), lambda shape, size: service)
    waits_mm2 = service * load**2 / (1 - load**2)
    cosmetatos = 1 + (1 - load) * (np.sqrt(4 + 5 * 2) - 2) / (16 * load * 2)
    assert np.mean(latency_s) - service == pytest.approx(waits_mm2 / 2 * cosmetatos, rel=0.06)


@pytest.mark.parametrize("load", [0.1, 0.4, 0.6, 0.8])
def test_unlimited_batches_are_inoues_closed_form(load: float):
    """Inoue, arXiv 1912.06322: of linear batch times, the smaller of two upper bounds is near the mean."""
    alpha, tau = 0.001, 0.004
    rate = load / alpha
    latency_s = simulate(Batcher(max_batch=10**6), TRAFFIC.at_rate(rate), lambda shape, size: alpha * size + tau)
    few = (alpha + tau) / (2 * (1 - load)) * (1 + 2 * rate * tau + (1 - rate * tau) / (1 + load))
    many = 1.5 * tau / (1 - load) + alpha / 2 * (load + 2) / (1 - load**2)
    mean = np.mean(latency_s)
    assert mean < min(few, many) * 1.02
    assert mean == pytest.approx(min(few, many), rel=0.06)


def times(batcher: Batcher, arrivals: list[float], shapes: list[int] | None = None, **more) -> list[float]:
    """Return when each request is answered; a batch takes a second, whatever is in it."""
    traffic = Traffic(arrivals, shapes or [0] * len(arrivals))
    latency_s = simulate(batcher, traffic, lambda shape, size: 1.0, **more)
    return [round(arrival + latency, 6) for arrival, latency in zip(arrivals, latency_s, strict=True)]


def test_what_waits_is_merged_up_to_the_largest_batch():
    assert times(Batcher(max_batch=2), [0, 0.1, 0.2, 0.3]) == [1, 2, 2, 3]
    assert times(Batcher(max_batch=4, merges=False), [0, 0.1, 0.2]) == [1, 2, 3]


def test_another_shape_ends_a_batch():
    assert times(Batcher(max_batch=4), [0, 0.1, 0.2, 0.3], [1, 1, 2, 2]) == [1, 2, 3, 3]
    assert times(Batcher(max_batch=4), [0, 0.1, 0.2, 0.3], [1, 2, 1, 2]) == [1, 2, 3, 4]


def test_a_delay_waits_for_others_but_not_beyond_another_shape_or_a_full_batch():
    assert times(Batcher(max_batch=4, delay_s=0.5), [0, 0.1, 0.9]) == [1.5, 1.5, 2.5]
    assert times(Batcher(max_batch=2, delay_s=0.5), [0, 0.1, 0.9]) == [1.1, 1.1, 2.4]
    assert times(Batcher(max_batch=4, delay_s=0.5), [0, 0.1], [1, 2]) == [1.1, 2.1]


def test_a_preferred_size_does_not_wait():
    assert times(Batcher(max_batch=8, delay_s=0.5, preferred=(2,)), [0, 0.1, 0.2]) == [1.1, 1.1, 2.1]


def test_what_runs_beside_a_batch_makes_it_slower():
    assert times(Batcher(instances=2), [0, 0.5, 3], contention=(1.0, 1.5)) == [1, 2, 4]


def test_the_highest_rate_is_where_it_stops_to_hold():
    assert find_highest_rate(lambda rate: rate < 37, 100) == pytest.approx(37, abs=0.4)
    assert find_highest_rate(lambda rate: False, 100) == 0.0
