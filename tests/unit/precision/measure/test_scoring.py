"""What is asked of a graph for each task, and how its answers become points."""

import logging

import numpy as np
import pytest
from prep_triton.errors import SpecError
from prep_triton.precision.measure.labelled import LabelledText, LabelledWords, MaskedText, Question
from prep_triton.precision.measure.scoring import plan_scoring
from prep_triton.reference import load_tokenizer

from tests.fakes.subword import write_byte_level, write_unigram
from tests.fakes.wordpiece import make_tokenizer


def plan(task, *examples, max_tokens=32):
    tokenizer = make_tokenizer()
    tokenizer.enable_padding(length=64)  # checkpoints have padding and truncation in their tokenizer.json
    tokenizer.enable_truncation(4)
    return plan_scoring(task, examples, tokenizer, max_tokens)


def refused(task, *examples, max_tokens=32) -> SpecError:
    with pytest.raises(SpecError) as caught:
        plan(task, *examples, max_tokens=max_tokens)
    return caught.value


def logits_for(scoring, index: int, answers: dict[int, int]) -> dict[str, np.ndarray]:
    """Logits [tokens, 16] that choose an index at each of some positions, and 15 elsewhere."""
    logits = np.zeros((len(scoring.sequences[index].ids), 16), np.float32)
    logits[:, 15] = 1
    for position, choice in answers.items():
        logits[position, choice] = 2
    return {"logits": logits}


def test_texts_are_whole_or_truncated_and_pairs_have_types():
    scoring = plan(
        "text-classification",
        LabelledText("the rain", None, 1),
        LabelledText("rain", "the sea", 0),
        LabelledText("sea " * 50, None, 0),
    )
    assert (scoring.metric, scoring.rows) == ("accuracy", 3)
    assert scoring.sequences[0].ids == (2, 5, 7, 3)
    assert scoring.sequences[1].type_ids == (0, 0, 0, 1, 1, 1)
    assert len(scoring.sequences[2].ids) == 32
    choices = [scoring.choose(row, {"logits": np.array(logits)}) for row, logits in enumerate(([0, 1], [0, 1], [1, 0]))]
    assert scoring.score(choices) == {"accuracy": pytest.approx(200 / 3)}


def test_words_are_scored_on_their_first_token():
    scoring = plan("token-classification", LabelledWords(("Rainy", "sea,", "the"), (1, 2, 3)))
    # [CLS] rain ##y sea , the [SEP]
    assert scoring.sequences[0].ids == (2, 7, 8, 9, 10, 5, 3)
    chosen = scoring.choose(0, logits_for(scoring, 0, {1: 1, 2: 9, 3: 2, 4: 9, 5: 4}))
    assert chosen == [1, 2, 4]
    assert scoring.score([chosen]) == {"token accuracy": pytest.approx(200 / 3)}


def test_words_that_are_cut_off_or_give_no_token_are_left_out_and_reported(caplog):
    with caplog.at_level(logging.WARNING):
        scoring = plan("token-classification", LabelledWords(("rain", "\u200b", *["sea"] * 8), (0,) * 10), max_tokens=6)
    assert "6 of 10 labelled words are not scored" in caplog.text
    assert scoring.choose(0, logits_for(scoring, 0, {1: 0, 2: 0, 3: 0, 4: 0})) == [0, 0, 0, 0]


def test_rows_without_any_word_are_refused():
    error = refused("token-classification", LabelledWords((), ()))
    assert "no row of the evaluation file has a word to score" in error.message
    assert "'tokens' holds words" in error.hint


@pytest.mark.parametrize(("label", "token"), [("sea", 9), ("Paris", 12), ("##y", 8), (",", 10)])
def test_mask_is_scored_against_one_token(label, token):
    scoring = plan("fill-mask", MaskedText("the [MASK].", label, "x, line 1"))
    assert scoring.metric == "top-1 accuracy"
    right = scoring.choose(0, logits_for(scoring, 0, {2: token}))
    assert scoring.score([right]) == {"top-1 accuracy": 100}
    assert scoring.score([scoring.choose(0, logits_for(scoring, 0, {1: token}))]) == {"top-1 accuracy": 0}


@pytest.mark.parametrize(("text", "count"), [("the rain", 0), ("the [mask]", 0), ("[MASK] [MASK]", 2)])
def test_text_without_exactly_one_mask_is_refused(text, count):
    error = refused("fill-mask", MaskedText(text, "sea", "x, line 3"))
    assert error.message == f"x, line 3: 'text' has {count} [MASK], expected one"
    assert "one mask a line" in error.hint


def test_mask_beyond_the_models_length_is_refused_and_one_at_its_end_is_not():
    error = refused("fill-mask", MaskedText("rain " * 6 + "[MASK] rain", "sea", "x, line 1"), max_tokens=8)
    assert error.message == "x, line 1: [MASK] is token 8, beyond the model's 8"
    assert "shorten" in error.hint
    for text in ("rain " * 5 + "[MASK]", "rain " * 5 + "[MASK] rain"):
        scoring = plan("fill-mask", MaskedText(text, "sea", "x, line 1"), max_tokens=8)
        assert scoring.sequences[0].ids[6] == 4


