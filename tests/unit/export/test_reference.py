import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prep_triton.export.reference import (
    MAX_REFERENCE_VALUES,
    REFERENCE_ROWS,
    Rows,
    choose_rows,
    load_sentences,
    pad_rows,
    rows_from_seed,
)


def test_sentences_are_unique_and_of_unequal_length():
    words = [len(sentence.split()) for sentence in load_sentences()]
    assert len(set(load_sentences())) == len(words) >= 32
    assert min(words) <= 3
    assert sum(count >= 90 for count in words) >= 3


@given(
    st.lists(st.integers(1, 600), min_size=1, max_size=40),
    st.sampled_from([1, 2, 384, 1024, 30522, 120_000, 5_000_000]),
)
def test_chosen_rows_stay_below_the_limit_and_keep_their_text(lengths, width):
    rows = Rows(tuple((index,) * length for index, length in enumerate(lengths)), tuple(map(str, range(len(lengths)))))
    chosen = choose_rows(rows, width)
    assert 1 <= len(chosen.ids) == len(chosen.texts) <= REFERENCE_ROWS
    longest = max(map(len, chosen.ids))
    assert len(chosen.ids) * longest * width <= max(MAX_REFERENCE_VALUES, width)
    assert all(text == str(ids[0]) for ids, text in zip(chosen.ids, chosen.texts, strict=True))


def test_narrow_outputs_get_long_and_short_rows():
    rows = rows_from_seed(0, 1000, 512)
    lengths = [len(ids) for ids in choose_rows(rows, 768).ids]
    assert len(lengths) == REFERENCE_ROWS
    assert min(lengths) < 8
    assert max(lengths) > 48


@pytest.mark.parametrize("longest", [1, 3, 512])
def test_seeded_rows_are_repeatable_ragged_and_within_the_vocabulary(longest):
    rows = rows_from_seed(3, 50, longest)
    assert rows == rows_from_seed(3, 50, longest)
    assert rows != rows_from_seed(4, 50, longest)
    assert max(map(len, rows.ids)) <= longest
    assert max(map(max, rows.ids)) < 50
    assert set(rows.texts) == {""}


def test_rows_are_padded_with_zero_and_masked():
    arrays = pad_rows(((5, 6, 7), (8,)), ("input_ids", "attention_mask", "token_type_ids"))
    assert arrays["input_ids"].tolist() == [[5, 6, 7], [8, 0, 0]]
    assert arrays["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert arrays["token_type_ids"].sum() == 0
    assert {array.dtype for array in arrays.values()} == {np.dtype(np.int64)}
