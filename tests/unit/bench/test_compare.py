"""A run beside an earlier one."""

from pathlib import Path

import pytest
from prep_triton.bench.compare import StoredRun, compare_with_baseline, load_baseline
from prep_triton.bench.records import BaselineComparison, BenchReport, Load
from prep_triton.errors import SpecError

from tests.fakes.benched import CLOSED, OPEN, make_points, make_report


def stored(report: BenchReport) -> StoredRun:
    return StoredRun.model_validate_json(report.model_dump_json())


def compare(report: BenchReport, earlier: BenchReport) -> BaselineComparison:
    return compare_with_baseline(report, stored(earlier), "before.json")


def verdicts(slowdown: float, load: Load = CLOSED) -> list[str]:
    """Return the verdicts of twenty pairs of runs, the later one slower by a factor."""
    pairs = [
        compare(
            make_report(make_points([load], slowdown=slowdown, seed=2 * seed + 1)),
            make_report(make_points([load], seed=2 * seed)),
        )
        for seed in range(20)
    ]
    return [pair.points[0].verdict for pair in pairs]


@pytest.mark.parametrize("load", [CLOSED, OPEN], ids=lambda load: load.kind)
def test_two_runs_of_the_same_thing_do_not_differ(load: Load):
    assert verdicts(1.0, load).count("no difference shown") >= 19


@pytest.mark.parametrize("load", [CLOSED, OPEN], ids=lambda load: load.kind)
def test_fifteen_percent_are_shown(load: Load):
    assert verdicts(1.15, load).count("slower") >= 18
    assert verdicts(0.85, load).count("faster") >= 18


def test_the_interval_of_the_ratio_holds_the_truth():
    inside = 0
    for seed in range(20):
        comparison = compare(
            make_report(make_points(slowdown=1.3, seed=2 * seed + 1)), make_report(make_points(seed=2 * seed))
        )
        ratio = comparison.points[0].decided_by
        assert ratio.low <= ratio.ratio <= ratio.high
        inside += ratio.low <= 1 / 1.3 <= ratio.high
    assert inside >= 18


def test_more_points_are_judged_more_carefully():
    loads = [Load(kind="closed", value=value) for value in range(1, 21)]
    comparison = compare(make_report(make_points(loads, seed=1)), make_report(make_points(loads, seed=2)))
    assert not comparison.is_slower
    alone = compare(make_report(make_points(loads[:1], seed=1)), make_report(make_points(loads[:1], seed=2)))
    wide, narrow = comparison.points[0].decided_by, alone.points[0].decided_by
    assert wide.high / wide.low > narrow.high / narrow.low


def test_one_repeat_is_compared_by_its_blocks():
    slower = make_report(make_points(slowdown=1.5, repeats=1, noise=0, seed=1))
    earlier = make_report(make_points(repeats=1, noise=0))
    assert compare(slower, earlier).points[0].verdict == "slower"
    assert compare(earlier, earlier).points[0].verdict == "no difference shown"


def test_what_the_generator_did_not_sustain_is_not_counted():
    (point,) = make_points(slowdown=3, seed=1)
    late = make_report((point.model_copy(update={"sustained": False}),))
    comparison = compare(late, make_report(make_points()))
    assert comparison.points[0].verdict == "not counted"
    assert not comparison.is_slower


def test_what_differs_beside_the_figures_is_said():
    earlier = make_report(make_points(), cpu="EPYC", cores=4, triton_version="2.50.0")
    text = stored(earlier).model_copy(update={"schema_version": 7, "partial": True})
    comparison = compare_with_baseline(make_report(make_points()), text, "before.json")
    assert comparison.differences == (
        "the baseline's document is of version 7, this one of 1",
        "the baseline was ended before its end",
        "processor: Xeon, the baseline's EPYC",
        "number of cores: 2, the baseline's 4",
        "Triton: 2.51.0, the baseline's 2.50.0",
    )


def test_a_machine_that_others_used_more_is_said():
    earlier = make_report(make_points(), load_before=7.5, steal_share=0.2)
    assert compare(make_report(make_points()), earlier).differences == (
        "load before: 0.50, the baseline's 7.50",
        "share of stolen time: 0.01, the baseline's 0.20",
    )
    assert compare(make_report(make_points()), make_report(make_points(), load_before=1.2)).differences == ()


def test_another_entry_alone_is_compared_and_named():
    earlier = make_report(make_points(name="tiny-int8"))
    comparison = compare(make_report(make_points(name="tiny")), earlier)
    assert comparison.points[0].baseline_entry == "tiny-int8"
    assert "entry: tiny, the baseline's tiny-int8" in comparison.differences


def test_points_that_the_baseline_does_not_have_are_named():
    other = make_report(make_points([CLOSED, Load(kind="closed", value=8)]))
    comparison = compare(other, make_report(make_points()))
    assert len(comparison.points) == 1
    assert comparison.unmatched == ("tiny at concurrency 8, batch 1",)


def test_a_run_of_another_version_is_read_as_far_as_it_goes(tmp_path: Path):
    report = make_report(make_points())
    text = report.model_dump_json().replace('"schema_version":1', '"schema_version":9,"later":{"a":1}')
    (tmp_path / "run.json").write_text(text)
    assert load_baseline(tmp_path / "run.json").schema_version == 9


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"points": []}', '{"points": [{"entry": "a"}]}', "\0"])
def test_what_is_no_run_is_refused(text: str, tmp_path: Path):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(SpecError, match=r"is not a run of prep bench|has no points"):
        load_baseline(tmp_path / "run.json")


def test_a_baseline_that_is_not_there_is_refused(tmp_path: Path):
    with pytest.raises(SpecError, match="cannot be read: No such file"):
        load_baseline(tmp_path / "none.json")
