"""Windows over a long context, and the best span of their logits."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prep_triton.precision.measure.answer_spans import find_answer, split_windows

from tests.fakes.wordpiece import make_tokenizer

CONTEXT = "The Ärmel 😀 rain, the sea. "


@pytest.fixture(scope="module")
def tokenizer():
    return make_tokenizer()


def peaks(window, start: int, end: int, height: float = 5.0) -> tuple[np.ndarray, np.ndarray]:
    """Logits of 0 with a peak at a start and an end."""
    starts, ends = np.zeros(len(window.ids), np.float32), np.zeros(len(window.ids), np.float32)
    starts[start], ends[end] = height, height
    return starts, ends


def test_short_context_is_one_window_as_the_tokenizer_encodes_the_pair(tokenizer):
    (window,) = split_windows(tokenizer, "the sea", CONTEXT, 96)
    pair = tokenizer.encode("the sea", CONTEXT)
    assert (list(window.ids), list(window.type_ids)) == (pair.ids, pair.type_ids)
    assert window.offsets[:4] == (None,) * 4
    assert window.offsets[-1] is None
    offsets = window.offsets[5]
    assert offsets is not None
    assert CONTEXT[slice(*offsets)] == "Ärmel"


def test_windows_of_a_long_context_overlap_and_cover_it(tokenizer):
    context = CONTEXT * 60
    windows = split_windows(tokenizer, "the sea", context, 300)
    assert all(len(window.ids) <= 300 for window in windows)
    parts = [[offset for offset in window.offsets if offset] for window in windows]
    assert all(len(set(one) & set(other)) >= 128 for one, other in pairwise(parts))
    whole = tokenizer.encode(context, add_special_tokens=False).offsets
    assert sorted({offset for part in parts for offset in part}) == whole


def test_question_keeps_its_first_64_tokens(tokenizer):
    windows = split_windows(tokenizer, "rain " * 500, CONTEXT * 60, 300)
    assert all(window.type_ids.count(0) == 1 + 64 + 1 for window in windows)


@given(question=st.integers(0, 40), context=st.integers(0, 60), max_tokens=st.integers(6, 80))
def test_any_lengths_give_windows_that_fit_and_cover_the_context(question, context, max_tokens):
    tokenizer = make_tokenizer()
    text = "rain " * context
    windows = split_windows(tokenizer, "sea " * question, text, max_tokens)
    assert all(len(window.ids) <= max_tokens for window in windows)
    assert {offset for window in windows for offset in window.offsets if offset} == {
        (5 * word, 5 * word + 4) for word in range(context)
    }


def test_answer_is_the_text_of_the_context_with_its_case_and_marks(tokenizer):
    windows = split_windows(tokenizer, "the sea", CONTEXT, 96)
    assert find_answer(CONTEXT, windows, [peaks(windows[0], 5, 7)], may_be_none=False) == "Ärmel 😀 rain"


@pytest.mark.parametrize(
    ("start", "end", "words"),
    [
        (1, 2, 1),  # in the question: the second best, 20..20
        (30, 25, 6),  # backwards: 20..25
        (10, 45, 11),  # 36 tokens: 10..20
        (10, 39, 30),  # 30 tokens: taken
    ],
)
def test_answer_is_never_from_the_question_backwards_or_longer_than_30_tokens(tokenizer, start, end, words):
    context = "rain " * 60
    (window,) = split_windows(tokenizer, "the sea", context, 96)
    starts, ends = peaks(window, start, end)
    starts[20] = ends[20] = 3
    assert find_answer(context, [window], [(starts, ends)], may_be_none=False).split() == ["rain"] * words


def test_only_the_20_best_ends_are_paired(tokenizer):
    context = "rain " * 60
    (window,) = split_windows(tokenizer, "the sea", context, 96)
    starts, ends = peaks(window, 40, 40, height=9.0)
    starts[10], ends[10:29] = 1, 7
    assert find_answer(context, [window], [(starts, ends)], may_be_none=False) == "rain"  # 40..40: 18
    ends[10:30], ends[12] = 10, 11  # twenty better ends, none of which the start at 40 can take
    assert find_answer(context, [window], [(starts, ends)], may_be_none=False) == "rain rain rain"  # 10..12: 12


def test_best_window_wins(tokenizer):
    context = "rain " * 40 + "sea " * 40
    windows = split_windows(tokenizer, "the", context, 48)
    rising = [peaks(window, 10, 10, height=index) for index, window in enumerate(windows)]
    falling = [peaks(window, 10, 10, height=9 - index) for index, window in enumerate(windows)]
    assert find_answer(context, windows, rising, may_be_none=False) == "sea"
    assert find_answer(context, windows, falling, may_be_none=False) == "rain"


def test_no_answer_wins_only_where_questions_may_have_none(tokenizer):
    (window,) = split_windows(tokenizer, "the sea", CONTEXT, 96)
    starts, ends = peaks(window, 5, 5, height=2.0)
    starts[0] = ends[0] = 3.0
    assert find_answer(CONTEXT, [window], [(starts, ends)], may_be_none=True) == ""
    assert find_answer(CONTEXT, [window], [(starts, ends)], may_be_none=False) == "Ärmel"
    starts[0] = 1.0  # a tie of 4 and 4: the threshold is 0, and is not passed
    assert find_answer(CONTEXT, [window], [(starts, ends)], may_be_none=True) == "Ärmel"


def test_one_window_that_holds_an_answer_overrules_the_others_without(tokenizer):
    context = "rain " * 40 + "sea " * 40
    windows = split_windows(tokenizer, "the", context, 48)
    logits = [peaks(window, 0, 0, height=4.0) for window in windows]
    starts, ends = peaks(windows[-1], 10, 10, height=5.0)
    logits[-1] = (starts, ends)
    assert find_answer(context, windows, logits, may_be_none=True) == "sea"


def test_empty_context_has_an_empty_answer(tokenizer):
    windows = split_windows(tokenizer, "the sea", "", 96)
    assert find_answer("", windows, [peaks(windows[0], 0, 0)], may_be_none=False) == ""
