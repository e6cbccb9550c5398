"""A text of any length is tokenized as far as the model can take it, and the tokens are the library's own."""

import resource
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from prep_triton.reference import load_tokenizer
from prep_triton.triton.inside_server.encode.bounded import BoundedTokenizer
from prep_triton.triton.inside_server.encode.encoder import Encoder
from prep_triton.triton.inside_server.encode.prompts import TextError
from prep_triton.triton.inside_server.encode.settings import EncoderSettings
from tokenizers import AddedToken, Tokenizer, normalizers, pre_tokenizers

from tests.fakes.subword import write_byte_level, write_unigram
from tests.fakes.wordpiece import make_tokenizer

LONGEST = 8
PIECES = st.sampled_from(
    [
        *(
            "the",
            "rainy",
            "sea ",
            " ",
            "\n",
            "\t",
            "\u00a0",
            "\u3000",
            ",",
            ".",
            "_",
            "-",
            "。",
            "！",
            "x" * 101,
            "y" * 70,
        ),
        *("東京", "東", "e\u0301", "\u0301", "\u0327\u0301", "É", "İ", "Σ", "ﬁ", "😀", "\u200d", "\0", "\ufffd", "각"),
        *(
            "<mask>",
            "[MASK]",
            "[MA",
            "SK]",
            "[SEP]",
            "new-word",
            "new",
            "-word",
            "中国",
            "中",
            "NEW-WORD",
            "two words",
            "##y",
        ),
    ]
)
TEXTS = st.lists(PIECES, min_size=20, max_size=120).map("".join)


def make_added(**changes):
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(["new-word", "中国", AddedToken("[MASK]", lstrip=True, rstrip=True, special=True)])
    tokenizer.normalizer = normalizers.BertNormalizer(**{"lowercase": True, **changes})
    return tokenizer


def make_spaced():
    tokenizer = make_added()
    tokenizer.add_tokens(["two words", "sea \n"])
    return tokenizer


def make_single():
    tokenizer = make_added()
    tokenizer.add_tokens([AddedToken("the", single_word=True)])
    return tokenizer


def make_other():
    tokenizer = make_added()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    return tokenizer


def load_subword(write):
    with TemporaryDirectory() as folder:
        write(Path(folder))
        tokenizer = load_tokenizer(Path(folder) / "tokenizer.json")
    tokenizer.add_tokens(["new-word", "中国"])
    return tokenizer


# Made once: their vocabularies are learned.
SUBWORD = {
    "byte-level BPE": load_subword(write_byte_level).to_str(),
    "byte-level BPE with a space first": load_subword(partial(write_byte_level, add_prefix_space=True)).to_str(),
    "Unigram": load_subword(write_unigram).to_str(),
}
KINDS: dict[str, Callable[..., Tokenizer]] = {
    **{name: partial(Tokenizer.from_str, content) for name, content in SUBWORD.items()},
    "plain": make_tokenizer,
    "added": make_added,
    "cased": lambda: make_added(lowercase=False),
    "accents": lambda: make_added(strip_accents=False),
    "no ideographs": lambda: make_added(handle_chinese_chars=False),
    "uncleaned": lambda: make_added(clean_text=False),
    "spaced": make_spaced,
    "single word": make_single,
    "other kind": make_other,
}


def encode(tokenizer, text, task="token-classification", **changes):
    settings = EncoderSettings(task, **{"length_buckets": (LONGEST,), "max_rows": 4, **changes})
    (result,) = Encoder(tokenizer, settings).encode([[np.array([[text.encode()]], np.object_)]])
    return result


@pytest.mark.parametrize("kind", KINDS)
@given(text=TEXTS)
def test_a_truncated_text_has_the_tokens_of_the_librarys_own_truncation(kind, text):
    result = encode(KINDS[kind](), text)
    reference = KINDS[kind]()
    reference.enable_truncation(LONGEST)
    reference.enable_padding(length=LONGEST)
    expected = reference.encode(text)
    assert result["input_ids"].tolist() == [expected.ids]
    count = int(result["WINDOW"][0, 2])
    assert result["OFFSETS"][0, 1 : 1 + count].tolist() == [list(pair) for pair in expected.offsets[1 : 1 + count]]
    if kind not in SUBWORD:  # whose words are read off the text
        assert result["WORDS"][0, 1 : 1 + count].tolist() == expected.word_ids[1 : 1 + count]


