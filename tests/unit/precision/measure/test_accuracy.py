"""The gate itself, and what is refused before a graph is opened."""

from pathlib import Path

import pytest
from prep_triton.artifact import AccuracyRecord, OnnxModel
from prep_triton.errors import PrecisionError, SpecError
from prep_triton.precision.measure.accuracy import check_accuracy, check_eval_data, measure_accuracy

from scripts.benchmarks.records import make_graph
from tests.fakes.wordpiece import make_tokenizer


def make_model(folder: Path, **more) -> OnnxModel:
    classifier = {"task": "text-classification", "source": "folder:tiny", "labels": ("no", "yes")}
    return make_graph("tiny", folder=folder, max_sequence_length=64, **(classifier | more))


def refused(tmp_path: Path, error: type, text: str = '{"text": "a", "label": 0}', **more):
    path = tmp_path / "eval.jsonl"
    path.write_text(text)
    with pytest.raises(error) as caught:
        measure_accuracy(tmp_path / "a.onnx", tmp_path / "b.onnx", make_model(tmp_path, **more), path)
    return caught.value


def record(reference: float, converted: float, rows: int = 1000) -> AccuracyRecord:
    return AccuracyRecord(metric="F1", rows=rows, reference=reference, converted=converted)


def test_drop_beyond_the_budget_is_refused_with_every_number():
    with pytest.raises(PrecisionError) as caught:
        check_accuracy(record(90.0, 88.75), 0.5)
    assert caught.value.message == (
        "F1 is 88.75 where FP32 has 90.00 (1000 rows): a drop of 1.25 points, at most 0.5 allowed"
    )
    assert caught.value.hint == "keep more layers out of int8 (keep_out), use --fp16, or raise --max-accuracy-drop"


def test_drop_that_barely_exceeds_the_budget_shows_digits_that_tell():
    with pytest.raises(PrecisionError, match=r"a drop of 0\.504 points, at most 0\.5 allowed"):
        check_accuracy(record(90.0, 89.496), 0.5)


def test_few_rows_are_named_in_the_hint():
    with pytest.raises(PrecisionError) as caught:
        check_accuracy(record(100.0, 95.0, rows=20), 0.5)
    assert "one of 20 rows weighs up to 5 points" in caught.value.hint


@pytest.mark.parametrize(("before", "after"), [(90.0, 89.5), (100 * 18 / 20, 100 * 18 / 20 - 0.5), (90, 90), (80, 95)])
def test_drop_within_the_budget_and_a_gain_pass(before, after):
    check_accuracy(record(before, after), 0.5)


def test_budget_of_nothing_allows_nothing():
    check_accuracy(record(90, 90), 0.0)
    with pytest.raises(PrecisionError, match=r"a drop of 0\.1 points, at most 0 allowed"):
        check_accuracy(record(90, 89.9), 0.0)


@pytest.mark.parametrize(("before", "after", "budget"), [(0.0, 0.0, 0.5), (0.4, 0.0, 0.5), (0.0, 0.0, 0.0)])
def test_gate_that_cannot_fail_is_refused(before, after, budget):
    with pytest.raises(PrecisionError, match="cannot be missed, so the gate proves nothing") as caught:
        check_accuracy(record(before, after), budget)
    assert "--eval-data and its labels belong to this model" in caught.value.hint


def test_a_row_of_ranks_weighs_as_much_as_where_the_first_becomes_the_last():
    ranks = record(80.0, 70.0, rows=99).model_copy(update={"metric": "Spearman correlation"})
    with pytest.raises(PrecisionError) as caught:
        check_accuracy(ranks, 0.5)
    assert "one of 99 rows weighs up to 6 points" in caught.value.hint


@pytest.mark.parametrize("labels", [(), ("LABEL_0",)])
def test_regression_is_refused(tmp_path, labels):
    error = refused(tmp_path, SpecError, labels=labels)
    assert f"tiny has {len(labels)} label(s)" in error.message
    assert "--min-cosine" in error.hint


def test_one_label_ranks_pairs_and_none_scores_nothing(tmp_path):
    make_tokenizer().save(str(tmp_path / "tokenizer.json"))
    path = tmp_path / "eval.jsonl"
    path.write_text('{"query": "the sea", "documents": ["rain", "sea"], "relevance": [0, 1]}')
    check_eval_data(make_model(tmp_path, task="text-pair-classification", labels=("LABEL_0",)), path)
    error = refused(tmp_path, SpecError, path.read_text(), task="text-pair-classification", labels=())
    assert "tiny has 0 label(s)" in error.message


def test_model_without_a_tokenizer_is_refused(tmp_path):
    error = refused(tmp_path, SpecError, weights="random")
    assert "tiny has no tokenizer.json (random weights)" in error.message
    assert "--min-cosine" in error.hint


def test_damaged_tokenizer_is_refused(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{}")
    error = refused(tmp_path, PrecisionError)
    assert "tokenizer.json cannot be read" in error.message
    assert "prep export" in error.hint


def test_bad_rows_are_refused_before_the_tokenizer_is_read(tmp_path):
    assert "line 1: the model has no label" in refused(tmp_path, SpecError, '{"text": "a", "label": "x"}').message


def test_eval_data_can_be_checked_before_any_graph_exists(tmp_path):
    make_tokenizer().save(str(tmp_path / "tokenizer.json"))
    path = tmp_path / "eval.jsonl"
    path.write_text('{"text": "the [MASK]", "label": "sea"}')
    model = make_model(tmp_path, task="fill-mask", labels=())
    check_eval_data(model, path)
    path.write_text('{"text": "the [MASK]", "label": "see"}')
    with pytest.raises(SpecError, match="'see' is not a token") as caught:
        check_eval_data(model, path)
    assert "did you mean 'sea'?" in caught.value.hint


def test_record_survives_its_manifest():
    full = AccuracyRecord(metric="F1", rows=2, reference=90, converted=89, others={"exact match": (80.0, 79.0)})
    assert AccuracyRecord.model_validate_json(full.model_dump_json()) == full