@pytest.mark.parametrize(
    ("label", "message", "hint"),
    [
        ("rainy", "'label' 'rainy' is 2 tokens (rain, ##y), expected one", "did you mean 'rain'?"),
        ("zzz", "'label' 'zzz' is not a token of the model's vocabulary", "the label is one token"),
        ("[UNK]", "'label' '[UNK]' is not a token of the model's vocabulary", "the label is one token"),
        ("pariss", "'label' 'pariss' is not a token of the model's vocabulary", "did you mean 'paris'?"),
        ("", "'label' '' is not a token of the model's vocabulary", "the label is one token"),
    ],
)
def test_label_that_is_not_one_token_is_refused(label, message, hint):
    error = refused("fill-mask", MaskedText("the [MASK]", label, "x, line 1"))
    assert error.message == f"x, line 1: {message}"
    assert hint in error.hint


def test_questions_are_answered_over_all_their_windows(caplog):
    long, short = "rain " * 40 + "The Sea.", "the sea"
    with caplog.at_level(logging.INFO):
        scoring = plan(
            "question-answering", Question("rain", long, ("sea",)), Question("sea", short, ("the rain", "the sea"))
        )
    assert (scoring.metric, scoring.rows) == ("F1", 2)
    assert not caplog.records
    assert len(scoring.sequences) > 2
    chosen = []
    for index, row in enumerate(scoring.sequences):
        logits = np.zeros(len(row.ids), np.float32)
        if 9 in row.ids[2:]:
            logits[len(row.ids) - 1 - row.ids[::-1].index(9)] = 3
        chosen.append(scoring.choose(index, {"start_logits": logits, "end_logits": logits}))
    assert scoring.score(chosen) == {"F1": 100, "exact match": 100}


def test_questions_without_answers_bring_the_rules_of_squad_v2(caplog):
    with caplog.at_level(logging.INFO):
        scoring = plan("question-answering", Question("rain", "the sea", ()), Question("rain", "the sea", ("sea",)))
    assert "1 of 2 questions have no answer: scoring by SQuAD v2.0's rules" in caplog.text
    none = np.array([3, 0, 0, 0, 1, 0], np.float32)
    chosen = [scoring.choose(index, {"start_logits": none, "end_logits": none}) for index in range(2)]
    assert scoring.score(chosen) == {"F1": 50, "exact match": 50}


@pytest.mark.parametrize("write", [write_byte_level, write_unigram])
def test_a_label_of_a_vocabulary_with_spaces_is_the_word_behind_one(write, tmp_path):
    write(tmp_path)
    tokenizer = load_tokenizer(tmp_path / "tokenizer.json")
    scoring = plan_scoring("fill-mask", [MaskedText("It is <mask> rain.", "the", "row 1")], tokenizer, 32)
    text = tokenizer.encode("It is the rain.", add_special_tokens=False)
    expected = text.ids[next(index for index, (start, _) in enumerate(text.offsets) if start == 6)]
    position = scoring.sequences[0].ids.index(tokenizer.token_to_id("<mask>"))
    logits = np.zeros((len(scoring.sequences[0].ids), tokenizer.get_vocab_size()), np.float32)
    logits[position, expected] = 1
    assert scoring.score([scoring.choose(0, {"logits": logits})]) == {"top-1 accuracy": 100.0}


def test_words_of_byte_level_bpe_have_the_space_before_them(tmp_path):
    write_byte_level(tmp_path)
    tokenizer = load_tokenizer(tmp_path / "tokenizer.json")
    words = ("The", "harbour", "was", "quiet", ".")
    scoring = plan_scoring("token-classification", [LabelledWords(words, (1, 2, 3, 4, 5))], tokenizer, 64)
    whole = tokenizer.encode(" ".join(words))
    assert list(scoring.sequences[0].ids) == whole.ids
    starts = [begin for begin, _ in whole.offsets]
    logits = np.zeros((len(whole.ids), 6), np.float32)
    for label, begin in enumerate((0, 4, 12, 16, 22), 1):
        logits[starts.index(begin, 1), label] = 1
    assert scoring.score([scoring.choose(0, {"logits": logits})]) == {"token accuracy": 100.0}


def test_pairs_are_cut_as_their_tokenizer_declares():
    rows = [LabelledText("sea " * 9, "rain rain", 1), LabelledText("sea", "rain", 0)]
    longest = plan("text-pair-classification", *rows, max_tokens=8)
    assert longest.sequences[0].ids == (2, 9, 9, 9, 3, 7, 7, 3)
    second = plan_scoring("text-pair-classification", rows[1:], make_tokenizer(), 8, truncation="only_second")
    assert (second.sequences[0].ids, second.sequences[0].type_ids) == ((2, 9, 3, 7, 3), (0, 0, 0, 1, 1))
    assert longest.score([1, 0]) == {"accuracy": 100.0}
