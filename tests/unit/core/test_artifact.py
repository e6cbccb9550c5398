"""Records: a number of a manifest that nobody measured is refused, wherever a manifest is read."""

import json
import math

import pytest
from prep_triton.artifact import AccuracyRecord, FidelityRecord, ParityRecord
from prep_triton.errors import RepositoryError
from prep_triton.publish.repository import scan_repository
from prep_triton.spec import GateSpec, QuantizationSpec
from prep_triton.triton.entries.load import load_repository
from prep_triton.triton.lint import lint_repository
from pydantic import ValidationError

NO_NUMBERS = [math.nan, math.inf, -math.inf]


@pytest.mark.parametrize("tolerance", ["NaN", "Infinity", "-Infinity", "-5", "1.5", "1e999", "null", '"nan"'])
def test_verify_lint_and_publish_refuse_a_tolerance_that_is_none(make_repository, tolerance):
    folder = make_repository("bert")
    path = folder / "bert" / "manifest.json"
    content = json.loads(path.read_text()) | {"tolerance": "HERE"}
    path.write_text(json.dumps(content).replace('"HERE"', tolerance))
    for read in (load_repository, scan_repository):
        with pytest.raises(RepositoryError, match=r"manifest\.json: tolerance: ") as caught:
            read(folder)
        assert "prep assemble" in caught.value.hint
    damaged = [finding for finding in lint_repository(folder).findings if finding.code == "manifest-damaged"]
    assert [finding.severity for finding in damaged] == ["error"]
    assert "tolerance" in damaged[0].message


@pytest.mark.parametrize("value", [*NO_NUMBERS, -1.1, 1.1])
def test_a_cosine_is_a_cosine(value):
    with pytest.raises(ValidationError, match="mean_cosine"):
        FidelityRecord(rows=1, mean_cosine=value, min_cosine=0.5, runtime="")
    with pytest.raises(ValidationError, match="mean_cosine"):
        ParityRecord(shapes=((1, 8),), max_abs_error=0.0, mean_cosine=value)


def test_a_cosine_that_rounding_moved_past_one_is_one():
    assert FidelityRecord(rows=1, mean_cosine=1.0000000000000002, min_cosine=-1.0, runtime="").mean_cosine > 1


@pytest.mark.parametrize("value", [*NO_NUMBERS, -0.1, 100.1])
def test_points_lie_between_0_and_100(value):
    with pytest.raises(ValidationError, match="converted"):
        AccuracyRecord(metric="accuracy", rows=1, reference=90.0, converted=value)


def test_a_correlation_may_be_negative():
    negative = {"metric": "Spearman correlation", "rows": 3, "reference": -2.5}
    assert AccuracyRecord(**negative, converted=-100.0).reference == -2.5
    with pytest.raises(ValidationError, match="converted"):
        AccuracyRecord(**negative, converted=-100.1)


@pytest.mark.parametrize("value", [*NO_NUMBERS, -0.1, 1.1])
def test_a_request_with_such_a_number_is_refused(value):
    with pytest.raises(ValidationError, match="min_cosine"):
        GateSpec(min_cosine=value)
    with pytest.raises(ValidationError, match="smoothing_alpha"):
        QuantizationSpec.model_validate({"calibration": {"path": "a.txt"}, "smoothing_alpha": value})


@pytest.mark.parametrize(
    ("key", "value"),
    [("max_batch_size", -1), ("max_batch_size", 10**40), ("length_buckets", [0]), ("length_buckets", [16, -5])],
)
def test_a_count_that_no_server_has_is_refused(make_repository, key, value):
    folder = make_repository("bert")
    edit_manifest(folder / "bert", **{key: value})
    with pytest.raises(RepositoryError, match=rf"manifest\.json: {key}"):
        scan_repository(folder)
    assert "manifest-damaged" in {finding.code for finding in lint_repository(folder).findings}


def test_a_manifest_that_lists_no_files_is_not_complete(make_repository):
    folder = make_repository("bert")
    edit_manifest(folder / "bert", files={})
    for read in (load_repository, scan_repository):
        with pytest.raises(RepositoryError, match=r"manifest\.json does not list config\.pbtxt"):
            read(folder)
    assert "manifest-damaged" in {finding.code for finding in lint_repository(folder).findings}


def test_what_is_missing_is_named_in_words(make_repository):
    folder = make_repository("bert")
    (folder / "bert" / "config.pbtxt").unlink()
    (folder / "bert" / "reference.npz").unlink(missing_ok=True)
    with pytest.raises(RepositoryError, match=r"does not hold a complete repository entry: \S+ is missing"):
        load_repository(folder)


def test_a_folder_in_the_place_of_a_file_is_not_one(make_repository):
    folder = make_repository("bert")
    (folder / "bert" / "config.pbtxt").unlink()
    (folder / "bert" / "config.pbtxt").mkdir()
    with pytest.raises(RepositoryError, match=r"config\.pbtxt is not a file"):
        load_repository(folder)


def edit_manifest(entry, **values):
    path = entry / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
