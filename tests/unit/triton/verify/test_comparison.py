"""Answers are held against the reference, and the tokenizer against its ids."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prep_triton.reference import load_reference, load_tokenizer, save_reference
from prep_triton.triton.verify.comparison import Comparison, check_tokenizer

from scripts.benchmarks.records import INPUT_NAMES
from scripts.benchmarks.small_artifacts import make_model, make_tokenizer


@pytest.fixture
def model(tmp_path):
    return make_model(tmp_path)


def load(model):
    return load_reference(model.path("reference.npz"), INPUT_NAMES, ["last_hidden_state"])


def test_tokenizer_agrees_in_spite_of_its_own_padding_and_truncation(model):
    tokenizer = make_tokenizer()
    tokenizer.enable_truncation(max_length=2)
    tokenizer.save(str(model.path("tokenizer.json")))
    assert check_tokenizer(model.path("tokenizer.json"), load(model)) is None


def test_another_tokenizer_is_noticed(model):
    reference = load(model)
    path = model.path("tokenizer.json")
    path.write_text(path.read_text().replace('"w4"', '"w4x"'))
    assert "other input_ids than the reference for 'w4'" in str(check_tokenizer(path, reference))
    path.write_text("{")
    assert "cannot be read" in str(check_tokenizer(path, reference))


def test_the_second_text_of_a_row_is_tokenized_beside_the_first(tmp_path):
    tokenizer, path = make_tokenizer(), tmp_path / "reference.npz"
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    encoding = load_tokenizer(tmp_path / "tokenizer.json").encode("w1 w2", "w3")
    assert set(encoding.type_ids) == {0, 1}
    inputs = {
        "input_ids": np.array([encoding.ids]),
        "attention_mask": np.ones((1, len(encoding.ids)), np.int64),
        "token_type_ids": np.array([encoding.type_ids]),
    }
    save_reference(path, inputs, {}, ["w1 w2"], ["w3"])
    assert check_tokenizer(tmp_path / "tokenizer.json", load_reference(path, INPUT_NAMES, [])) is None
    save_reference(path, inputs, {}, ["w1 w2"], ["w4"])
    told = check_tokenizer(tmp_path / "tokenizer.json", load_reference(path, INPUT_NAMES, []))
    assert told == "tokenizer.json gives other input_ids than the reference for ('w1 w2', 'w4')"


def compare(answer, expected):
    comparison = Comparison()
    comparison.add(0, np.array(answer), np.array(expected))
    return comparison.cosines[0], comparison.max_abs_error


@pytest.mark.parametrize(
    ("answer", "expected", "cosine", "error"),
    [
        ([1.0, 2.0], [1.0, 2.0], 1.0, 0.0),
        ([1.0, 0.0], [0.0, 1.0], 0.0, 1.0),
        ([-1.0], [1.0], -1.0, 2.0),
        ([0.0], [0.0], 1.0, 0.0),
        ([0.0], [2.0], 0.5, 2.0),
        ([float("nan")], [2.0], float("nan"), float("nan")),
        ([1.0], [1.0, 2.0], float("nan"), float("nan")),
    ],
)
def test_comparison_of_two_answers(answer, expected, cosine, error):
    assert compare(answer, expected) == pytest.approx((cosine, error), nan_ok=True)


def test_one_nan_stays_in_the_largest_error():
    comparison = Comparison()
    for value in (1.0, float("nan"), 3.0):
        comparison.add(0, np.array([value]), np.array([0.5]))
    assert np.isnan(comparison.max_abs_error)


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=8))
def test_an_answer_agrees_with_itself(values):
    cosine, error = compare(values, values)
    assert cosine == pytest.approx(1.0)
    assert error == 0.0