@pytest.mark.parametrize("kind", KINDS)
@given(text=TEXTS, first=st.integers(1, 60))
@example(text="the " * 5 + "two\twords sea", first=25)
@example(text="the " * 5 + "two\nwords sea", first=25)
def test_the_tokens_of_a_beginning_are_those_of_the_whole_wherever_it_was_cut(kind, text, first):
    tokenizer = KINDS[kind]()
    whole = tokenizer.encode(text, add_special_tokens=False)
    bounded = BoundedTokenizer(tokenizer, tokenizer.encode_batch, 2, 1_000_000)
    bounded.first = first
    (part,) = bounded.encode([text])
    assert part.encoding.ids == whole.ids[: len(part)]
    # An added token may take the white space behind it: the last token's end is not asked for.
    assert part.encoding.offsets[:-1] == whole.offsets[: len(part) - 1 if len(part) else 0]
    assert part.is_whole or len(part) > 2
    assert not part.is_whole or len(part) == len(whole)


@pytest.mark.parametrize("kind", ["plain", "added", "spaced", *SUBWORD])
@given(text=TEXTS)
def test_a_text_is_answered_in_windows_or_refused_as_if_all_of_it_had_been_read(kind, text):
    tokenizer = KINDS[kind]()
    count = len(tokenizer.encode(text, add_special_tokens=False))
    is_refused = isinstance(encode(tokenizer, text, long_input="reject"), TextError)
    assert is_refused == (count > LONGEST - 2)
    windows = encode(KINDS[kind](), text, long_input="stride", stride=1)
    if isinstance(windows, TextError):
        assert count > 4 * (LONGEST - 2) - 3
    else:
        assert windows["WINDOW"][-1, 1:3].sum() == count


class Counting:
    """Counts the characters that reach the library."""

    def __init__(self, tokenizer):
        self.tokenizer, self.characters = tokenizer, 0

    def __call__(self, texts, **options):
        self.characters += sum(map(len, texts))
        return self.tokenizer.encode_batch_fast(texts, **options)


@pytest.mark.parametrize("text", ["sea ", "東", "rain,", "sea\n"])
def test_of_a_long_text_little_reaches_the_library(text):
    tokenizer = make_tokenizer()
    library = Counting(tokenizer)
    (part,) = BoundedTokenizer(tokenizer, library, LONGEST, 1_000_000).encode([text * 500_000])
    assert part.encoding.ids[:LONGEST] == tokenizer.encode(text * 20, add_special_tokens=False).ids[:LONGEST]
    assert library.characters < 100


@pytest.mark.parametrize("kind", SUBWORD)
def test_of_a_long_text_of_subwords_little_reaches_the_library(kind):
    tokenizer = KINDS[kind]()
    library = Counting(tokenizer)
    (part,) = BoundedTokenizer(tokenizer, library, LONGEST, 1_000_000).encode(["rain  " * 500_000])
    assert part.encoding.ids[:LONGEST] == tokenizer.encode("rain  " * 20, add_special_tokens=False).ids[:LONGEST]
    assert library.characters < 100


@pytest.mark.parametrize("long_input", ["truncate", "stride", "reject"])
@pytest.mark.parametrize("text", ["x", " ", "\u0301"], ids=["a word", "spaces", "accents"])
def test_a_text_without_an_end_is_refused_alone(long_input, text):
    settings = EncoderSettings("text-classification", (8,), 4, long_input, 2, max_characters=1000)
    encoder = Encoder(make_tokenizer(), settings)
    bad, good = encoder.encode([[np.array([[content.encode()]], np.object_)] for content in (text * 1001, "sea")])
    assert str(bad) == "row 0 of TEXT has 1001 characters, and at most 1000 are read: shorten it"
    assert not isinstance(good, TextError)
    assert good["input_ids"].shape == (1, 8)
    (whole,) = encoder.encode([[np.array([[(text * 1000).encode()]], np.object_)]])
    assert not isinstance(whole, TextError)


def test_what_is_read_in_part_is_counted_so():
    assert str(encode(make_tokenizer(), "sea " * 9999, long_input="reject")).startswith("row 0 of TEXT has at least ")
    assert " or more rows, and the model takes 4" in str(
        encode(make_tokenizer(), "sea " * 9999, long_input="stride", stride=1)
    )


@pytest.mark.parametrize("long_input", ["truncate", "stride", "reject"])
def test_fifty_megabytes_take_no_more_than_a_page(long_input):
    text = "the harbour was quiet " * 2_300_000
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    encode(make_tokenizer(), text, "text-classification", length_buckets=(384,), max_rows=8, long_input=long_input)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10 < 200
    assert time.process_time() - start < 2


def test_a_text_that_the_library_fails_at_is_refused_alone():
    tokenizer = make_tokenizer()
    tokenizer.model.unk_token = "nowhere"
    bounded = BoundedTokenizer(tokenizer, tokenizer.encode_batch, LONGEST, 1000)
    good, bad = bounded.encode(["sea", "zzz"])
    assert good.encoding.ids == [9]
    assert bad.problem.startswith("cannot be tokenized: ")
