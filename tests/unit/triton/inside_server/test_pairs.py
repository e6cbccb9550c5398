"""Two texts become one row: framed, typed and cut as transformers does with ``truncation=True``."""

from functools import cache

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from prep_triton.triton.inside_server.encode.encoder import Encoder
from prep_triton.triton.inside_server.encode.pairs import share_room
from prep_triton.triton.inside_server.encode.prompts import TextError
from prep_triton.triton.inside_server.encode.settings import EncoderSettings
from tokenizers import processors
from transformers import PreTrainedTokenizerFast

from tests.fakes.wordpiece import WORDS, make_tokenizer

CLS, SEP, RAIN, Y, SEA = 2, 3, WORDS.index("rain"), WORDS.index("##y"), WORDS.index("sea")
STRATEGIES = ("longest_first", "only_first", "only_second")


def make_roberta():
    """Frames a pair as RoBERTa: <s> a </s></s> b </s>, all of one type."""
    tokenizer = make_tokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] [SEP] $B [SEP]", special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)]
    )
    return tokenizer


KINDS = {"bert": make_tokenizer, "roberta": make_roberta}


@cache
def make_library(kind):
    return PreTrainedTokenizerFast(tokenizer_object=KINDS[kind](), pad_token="[PAD]")


@cache
def make_encoder(kind="bert", longest=16, **changes):
    settings = {"length_buckets": (8, longest), "max_rows": 4, **changes}
    return Encoder(KINDS[kind](), EncoderSettings(task="text-pair-classification", **settings))


def column(*texts):
    return np.array([text.encode() for text in texts], np.object_).reshape(-1, 1)


def encode(encoder, first, second):
    (answer,) = encoder.encode([[column(*first), column(*second)]])
    return answer


def error_of(encoder, first, second):
    error = encode(encoder, first, second)
    assert isinstance(error, TextError)
    return str(error)


def test_a_pair_is_framed_and_typed_as_its_tokenizer_does():
    arrays = encode(make_encoder(), ["rainy"], ["sea sea"])
    assert arrays["input_ids"].tolist() == [[CLS, RAIN, Y, SEP, SEA, SEA, SEP, 0]]
    assert arrays["token_type_ids"].tolist() == [[0, 0, 0, 0, 1, 1, 1, 0]]
    assert arrays["WINDOW"].tolist() == [[0, 0, 2, 4, 7]]
    arrays = encode(make_encoder("roberta"), ["rainy"], ["sea sea"])
    assert arrays["input_ids"].tolist() == [[CLS, RAIN, Y, SEP, SEP, SEA, SEA, SEP]]
    assert not arrays["token_type_ids"].any()


SIZES = st.one_of(st.integers(0, 30), st.sampled_from([100, 101, 250, 251]))


@settings(max_examples=300)
@example(100, 11, 6, "bert", "longest_first")  # of the first as much is read as the second has
@given(SIZES, SIZES, st.integers(6, 17), st.sampled_from(sorted(KINDS)), st.sampled_from(STRATEGIES))
def test_a_pair_is_cut_as_the_library_cuts_it(first, second, longest, kind, strategy):
    """Also where both texts are far longer than the model takes, so that neither is read to its end."""
    texts = ["rain " * first], ["sea " * second]
    try:  # lists, since of a single pair transformers leaves an empty second text out
        batch = make_library(kind)(*texts, truncation=strategy, max_length=longest, return_token_type_ids=True)
    except Exception as err:
        assert "too short" in str(err)
        batch = None
    answer = encode(make_encoder(kind, longest=longest, truncation=strategy, length_buckets=(longest,)), *texts)
    if batch is None:
        assert isinstance(answer, TextError)
        return
    mask = answer["attention_mask"][0] != 0
    assert answer["input_ids"][0][mask].tolist() == batch["input_ids"][0]
    assert answer["token_type_ids"][0][mask].tolist() == batch["token_type_ids"][0]


@given(st.integers(0, 40), st.integers(0, 40), st.integers(1, 30), st.sampled_from(STRATEGIES))
def test_no_more_is_kept_than_there_is_and_fits(first, second, room, strategy):
    kept = share_room(first, second, room, strategy)
    if kept is None:
        assert strategy != "longest_first"
        return
    assert sum(kept) == min(room, first + second)
    assert 0 <= kept[0] <= first
    assert 0 <= kept[1] <= second


