"""Texts become rows of token ids: framed, cut into windows, padded to a bucket."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prep_triton.triton.inside_server.encode.encoder import Encoder
from prep_triton.triton.inside_server.encode.prompts import Prompts, TextError
from prep_triton.triton.inside_server.encode.settings import EncoderSettings
from prep_triton.triton.inside_server.encode.windows import choose_bucket, cut_windows
from tokenizers import normalizers, processors

from tests.fakes.wordpiece import WORDS, make_tokenizer

CLS, SEP, UNK = 2, 3, 1
RAIN, Y, SEA = WORDS.index("rain"), WORDS.index("##y"), WORDS.index("sea")


def make_encoder(task="text-classification", **changes):
    chosen = {"length_buckets": (8, 16), "max_rows": 4, **changes}
    return Encoder(make_tokenizer(), EncoderSettings(task=task, **chosen))


def column(*texts):
    return np.array([text if isinstance(text, bytes) else text.encode() for text in texts], np.object_).reshape(-1, 1)


def encode(encoder, *texts):
    (found,) = encoder.encode([[column(*texts)]])
    return found


def error_of(encoder, *columns):
    (found,) = encoder.encode([[column(*texts) for texts in columns]])
    assert isinstance(found, TextError)
    return str(found)


@given(st.lists(st.integers(1, 600), min_size=1, max_size=6, unique=True).map(sorted), st.integers(0, 600))
def test_a_bucket_is_the_smallest_that_holds_the_tokens(buckets, length):
    if length > buckets[-1]:
        with pytest.raises(ValueError, match="exceed the longest length bucket"):
            choose_bucket(length, buckets)
        return
    bucket = choose_bucket(length, buckets)
    assert bucket >= length
    assert all(other < length for other in buckets if other < bucket)


@pytest.mark.parametrize(("text", "width"), [("rain", 3), ("rain rain rain rain rain", 7)])
def test_rows_are_padded_to_the_longest_of_their_request_where_asked_for(text, width):
    arrays = encode(make_encoder(padding="longest"), "rain", text)
    assert arrays["input_ids"].shape == (2, width)
    assert arrays["attention_mask"].sum(axis=1).tolist() == [3, width]


def test_rows_are_as_long_as_the_shortest_that_a_plan_takes():
    assert encode(make_encoder(padding="longest", min_length=6), "rain")["input_ids"].shape == (1, 6)


def test_padding_of_another_kind_is_refused():
    parameters = {"task": "fill-mask", "length_buckets": "8", "long_input": "truncate", "stride": "1"}
    assert EncoderSettings.parse({**parameters, "padding": "longest", "min_length": "4"}, 4).min_length == 4
    with pytest.raises(ValueError, match="padding is 'max', expected one of buckets, longest"):
        EncoderSettings.parse({**parameters, "padding": "max"}, 4)


@given(st.integers(0, 2000), st.integers(1, 400), st.integers(0, 399))
def test_windows_cover_every_token_and_overlap_by_the_stride(count, room, stride):
    if stride >= room:
        with pytest.raises(ValueError, match="cannot overlap"):
            cut_windows(count, room, stride)
        return
    windows = cut_windows(count, room, stride)
    assert {token for begin, end in windows for token in range(begin, end)} == set(range(count))
    assert all(end - begin == room for begin, end in windows[:-1])
    assert windows[-1][1] - windows[-1][0] <= room
    assert all(one[1] - other[0] == stride for one, other in pairwise(windows))


def test_short_text_is_framed_and_padded_to_the_smallest_bucket():
    found = encode(make_encoder(), "rainy sea")
    assert found["input_ids"].tolist() == [[CLS, RAIN, Y, SEA, SEP, 0, 0, 0]]
    assert found["attention_mask"].tolist() == [[1, 1, 1, 1, 1, 0, 0, 0]]
    assert not found["token_type_ids"].any()
    assert found["WINDOW"].tolist() == [[0, 0, 3, 1, 5]]
    assert set(found) == {"input_ids", "attention_mask", "token_type_ids", "WINDOW"}


def test_rows_of_one_request_share_the_bucket_of_the_longest():
    encoder = make_encoder()
    assert encode(encoder, "sea", "sea " * 9)["input_ids"].shape == (2, 16)
    assert [one["input_ids"].shape for one in encoder.encode([[column("sea")], [column("sea " * 9)]])] == [
        (1, 8),
        (1, 16),
    ]


def test_padding_uses_the_id_that_the_tokenizer_names():
    tokenizer = make_tokenizer()
    tokenizer.enable_padding(pad_id=4, length=64)
    tokenizer.enable_truncation(5)
    encoder = Encoder(tokenizer, EncoderSettings("text-classification", (8,), 4))
    assert encode(encoder, "sea sea sea sea")["input_ids"].tolist() == [[CLS, SEA, SEA, SEA, SEA, SEP, 4, 4]]


def test_long_text_is_truncated_to_the_longest_bucket():
    found = encode(make_encoder(), "sea " * 100)
    assert found["input_ids"].tolist() == [[CLS, *[SEA] * 14, SEP]]
    assert found["WINDOW"].tolist() == [[0, 0, 14, 1, 16]]


def test_long_text_is_cut_into_windows_that_say_where_they_stand():
    found = encode(make_encoder(long_input="stride", stride=4), "sea", "sea " * 30)
    assert found["WINDOW"].tolist() == [[0, 0, 1, 1, 3], [1, 0, 14, 1, 16], [1, 10, 14, 1, 16], [1, 20, 10, 1, 12]]
    assert found["input_ids"].shape == (4, 16)


def test_more_windows_than_the_model_takes_are_refused():
    message = error_of(make_encoder(long_input="stride", stride=4), ["sea " * 60, "sea"])
    assert message == (
        "2 texts cut into windows of 16 tokens make 7 rows, and the model takes 4 at once: send fewer or shorter texts"
    )


def test_long_text_is_refused_where_it_was_asked_for():
    encoder = make_encoder(long_input="reject")
    assert error_of(encoder, ["sea", "sea " * 15]) == (
        "row 1 of TEXT has 15 tokens, and the model takes 14: shorten it"
    )
    assert encode(encoder, "sea " * 14)["input_ids"].shape == (1, 16)


def test_text_that_is_not_utf8_is_refused_alone():
    good, bad, other = make_encoder().encode([[column("sea")], [column("sea", b"a\xc3(")], [column("rainy")]])
    assert str(bad) == "row 1 of TEXT is not UTF-8: invalid continuation byte at byte 1"
    assert good["input_ids"][0, 1] == SEA
    assert other["input_ids"][0, 1:3].tolist() == [RAIN, Y]


def test_a_request_that_is_refused_late_does_not_shift_the_texts_of_the_next():
    encoder = make_encoder(long_input="reject")
    bad, good = encoder.encode([[column("sea " * 99, "rainy", "rainy")], [column("sea")]])
    assert isinstance(bad, TextError)
    assert good["input_ids"][0, :3].tolist() == [CLS, SEA, SEP]


@pytest.mark.parametrize("text", ["", "  \n", "\0"])
def test_empty_text_is_the_special_tokens_alone(text):
    found = encode(make_encoder(), text)
    assert found["input_ids"].tolist() == [[CLS, SEP, 0, 0, 0, 0, 0, 0]]
    assert found["WINDOW"].tolist() == [[0, 0, 0, 1, 2]]


def test_emoji_and_endless_words_are_unknown_tokens():
    found = encode(make_encoder(), "😀🎉" * 100, "x" * 100_000)
    assert found["input_ids"][:, :3].tolist() == [[CLS, UNK, SEP]] * 2


def test_token_classification_gets_characters_words_and_the_source():
    found = encode(make_encoder("token-classification"), "rainy sea, é")
    assert found["OFFSETS"][0, 1:6].tolist() == [[0, 4], [4, 5], [6, 9], [9, 10], [11, 12]]
    assert found["WORDS"][0].tolist() == [-1, 0, 0, 1, 2, 3, -1, -1]
    assert found["SOURCE"].tolist() == [["rainy sea, é".encode()]]


def test_source_stands_beside_the_first_window_alone():
    found = encode(make_encoder("token-classification", long_input="stride", stride=4), "sea " * 20)
    assert found["SOURCE"].tolist() == [[b"sea " * 20], [b""]]
    assert found["OFFSETS"][1, 1].tolist() == [40, 43]
    assert found["WORDS"][1, 1] == 10


def test_a_question_stands_before_its_context():
    (found,) = make_encoder("question-answering").encode([[column("sea"), column("rainy sea")]])
    assert not isinstance(found, TextError)
    assert found["input_ids"].tolist() == [[CLS, SEA, SEP, RAIN, Y, SEA, SEP, 0]]
    assert found["token_type_ids"].tolist() == [[0, 0, 0, 1, 1, 1, 1, 0]]
    assert found["WINDOW"].tolist() == [[0, 0, 3, 3, 7]]
    assert found["OFFSETS"][0, 3:6].tolist() == [[0, 4], [4, 5], [6, 9]]


def test_the_special_tokens_are_those_of_the_tokenizers_own_template():
    tokenizer = make_tokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] [SEP]:1 $B:1 [MASK]:1",
        special_tokens=[("[CLS]", CLS), ("[SEP]", SEP), ("[MASK]", 4)],
    )
    settings = EncoderSettings("question-answering", (8, 16), 4)
    (found,) = Encoder(tokenizer, settings).encode([[column("sea"), column("rainy")]])
    assert not isinstance(found, TextError)
    assert found["input_ids"].tolist() == [[CLS, SEA, SEP, SEP, RAIN, Y, 4, 0]]
    assert found["token_type_ids"].tolist() == [[0, 0, 0, 1, 1, 1, 1, 0]]
    assert found["WINDOW"].tolist() == [[0, 0, 2, 4, 7]]


def test_only_the_context_is_cut():
    encoder = make_encoder("question-answering", long_input="stride", stride=3)
    (found,) = encoder.encode([[column("rainy"), column("sea " * 20)]])
    assert found["WINDOW"].tolist() == [[0, 0, 11, 4, 16], [0, 8, 11, 4, 16], [0, 16, 4, 4, 9]]
    assert (found["input_ids"][:, :4] == [CLS, RAIN, Y, SEP]).all()
    assert found["input_ids"][2, 8] == SEP


def test_question_beyond_half_of_the_model_is_refused():
    encoder = make_encoder("question-answering")
    message = error_of(encoder, ["sea " * 7], ["sea"])
    assert message == ("row 0 of QUESTION has 7 tokens, and may have 6: half of what the model takes is the context's")


@pytest.mark.parametrize(("question", "context", "name"), [(" ", "sea", "QUESTION"), ("sea", "", "CONTEXT")])
def test_question_and_context_must_not_be_empty(question, context, name):
    message = error_of(make_encoder("question-answering"), [question], [context])
    assert message == f"row 0 of {name} is empty: there is nothing to answer"


def test_a_bucket_without_room_for_text_is_refused():
    with pytest.raises(ValueError, match="the longest length bucket, 2, has no room beside the special tokens"):
        make_encoder(length_buckets=(2,))


def test_a_tokenizer_of_another_kind_is_refused():
    tokenizer = make_tokenizer()
    tokenizer.normalizer = normalizers.Replace("a", "")
    with pytest.raises(ValueError, match="not a tokenizer of BERT's kind"):
        Encoder(tokenizer, EncoderSettings("text-classification", (8,), 4))


def test_settings_are_read_from_the_parameters_of_the_configuration():
    given = {"task": "fill-mask", "length_buckets": "8,16", "long_input": "reject", "stride": "5"}
    given["max_characters"] = "99"
    assert EncoderSettings.parse(given, 3) == EncoderSettings("fill-mask", (8, 16), 3, "reject", 5, max_characters=99)


TEXTS = st.lists(st.text(max_size=60), min_size=1, max_size=3)


@given(TEXTS, st.sampled_from(["truncate", "stride"]))
def test_any_text_gives_rows_within_a_bucket(texts, long_input):
    found = encode(make_encoder("token-classification", max_rows=99, long_input=long_input, stride=5), *texts)
    rows, width = found["input_ids"].shape
    assert width in (8, 16)
    assert found["WINDOW"][:, 4].max() <= width
    assert sorted(set(found["WINDOW"][:, 0].tolist())) == list(range(len(texts)))
    assert rows == len(texts) or long_input == "stride"
    assert found["OFFSETS"].max() <= max(len(text) for text in texts)


PROMPTS = Prompts(default="sea ", by_name={"query": "rain ", "document": ""})


def test_a_request_names_a_prompt_for_each_text_or_gets_the_default():
    encoder = make_encoder("feature-extraction", prompts=PROMPTS)
    texts, names = column("rain", "rain", "rain"), column("document", "", "query")
    named, unnamed = encoder.encode([[texts], [texts]], [names, None])
    assert named["input_ids"][:, 1:3].tolist() == [[RAIN, SEP], [SEA, RAIN], [RAIN, RAIN]]
    assert unnamed["input_ids"][:, 1:3].tolist() == [[SEA, RAIN]] * 3


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("query", "topic"), "row 1 of PROMPT_NAME is 'topic', and the model's prompts are query, document"),
        (("query", b"\xff"), "row 1 of PROMPT_NAME is '\ufffd', and the model's prompts are query, document"),
        (("query",), "PROMPT_NAME has 1 names for 2 texts: send one a text"),
    ],
)
def test_a_name_that_is_no_prompts_costs_its_own_request_alone(names, message):
    encoder = make_encoder("feature-extraction", prompts=PROMPTS)
    texts = [[column("rain", "sea")]] * 2
    refused, answered = encoder.encode(texts, [column(*names), column("query", "query")])
    assert isinstance(refused, TextError)
    assert str(refused) == message
    assert answered["input_ids"][:, 1:3].tolist() == [[RAIN, RAIN], [RAIN, SEA]]


def test_the_mask_tells_what_the_pooling_leaves_out():
    """As the library counts: the special token before the prompt, and the prompt's tokens by themselves."""
    encoder = make_encoder("sentence-embedding", prompts=replace(PROMPTS, is_pooled=False))
    (arrays,) = encoder.encode([[column("rain", "", "rain")]], [column("query", "", "document")])
    assert arrays["attention_mask"].tolist() == [
        [2, 2, 1, 1, 0, 0, 0, 0],
        [2, 2, 1, 0, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0, 0, 0],
    ]


def test_prompts_are_read_from_parameters():
    parameters = {"prompt": "q: ", "prompts": '{"query": "q: "}', "include_prompt": "false"}
    assert Prompts.parse(parameters) == Prompts("q: ", {"query": "q: "}, is_pooled=False)
    assert Prompts.parse({}) == Prompts()
    for text in ("[]", '{"query": 1}', "q"):
        with pytest.raises(ValueError, match=r"parameter prompts is not|Expecting value"):
            Prompts.parse({"prompts": text})
