"""When a release is worse than the current one."""

from dataclasses import replace

import pytest
from prep_triton.publish.figures import EntryFigures
from prep_triton.run.regression import Regression, find_regressions
from prep_triton.spec import RegressionSpec

GOOD = EntryFigures("k", "onnxruntime", "fp32", size_bytes=1000, accuracy=90.0, served_cosine=0.9999, latency_ms=10.0)
LIMITS = RegressionSpec(max_cosine_drop=0.001, max_accuracy_drop=0.5, max_size_increase_percent=25.0)


def worse(**change) -> EntryFigures:
    return replace(GOOD, **change)


def compare(before: EntryFigures, after: EntryFigures, limits: RegressionSpec = LIMITS) -> list[Regression]:
    return find_regressions({"bert": before}, {"bert": after}, limits)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"served_cosine": 0.99}, "bert: cosine went from 0.9999 to 0.99, worse by 0.0099, expected at most 0.001"),
        ({"accuracy": 89.0}, "bert: accuracy went from 90 to 89, worse by 1 points, expected at most 0.5 points"),
        ({"size_bytes": 1300}, "bert: size_bytes went from 1000 to 1300, worse by 30 %, expected at most 25 %"),
    ],
)
def test_each_figure_is_held_to_its_threshold(change: dict, message: str):
    (regression,) = compare(GOOD, worse(**change))
    assert regression.message == message
    assert regression.figure == next(iter(change)).removeprefix("served_")


def test_within_the_thresholds_and_better_is_no_regression():
    assert not compare(GOOD, GOOD)
    slightly = worse(served_cosine=0.9990, accuracy=89.6, size_bytes=1200)
    assert not compare(GOOD, slightly)
    assert not compare(GOOD, worse(served_cosine=1.0, accuracy=99.0, size_bytes=1))
    # A single figure of another night says nothing of latency: that is compared by what bench measured, with intervals.
    assert not compare(GOOD, worse(latency_ms=1000.0))


@pytest.mark.parametrize("figure", ["served_cosine", "accuracy"])
def test_what_one_of_the_two_lacks_or_no_threshold_holds_is_not_compared(figure: str):
    bad = {"served_cosine": 0.0, "accuracy": 0.0}[figure]
    assert not compare(worse(**{figure: None}), worse(**{figure: bad}))
    assert not compare(GOOD, worse(**{figure: None}))
    none = RegressionSpec(max_cosine_drop=None, max_accuracy_drop=None, max_size_increase_percent=None)
    assert not compare(GOOD, worse(**{figure: bad, "size_bytes": 9999}), none)


def test_an_entry_that_is_gone_is_a_regression_and_a_new_one_is_not():
    (regression,) = find_regressions({"bert": GOOD}, {"distilbert": GOOD}, LIMITS)
    assert regression.message == "bert is in the current release and not in this one"
