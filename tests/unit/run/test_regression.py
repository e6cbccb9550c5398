"""When a release is worse than the current one."""

from pathlib import Path

import pytest
from prep_triton.artifact import AccuracyRecord, RepositoryEntry
from prep_triton.run.regression import EntryFigures, figures_from_entry, find_regressions
from prep_triton.spec import RegressionSpec

from scripts.benchmarks.small_artifacts import make_model

GOOD = EntryFigures(name="bert", cosine=0.9999, accuracy=90.0, size_bytes=1000, latency_ms=10.0)
LIMITS = RegressionSpec(
    max_cosine_drop=0.001, max_accuracy_drop=0.5, max_size_increase_percent=25.0, max_latency_increase_percent=50.0
)


def worse(**change) -> EntryFigures:
    return GOOD.model_copy(update=change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cosine": 0.99}, "bert: cosine went from 0.9999 to 0.99, worse by 0.0099, expected at most 0.001"),
        ({"accuracy": 89.0}, "bert: accuracy went from 90 to 89, worse by 1 points, expected at most 0.5 points"),
        ({"size_bytes": 1300}, "bert: size_bytes went from 1000 to 1300, worse by 30 %, expected at most 25 %"),
        ({"latency_ms": 16.0}, "bert: latency_ms went from 10 to 16, worse by 60 %, expected at most 50 %"),
    ],
)
def test_each_figure_is_held_to_its_threshold(change: dict, message: str):
    (found,) = find_regressions([GOOD], [worse(**change)], LIMITS)
    assert found.message == message
    assert found.figure == next(iter(change))


def test_within_the_thresholds_and_better_is_no_regression():
    assert not find_regressions([GOOD], [GOOD], LIMITS)
    slightly = worse(cosine=0.9990, accuracy=89.6, size_bytes=1200, latency_ms=14.0)
    assert not find_regressions([GOOD], [slightly], LIMITS)
    assert not find_regressions([GOOD], [worse(cosine=1.0, accuracy=99.0, size_bytes=1, latency_ms=0.1)], LIMITS)


@pytest.mark.parametrize("figure", ["cosine", "accuracy", "size_bytes", "latency_ms"])
def test_what_one_of_the_two_lacks_or_no_threshold_holds_is_not_compared(figure: str):
    bad = {"cosine": 0.0, "accuracy": 0.0, "size_bytes": 9999, "latency_ms": 9999.0}[figure]
    assert not find_regressions([worse(**{figure: None})], [worse(**{figure: bad})], LIMITS)
    assert not find_regressions([GOOD], [worse(**{figure: None})], LIMITS)
    none = RegressionSpec(
        max_cosine_drop=None,
        max_accuracy_drop=None,
        max_size_increase_percent=None,
        max_latency_increase_percent=None,
    )
    assert not find_regressions([GOOD], [worse(**{figure: bad})], none)


def test_an_entry_that_is_gone_is_a_regression_and_a_new_one_is_not():
    (found,) = find_regressions([GOOD], [worse(name="distilbert")], LIMITS)
    assert found.message == "bert is in the current release and not in this one"


def test_figures_come_from_the_manifest_and_the_verification(tmp_path: Path):
    model = make_model(tmp_path)
    accuracy = AccuracyRecord(metric="accuracy", rows=10, reference=91.0, converted=90.0)
    entry = RepositoryEntry(
        name="tiny",
        runtime="onnxruntime",
        precision="fp32",
        task="feature-extraction",
        architecture="bert",
        weights="random",
        max_batch_size=4,
        tolerance=0.9999,
        files=model.files,
        onnx=model.model_copy(update={"accuracy": accuracy}),
    )
    figures = figures_from_entry(entry, {"mean_cosine": 0.9, "p50_ms": 3.0})
    size = sum(file.size for file in model.files.values())
    assert figures == EntryFigures(name="tiny", cosine=0.9, accuracy=90.0, size_bytes=size, latency_ms=3.0)
    assert figures_from_entry(entry, {"mean_cosine": float("nan"), "p50_ms": "fast"}).cosine is None
    assert figures_from_entry(entry.model_copy(update={"onnx": None}), None) == EntryFigures(
        name="tiny", size_bytes=size
    )
