"""How close two answers are."""

import math

import numpy as np
import pytest
from prep_triton.agreement import (
    allowed_error,
    answer_vector,
    chooses_labels,
    cosine_of_numbers,
    count_label_changes,
)


def test_an_embedding_is_the_mean_over_its_tokens_and_anything_else_every_value():
    hidden = np.arange(6.0).reshape(3, 2)
    assert answer_vector({"h": hidden}, ["h"], "feature-extraction").tolist() == [2.0, 3.0]
    ends = {"start": np.array([1.0, 2.0]), "end": np.array([3.0, 4.0])}
    assert answer_vector(ends, ["start", "end"], "question-answering").tolist() == [1.0, 2.0, 3.0, 4.0]


@pytest.mark.parametrize(
    ("expected", "actual", "counts"),
    [
        ([5.0, -5.0], [4.0, -5.0], (0, 1)),
        ([5.0, -5.0], [-1.0, 0.0], (1, 1)),
        ([0.1, 0.0, -3.0], [0.0, 0.1, -3.0], (0, 0)),  # nobody can tell which of the first two it is
        ([[5.0, -5.0], [0.01, 0.0]], [[5.0, -5.0], [0.0, 0.01]], (0, 1)),  # of a row's tokens
        ([[5.0, -5.0], [-4.0, 4.0]], [[-5.0, 5.0], [-4.0, 4.0]], (1, 2)),
    ],
)
def test_a_label_counts_where_pytorch_chooses_it_clearly(expected, actual, counts):
    assert count_label_changes(np.array(expected), np.array(actual)) == counts


def test_numbers_and_labels_beside_each_other_are_no_choice():
    assert chooses_labels("text-classification", ("a", "b"), "softmax")
    assert chooses_labels("token-classification", ("O", "B-X"), "softmax")
    assert not chooses_labels("text-classification", ("a", "b"), "sigmoid")
    assert not chooses_labels("text-classification", ("score",), "softmax")
    assert not chooses_labels("fill-mask", (), "softmax")


def test_numbers_are_held_against_the_size_of_all_of_them():
    assert cosine_of_numbers(0.01, 0.02, 2.0) == pytest.approx(1 - 0.005**2 / 2)  # a cosine of them would be 1
    assert cosine_of_numbers(0.01, -0.01, 2.0) > 0.9999  # and here -1
    assert cosine_of_numbers(1.7, 1.63, 1.7) == pytest.approx(0.99915, abs=1e-5)
    assert cosine_of_numbers(8.0, 4.0, 2.0) == pytest.approx(1 - 0.5**2 / 2)  # larger than the others: its own size
    assert cosine_of_numbers(1.0, 100.0, 1.0) == -1.0
    assert (cosine_of_numbers(0.0, 0.0, 0.0), cosine_of_numbers(0.0, 0.1, 0.0)) == (1.0, -1.0)
    assert math.isnan(cosine_of_numbers(1.0, float("nan"), 1.0))


def test_a_single_logit_may_err_by_what_the_others_say_of_its_size():
    assert allowed_error(np.array([0.01]), 0.9999) == pytest.approx(0.01 * math.sqrt(2e-4))
    assert allowed_error(np.array([0.01]), 0.9999, rms=2.0) == pytest.approx(2.0 * math.sqrt(2e-4))
    assert allowed_error(np.array([0.01, 3.0]), 0.9999, rms=99.0) == allowed_error(np.array([0.01, 3.0]), 0.9999)