def test_one_query_stands_beside_every_document_of_a_request():
    documents = ["sea", "rainy sea", "sea sea sea"]
    arrays = encode(make_encoder(), ["rainy"], documents)
    repeated = encode(make_encoder(), ["rainy"] * 3, documents)
    assert all((arrays[name] == repeated[name]).all() for name in repeated)
    assert arrays["input_ids"].shape == (3, 8)
    assert arrays["WINDOW"][:, 0].tolist() == [0, 1, 2]


def test_a_short_query_is_answered_without_reading_a_long_document_to_its_end(monkeypatch):
    encoder = make_encoder()
    monkeypatch.setattr(encoder._tokenizer, "count", lambda _: pytest.fail("it is read"))
    arrays = encode(encoder, ["rainy"], ["sea " * 5000])
    assert arrays["input_ids"].tolist() == [[CLS, RAIN, Y, SEP, *[SEA] * 11, SEP]]


def test_requests_of_unequal_sizes_keep_their_texts():
    first, second = make_encoder().encode(
        [[column("rainy"), column("sea", "sea sea")], [column("sea", "rainy"), column("rainy", "sea")]]
    )
    assert first["input_ids"][:, 1:3].tolist() == [[RAIN, Y]] * 2
    assert second["input_ids"][1].tolist() == [CLS, RAIN, Y, SEP, SEA, SEP, 0, 0]


def test_the_bucket_is_that_of_the_longest_pair():
    assert encode(make_encoder(), ["sea"], ["sea " * 4])["input_ids"].shape == (1, 8)
    assert encode(make_encoder(), ["sea"], ["sea", "sea " * 5])["input_ids"].shape == (2, 16)


def test_empty_texts_are_framed_as_others():
    assert encode(make_encoder(), [""], [""])["input_ids"].tolist() == [[CLS, SEP, SEP, 0, 0, 0, 0, 0]]


def test_numbers_that_do_not_fit_together_are_refused():
    assert error_of(make_encoder(), ["sea", "sea"], ["sea"] * 3) == (
        "the request has 2 of TEXT and 3 of TEXT_PAIR: send as many of each, or one of TEXT for all"
    )
    assert error_of(make_encoder(), [], ["sea"]) == "TEXT has no row: send a text"


def test_more_pairs_than_the_model_takes_are_refused_with_what_to_send():
    assert error_of(make_encoder(), ["sea"], ["sea"] * 1000) == (
        "the request has 1000 pairs, and the model takes 4 at once: send at most 4 in a request, 250 requests for all "
        "of them"
    )


def test_long_pairs_are_refused_where_it_was_asked_for():
    encoder = make_encoder(long_input="reject")
    assert error_of(encoder, ["sea " * 9], ["sea", "sea " * 6]) == (
        "row 1 has 9 tokens of TEXT and 6 of TEXT_PAIR, and the model takes 13 of both: shorten them"
    )
    assert encode(encoder, ["sea " * 9], ["sea " * 4])["input_ids"].shape == (1, 16)


def test_a_text_that_the_declared_truncation_cannot_make_room_for_is_refused():
    encoder = make_encoder(truncation="only_second")
    assert error_of(encoder, ["sea " * 13], ["sea"]) == (
        "row 0 of TEXT has 13 tokens, the model takes 13 of both, and this tokenizer cuts TEXT_PAIR alone: shorten TEXT"
    )


def test_windows_are_of_the_second_text_beside_all_of_the_first():
    encoder = make_encoder(long_input="stride", stride=3)
    arrays = encode(encoder, ["rainy"], ["sea " * 20])
    assert arrays["WINDOW"].tolist() == [[0, 0, 11, 4, 16], [0, 8, 11, 4, 16], [0, 16, 4, 4, 9]]
    assert error_of(encoder, ["sea " * 7], ["sea"]) == (
        "row 0 of TEXT has 7 tokens, and may have 6: half of what the model takes is TEXT_PAIR's"
    )


def test_a_truncation_of_another_kind_is_refused():
    parameters = {"task": "text-pair-classification", "length_buckets": "8", "long_input": "truncate", "stride": "1"}
    parameters |= {"max_rows": "4", "truncation": "only_second"}
    assert EncoderSettings.parse(parameters, 0).truncation == "only_second"
    with pytest.raises(ValueError, match="truncation is 'both', expected one of longest_first, only_first, only_sec"):
        EncoderSettings.parse({**parameters, "truncation": "both"}, 0)
