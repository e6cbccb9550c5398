"""SQuAD's rules, on examples scored by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prep_triton.precision.measure.squad import compute_f1, is_exact_match, normalize_answer, score_answers


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The  Cat!", "cat"),
        ("a cat, an owl & the dog", "cat owl dog"),
        ("An apple a day", "apple day"),
        ("theatre", "theatre"),
        ("U.S.", "us"),
        ("the-end", "theend"),
        ("it's 3.5%", "its 35"),
        ("\tDenver\n Broncos ", "denver broncos"),
        ("“Denver”", "“denver”"),
        ("der Ärmelkanal", "der ärmelkanal"),
        ("the", ""),
        ("...", ""),
        ("", ""),
    ],
)
def test_answer_is_normalised_by_case_marks_articles_and_whitespace(text, normal):
    assert normalize_answer(text) == normal


def test_article_that_removed_punctuation_lays_bare_goes_too():
    assert normalize_answer("vitamin (A)") == "vitamin"


@pytest.mark.parametrize(
    ("prediction", "gold", "exact", "f1"),
    [
        ("The Denver Broncos!", "Denver Broncos", True, 1),
        ("Broncos", "Denver Broncos", False, 2 / 3),  # precision 1, recall 1/2
        ("in the city of Paris", "Paris, France", False, 1 / 3),  # 1 shared of 4 and 2
        ("Broncos Denver", "Denver Broncos", False, 1),
        ("new york new york", "new york", False, 2 / 3),  # 2 shared of 4 and 2: a word counts as often as in both
        ("Carolina Panthers", "Denver Broncos", False, 0),
        ("", "Denver", False, 0),
        ("the", "a", True, 1),
    ],
)
def test_exact_match_and_f1_of_one_pair(prediction, gold, exact, f1):
    assert is_exact_match(prediction, gold) is exact
    assert compute_f1(prediction, gold) == pytest.approx(f1)


def test_best_of_several_gold_answers_counts():
    score = score_answers(["Santa Clara"], [["Levi's Stadium", "Santa Clara, California", "the Santa Clara"]])
    assert (score.exact_match, score.f1) == (100, 100)
    score = score_answers(["Santa Clara"], [["Levi's Stadium", "Santa Clara, California"]])
    assert score.exact_match == 0
    assert score.f1 == pytest.approx(80)  # precision 1, recall 2/3


def test_score_is_the_mean_over_questions_in_points():
    score = score_answers(["Denver", "Broncos", "nothing"], [["denver"], ["Denver Broncos"], ["Paris"]])
    assert score.exact_match == pytest.approx(100 / 3)
    assert score.f1 == pytest.approx(100 * (1 + 2 / 3 + 0) / 3)


def test_question_without_answer_is_right_only_when_nothing_is_answered():
    score = score_answers(["", "Paris"], [[], []])
    assert (score.exact_match, score.f1) == (50, 50)


def test_gold_of_which_nothing_is_left_accepts_nothing():
    assert score_answers(["the"], [["a", "Paris"]]).f1 == 0
    assert score_answers(["Paris"], [["a", "Paris"]]).f1 == 100


@given(st.text(max_size=100), st.text(max_size=100))
def test_f1_is_symmetric_bounded_and_whole_where_answers_match(one, other):
    f1 = compute_f1(one, other)
    assert 0 <= f1 <= 1
    assert f1 == compute_f1(other, one)
    assert compute_f1(one, one) == 1
    if is_exact_match(one, other):
        assert f1 == 1
