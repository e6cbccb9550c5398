import numpy as np
import pytest
from prep_triton.errors import PrecisionError
from prep_triton.precision.measure.fidelity import cosine, measure_cosines, record_fidelity


def test_cosine_is_exact_for_long_fp32_vectors():
    vector = np.random.default_rng(0).normal(size=100_000).astype(np.float32)
    assert cosine(vector, vector) == pytest.approx(1.0, abs=1e-12)
    assert cosine(vector, -vector) == pytest.approx(-1.0, abs=1e-12)


def test_an_answer_of_zeros_has_no_direction():
    assert cosine(np.zeros(3, np.float32), np.ones(3, np.float32)) == 0.0


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_answer_that_is_not_finite_is_refused(value):
    with pytest.raises(PrecisionError, match="answers NaN or infinity") as caught, np.errstate(invalid="ignore"):
        cosine(np.array([1, value], np.float32), np.ones(2, np.float32))
    assert "another precision" in caught.value.hint


def test_the_record_says_what_was_measured():
    record = record_fidelity(np.array([0.9, 1.0]), runtime="onnxruntime 1", measured_on="fp32 scales")
    assert (record.rows, record.mean_cosine, record.min_cosine) == (2, 0.95, 0.9)
    assert record.runtime.startswith("onnxruntime ")
    assert record.runtime.endswith(", fp32 scales")


def test_answers_that_are_one_number_are_not_compared_by_their_signs():
    expected = [np.array([value], np.float32) for value in (2.0, -1.0, 0.5)]
    halved = [vector / 2 for vector in expected]
    assert [cosine(a, b) for a, b in zip(expected, halved, strict=True)] == pytest.approx([1, 1, 1])
    measured = measure_cosines(zip(expected, halved, strict=True))
    assert measured == pytest.approx(
        [1 - 0.5**2 / 2, 1 - (0.5 / 1.3229) ** 2 / 2, 1 - (0.25 / 1.3229) ** 2 / 2], abs=1e-4
    )
    assert measure_cosines([(np.ones(2, np.float32), np.ones(2, np.float32))]) == pytest.approx([1.0])
