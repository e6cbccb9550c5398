"""The texts for tasks whose input the reference does not hold, and the tokenizer that splits them."""

import pytest
from prep_triton.errors import VerifyError
from prep_triton.triton.verify.text_rows import load_tokenizer, masked_texts, question_pairs

from tests.fakes.entries import make_entry


def test_texts_for_tasks_that_the_reference_lacks():
    assert list(masked_texts(["one two three", "word"])) == [("", "one [MASK] three"), ("", "[MASK]")]
    texts = ["a longer one", "short", "another one"]
    assert list(question_pairs(texts)) == [
        ("short", "a longer one"),
        ("another one", "short"),
        ("short", "another one"),
    ]
    assert list(question_pairs(["alone"])) == []


def test_a_tokenizer_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(VerifyError, match=r"tokenizer\.json cannot be read") as caught:
        load_tokenizer(make_entry(folder=tmp_path))
    assert "assemble" in caught.value.hint
