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


@pytest.mark.parametrize("value", [*NO_NUMBERS, -0.1, 1.1])
def test_a_request_with_such_a_number_is_refused(value):
    with pytest.raises(ValidationError, match="min_cosine"):
        GateSpec(min_cosine=value)
    with pytest.raises(ValidationError, match="smoothing_alpha"):
        QuantizationSpec.model_validate({"calibration": {"path": "a.txt"}, "smoothing_alpha": value})
