import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prep_triton.artifact import TensorSpec
from prep_triton.errors import ParityError
from prep_triton.export.parity import Case, compare_answers, mean_cosine

SPEC = TensorSpec(name="last_hidden_state", dtype="FP32", shape=("batch", "sequence", 8))


@pytest.fixture
def case() -> Case:
    mask = np.array([[1, 1, 1], [1, 0, 0]])
    answers = np.random.default_rng(0).standard_normal((2, 3, 8)).astype(np.float32)
    return Case({"attention_mask": mask}, {"last_hidden_state": answers})


def refused(case: Case, got) -> str:
    with pytest.raises(ParityError) as caught:
        compare_answers(SPEC, case, got)
    assert caught.value.hint
    return caught.value.message


def test_equal_answers_are_at_distance_zero(case):
    error, cosine = compare_answers(SPEC, case, case.answers["last_hidden_state"])
    assert error == 0
    assert cosine == pytest.approx(1)


def test_what_lies_under_the_padding_does_not_matter(case):
    got = case.answers["last_hidden_state"].copy()
    got[1, 1:] = np.nan
    assert compare_answers(SPEC, case, got)[0] == 0


def test_wrong_value_tells_output_shape_and_distance(case):
    got = case.answers["last_hidden_state"].copy()
    got[1, 0, 3] += 0.5
    message = refused(case, got)
    assert "output 'last_hidden_state' at shape 2x3" in message
    assert "5.00e-01" in message


def test_wrong_shape_tells_both(case):
    message = refused(case, case.answers["last_hidden_state"][:, :2])
    assert "(2, 2, 8)" in message
    assert "(2, 3, 8)" in message


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_answer_that_is_not_finite_fails_whoever_gives_it(case, bad):
    got = case.answers["last_hidden_state"].copy()
    got[0, 0, 0] = bad
    assert "ONNX answers NaN or infinity in 1 of 32 values" in refused(case, got)
    whole = case.answers["last_hidden_state"]
    assert "PyTorch answers NaN" in refused(Case(case.inputs, {"last_hidden_state": got}), whole)


def test_classification_is_compared_whole():
    spec = TensorSpec(name="logits", dtype="FP32", shape=("batch", 2))
    answers = np.array([[1.0, -1.0], [0.5, 0.0]], np.float32)
    case = Case({"attention_mask": np.array([[1, 0], [1, 1]])}, {"logits": answers})
    assert compare_answers(spec, case, answers)[0] == 0
    with pytest.raises(ParityError, match="output 'logits'"):
        compare_answers(spec, case, answers * 1.01)


def test_small_answers_are_compared_on_a_scale_that_is_not_zero():
    spec = TensorSpec(name="logits", dtype="FP32", shape=("batch", 1))
    case = Case({"attention_mask": np.array([[1]])}, {"logits": np.array([[1e-6]], np.float32)})
    assert compare_answers(spec, case, np.array([[1.1e-6]], np.float32))[0] < 1e-6


@given(st.lists(st.floats(-10, 10, width=32), min_size=1, max_size=40))
def test_cosine_of_a_vector_with_itself_is_one_even_where_it_is_zero(values):
    array = np.array(values, np.float32)
    assert mean_cosine(array, array) == pytest.approx(1)


def test_cosine_of_zero_with_something_is_zero():
    assert mean_cosine(np.zeros(8, np.float32), np.ones(8, np.float32)) == 0
