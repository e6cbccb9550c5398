from copy import deepcopy

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
    rows_from_sentences,
)

from tests.fakes.subword import write_byte_level
from tests.fakes.wordpiece import make_tokenizer


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
    ids = tuple((index,) * length for index, length in enumerate(lengths))
    texts = tuple(map(str, range(len(lengths))))
    rows = Rows(ids, ids, texts, tuple(f"{text}'" for text in texts))
    chosen = choose_rows(rows, width)
    assert 1 <= len(chosen.ids) == len(chosen.texts) <= REFERENCE_ROWS
    longest = max(map(len, chosen.ids))
    assert len(chosen.ids) * longest * width <= max(MAX_REFERENCE_VALUES, width)
    assert all(text == str(ids[0]) for ids, text in zip(chosen.ids, chosen.texts, strict=True))
    assert (chosen.types, chosen.pairs) == (chosen.ids, tuple(f"{text}'" for text in chosen.texts))


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
    assert set(rows.texts) == set(rows.pairs) == {""}
    assert {token for row in rows.types for token in row} == {0}


def test_seeded_pairs_have_both_types_the_second_behind_the_first():
    rows = rows_from_seed(3, 50, 512, in_pairs=True)
    assert rows.ids == rows_from_seed(3, 50, 512).ids
    assert all(types == tuple(sorted(types)) and set(types) == {0, 1} for types in rows.types)
    assert [*map(len, rows.types)] == [*map(len, rows.ids)]


@pytest.mark.parametrize("longest", [5, 9, 200])
def test_pairs_are_each_sentence_and_the_next_as_transformers_frames_and_cuts_them(tmp_path, longest):
    transformers = pytest.importorskip("transformers")
    words = sorted({word.lower() for sentence in load_sentences() for word in sentence.split() if word.isalpha()})
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]))
    library = transformers.BertTokenizer.from_pretrained(tmp_path)
    rows = rows_from_sentences(deepcopy(library.backend_tokenizer), longest, in_pairs=True)
    assert rows.pairs == (*rows.texts[1:], rows.texts[0])
    for text, pair, ids, types in zip(rows.texts, rows.pairs, rows.ids, rows.types, strict=True):
        expected = library(text, pair, truncation="longest_first", max_length=longest)
        assert (list(ids), list(types)) == (expected["input_ids"], expected["token_type_ids"])
        assert set(types) == {0, 1}


def test_pairs_of_a_tokenizer_without_types_have_the_separators_between_them_and_one_type(tmp_path):
    transformers = pytest.importorskip("transformers")
    write_byte_level(tmp_path)
    library = transformers.AutoTokenizer.from_pretrained(tmp_path)
    rows = rows_from_sentences(deepcopy(library.backend_tokenizer), 64, in_pairs=True)
    assert {token for types in rows.types for token in types} == {0}
    for text, pair, ids in zip(rows.texts, rows.pairs, rows.ids, strict=True):
        assert list(ids) == library(text, pair, truncation="longest_first", max_length=64)["input_ids"]
        assert ids.count(library.sep_token_id) == 3  # <s> A </s></s> B </s>


def test_a_model_without_room_for_two_texts_has_rows_of_one():
    rows = rows_from_sentences(make_tokenizer(), 4, in_pairs=True)
    assert set(rows.pairs) == {""}
    assert {len(ids) for ids in rows.ids} <= {3, 4}


def test_rows_are_padded_with_zero_and_masked():
    arrays = pad_rows(((5, 6, 7), (8,)), ("input_ids", "attention_mask", "token_type_ids"))
    assert arrays["input_ids"].tolist() == [[5, 6, 7], [8, 0, 0]]
    assert arrays["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert arrays["token_type_ids"].sum() == 0
    assert {array.dtype for array in arrays.values()} == {np.dtype(np.int64)}


def test_types_are_laid_beside_the_ids_of_graphs_that_take_them():
    arrays = pad_rows(((5, 6, 7), (8,)), ("input_ids", "attention_mask", "token_type_ids"), ((0, 1, 1), (0,)))
    assert arrays["token_type_ids"].tolist() == [[0, 1, 1], [0, 0, 0]]
    assert "token_type_ids" not in pad_rows(((5, 6),), ("input_ids", "attention_mask"), ((0, 1),))
