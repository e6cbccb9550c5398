"""How close two answers are."""

import numpy as np
import pytest
from prep_triton.agreement import answer_vector, chooses_labels, count_label_changes


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
