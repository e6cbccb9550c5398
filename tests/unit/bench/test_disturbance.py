"""Runs on a machine that other programs use too."""

import numpy as np
import pytest
from prep_triton.bench.compare import StoredRun, compare_with_baseline
from prep_triton.bench.disturbance import log_left, share_of_others, widen
from prep_triton.bench.history import check_history, compare_with_history
from prep_triton.bench.records import BenchReport, PointComparison, RatioFigure, RepeatResources
from prep_triton.errors import SpecError

from tests.fakes.benched import OPEN, make_report
from tests.fakes.disturbed import make_point


def stored(report: BenchReport) -> StoredRun:
    return StoredRun.model_validate_json(report.model_dump_json())


def compare(report: BenchReport, earlier: BenchReport) -> PointComparison:
    (point,) = compare_with_baseline(report, stored(earlier), "before.json").points
    return point


def run(share: float, *, slowdown: float = 1.0, seed: int = 0) -> BenchReport:
    return make_report((make_point([share] * 5, slowdown=slowdown, noise=0.02, seed=seed),))


def test_what_others_took_is_a_share_of_all_cores():
    uses = [
        RepeatResources(repeat=number, seconds=2.0, server_cpu_s=1.0, others_cpu_s=1.0 + number) for number in range(2)
    ]
    assert share_of_others(uses, cores=2) == pytest.approx(3 / 8)
    assert share_of_others([*uses, RepeatResources(repeat=2, seconds=2.0)], cores=2) is None
    assert share_of_others([], cores=2) is None
    elsewhere = RepeatResources(repeat=0, seconds=2.0, others_cpu_s=1.0)  # the server may be among the others
    assert share_of_others([elsewhere], cores=2) is None
    assert share_of_others(uses, cores=0) is None


def test_an_interval_is_as_wide_as_what_others_took_may_explain():
    figure = RatioFigure(metric="requests_per_s", ratio=0.8, low=0.75, high=0.85)
    assert widen(figure, (0.0, 0.0), 0.02) == figure.model_copy(
        update={"low": pytest.approx(0.75), "high": pytest.approx(0.85)}
    )
    busier = widen(figure, (0.4, 0.0), 0.02)
    assert busier.low < 0.75
    # The rate may have fallen with the square of what others left: then it would be 0.85 / 0.6 ** 2.
    assert busier.high > 0.85 / 0.6**2
    latency = widen(
        figure.model_copy(update={"metric": "p50_ms", "ratio": 1.2, "low": 1.1, "high": 1.3}), (0.4, 0), 0.02
    )
    assert latency.low < 1.1 * 0.6**2
    assert latency.high > 1.3


def test_a_run_that_others_disturbed_is_not_taken_for_a_slower_one():
    quiet, busy = run(0.01), run(0.4, seed=1)
    judged = compare(busy, quiet)
    assert judged.decided_by.ratio < 0.7
    assert judged.verdict == "no difference shown"
    assert judged.reason == (
        "others took 40% of the cores in this run, 1% in the baseline: no difference shown beyond that"
    )
    assert compare(quiet, busy).verdict == "no difference shown"
    assert compare(run(0.3), run(0.3, seed=1)).verdict == "no difference shown"


def test_fifteen_percent_are_shown_where_others_take_little():
    judged = compare(run(0.01, slowdown=1.15, seed=1), run(0.01))
    assert (judged.verdict, judged.reason) == ("slower", "")


def history(shares: list[float]) -> list[StoredRun]:
    return [stored(run(share, seed=100 + number)) for number, share in enumerate(shares)]


def against(report: BenchReport, runs: list[StoredRun]) -> PointComparison:
    comparison = compare_with_history(report, runs, "7 runs")
    assert (comparison.method, comparison.runs) == ("history", len(runs))
    (point,) = comparison.points
    return point


BUSY_NIGHTS = [0.1, 0.4, 0.2, 0.5, 0.3, 0.15, 0.45]


@pytest.mark.parametrize("share", [0.12, 0.3, 0.48])
def test_a_history_says_what_a_run_beside_such_neighbours_would_have_had(share: float):
    runs = history(BUSY_NIGHTS)
    judged = against(run(share), runs)
    assert judged.verdict == "no difference shown"
    assert judged.reason == f"others took {share:.0%} of the cores in this run, 10% to 50% in the earlier ones"
    assert against(run(share, slowdown=1.25), runs).verdict == "slower"
    assert against(run(share, slowdown=0.75), runs).verdict == "faster"


def test_a_history_of_quiet_nights_knows_nothing_of_a_busy_one():
    runs = history([0.01] * 7)
    assert against(run(0.4), runs).verdict == "no difference shown"
    assert against(run(0.01), runs).verdict == "no difference shown"
    assert against(run(0.01, slowdown=1.15), runs).verdict == "slower"


def test_a_history_whose_runs_lie_far_apart_shows_only_what_lies_further():
    runs = [stored(make_report((make_point([0.0] * 5, noise=0.0, slowdown=1 + number / 10),))) for number in range(5)]
    assert against(make_report((make_point([0.0] * 5, slowdown=1.5),)), runs).verdict == "no difference shown"
    assert against(make_report((make_point([0.0] * 5, slowdown=4.0),)), runs).verdict == "slower"


def test_a_history_of_open_loops_is_judged_by_the_median():
    runs = [stored(make_report((make_point([0.0] * 5, load=OPEN, noise=0.02, seed=seed),))) for seed in range(7)]
    slower = make_report((make_point([0.0] * 5, load=OPEN, noise=0.02, slowdown=1.3, seed=9),))
    judged = against(slower, runs)
    assert (judged.verdict, judged.decided_by.metric) == ("slower", "p50_ms")


def test_a_history_without_the_cpu_of_others_goes_by_how_far_runs_lie_apart():
    reports = [run(share, seed=number) for number, share in enumerate(BUSY_NIGHTS)]
    runs = [
        stored(
            report.model_copy(
                update={"points": tuple(p.model_copy(update={"repeat_resources": ()}) for p in report.points)}
            )
        )
        for report in reports
    ]
    assert against(run(0.3), runs).reason == ""
    assert against(run(0.3, slowdown=1.25), runs).verdict == "no difference shown"


def test_a_point_that_most_of_a_history_lacks_is_named():
    other = stored(make_report((make_point([0.0] * 5, load=OPEN),)))
    comparison = compare_with_history(run(0.0), [stored(run(0.0)), other, other], "3 runs")
    assert comparison.points == ()
    assert comparison.unmatched == ("tiny at concurrency 4, batch 1",)


def test_two_runs_are_no_history():
    check_history(0)
    check_history(1)
    check_history(3)
    with pytest.raises(SpecError, match="2 baselines do not show how far runs lie apart"):
        check_history(2)


def test_what_others_left_is_never_nothing():
    assert np.isfinite(log_left(1.0))
