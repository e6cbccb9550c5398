"""Points: what counts, and the best that was seen."""

import csv

import numpy as np
import pytest
from prep_triton.bench.perf_analyzer import COLUMNS, check_csv, render_csv
from prep_triton.bench.points import describe_best, is_sustained
from prep_triton.bench.records import Load, Slo
from prep_triton.errors import SpecError

from tests.fakes.benched import CLOSED, OPEN, make_points

MEASURED = np.full(200, 0.02)


def test_a_point_has_every_repeat_and_what_the_server_says():
    (point,) = make_points(batch=2, noise=0)
    assert (point.repeats, point.seconds, point.errors) == (5, 10.0, 0)
    assert point.requests == sum(block.requests for block in point.blocks) == 4000
    assert point.requests_per_s.value == pytest.approx(400)
    assert point.inferences_per_s.value == pytest.approx(800)
    assert point.p50_ms.low <= point.p50_ms.value <= point.p50_ms.high
    assert point.p50_ms.value == pytest.approx(10, rel=0.02)
    (part,) = point.parts
    assert (part.mean_batch, part.queue_us, part.compute_infer_us) == (2, 1000, 2000)
    assert (part.requests, part.batch_sizes) == (2000, {2: 1000})


def test_a_generator_that_is_late_or_does_not_get_round_to_it_sustains_nothing():
    assert is_sustained(np.zeros(200), MEASURED, 0)
    assert is_sustained(np.full(200, 0.009), MEASURED, 0)
    assert not is_sustained(np.full(200, 0.011), MEASURED, 0)
    assert is_sustained(np.full(200, 0.011), MEASURED * 10, 0)  # a twentieth of what was measured
    assert is_sustained(np.concatenate([np.zeros(195), np.full(5, 1.0)]), MEASURED, 0)  # a hiccup
    assert is_sustained(np.zeros(200), MEASURED, 3)
    assert not is_sustained(np.zeros(200), MEASURED, 4)
    assert not is_sustained(np.array([]), np.array([]), 200)


def test_a_level_that_nothing_holds_says_the_best_that_was_seen():
    slo = Slo(percent=99, bound_ms=9)
    points = make_points([CLOSED, OPEN], slo=slo)
    assert {point.verdict.state for point in points} == {"not met"}
    best = describe_best(points, slo)
    assert best.startswith("no load holds p99 <= 9 ms: the best seen is ")
    assert "% in time, p50 " in best
    loose = Slo(percent=99, bound_ms=1000)
    assert describe_best(make_points(slo=loose), loose) == ""


def test_the_csv_has_the_columns_and_the_order_of_perf_analyzer():
    loads = [Load(kind="closed", value=value) for value in (16, 1, 4)]
    rows = list(csv.DictReader(render_csv(make_points(loads, noise=0)).splitlines()))
    assert list(rows[0]) == ["Concurrency", *COLUMNS]
    assert [row["Concurrency"] for row in rows] == ["1", "4", "16"]
    assert float(rows[1]["p50 latency"]) == pytest.approx(10_000, rel=0.02)
    assert (rows[1]["Server Queue"], rows[1]["Server Compute Infer"]) == ("1000", "2000")
    parts = sum(float(rows[1][name]) for name in COLUMNS[1:8])
    assert parts == pytest.approx(10_000 * np.exp(0.3**2 / 2), rel=0.02)  # the mean of a lognormal
    assert render_csv(make_points([OPEN])).startswith("Request Rate,Inferences/Second,")


def test_a_csv_of_several_entries_or_kinds_is_refused():
    check_csv(["a"], ["closed", "closed"])
    with pytest.raises(SpecError, match="there are 2: a, b"):
        check_csv(["a", "b"], ["closed"])
    with pytest.raises(SpecError, match="either concurrencies or rates"):
        check_csv(["a"], ["closed", "open"])
