"""What an ensemble should answer follows from the model's outputs, as far as the tolerance tells."""

import json
import math
from typing import Any

import numpy as np
import pytest
from prep_triton.triton.verify.expected_answers import (
    AnswerOptions,
    TextRow,
    compare_answer,
)
from prep_triton.triton.verify.tolerance import softmax

TEXT = "Ada met Bo in Rome."
WORDS = [(0, 3), (4, 7), (8, 10), (11, 13), (14, 16), (16, 18), (18, 19)]  # "Rome" is two tokens
OFFSETS = [(0, 0), *WORDS, (0, 0)]
LABELS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
EXACT = 0.9999


def row(outputs, *, question=None, text=TEXT):
    """[CLS], seven tokens, [SEP]; as the context of a question, whose own token is left out."""
    sequence = 0 if question is None else 1
    return TextRow(
        text=text,
        ids=[2, 10, 11, 12, 13, 14, 15, 16, 3],
        offsets=OFFSETS,
        sequences=[None, *[sequence] * 7, None],
        words=[None, 0, 1, 2, 3, 4, 4, 5, None],
        outputs={name: np.array(array, dtype=np.float32) for name, array in outputs.items()},
        question=question,
    )


def as_bytes(content):
    return np.array([json.dumps(content).encode()], dtype=object)


def test_an_embedding_is_the_mean_over_all_tokens():
    hidden = np.random.default_rng(0).normal(size=(9, 4))
    check = compare_answer(
        "feature-extraction",
        row({"last_hidden_state": hidden}),
        {"EMBEDDING": hidden.mean(0)},
        AnswerOptions(EXACT),
    )
    assert check.cosine == pytest.approx(1.0)
    assert check.error == pytest.approx(0.0, abs=1e-6)
    assert not check.mismatch


def test_an_embedding_of_the_graph_is_expected_as_it_is():
    text_row = row({"embedding": np.array([3.0, 4.0])})
    options = AnswerOptions(EXACT)
    assert not compare_answer("sentence-embedding", text_row, {"EMBEDDING": np.array([3.0, 4.0])}, options).mismatch
    shorter = compare_answer("sentence-embedding", text_row, {"EMBEDDING": np.array([0.6, 0.8])}, options)
    assert shorter.mismatch == "the embedding's length is 1.000000, expected 5"
    assert "does not have the form" in compare_answer("sentence-embedding", text_row, {}, options).mismatch


@pytest.mark.parametrize(
    ("embedding", "message"),
    [
        ([1.0, -1.0, 0.0, 0.0], "the embedding's cosine is"),
        ([math.nan] * 4, "the embedding's cosine is nan"),
        ([0.0] * 4, "the embedding's cosine is nan"),
        ([1.0], "the embedding has 1 values, expected 4"),
    ],
)
def test_another_embedding_is_wrong(embedding, message):
    text_row = row({"last_hidden_state": np.ones((9, 4))})
    check = compare_answer("feature-extraction", text_row, {"EMBEDDING": np.array(embedding)}, AnswerOptions(EXACT))
    assert check.mismatch.startswith(message)


def test_an_embedding_that_is_not_normalized_has_the_length_of_its_pooling():
    text_row = row({"last_hidden_state": np.ones((9, 4))})
    check = compare_answer("feature-extraction", text_row, {"EMBEDDING": np.full(4, 0.5)}, AnswerOptions(EXACT))
    assert check.mismatch == "the embedding's length is 1.000000, expected 2"


def test_a_normalized_embedding_has_the_length_1():
    text_row, embedding = row({"last_hidden_state": np.ones((9, 4))}), {"EMBEDDING": np.full(4, 0.5)}
    options = AnswerOptions(EXACT, is_normalized=True)
    assert not compare_answer("feature-extraction", text_row, embedding, options).mismatch
    long = compare_answer("feature-extraction", text_row, {"EMBEDDING": np.ones(4)}, options)
    assert long.mismatch == "the embedding's length is 2.000000, expected 1"


def labels_answer(names, scores):
    return {"LABEL": np.array([name.encode() for name in names], dtype=object), "SCORE": np.array(scores)}


def compare_labels(names, scores, *, logits=(2.0, 1.0, -1.0), top_k=2, tolerance=EXACT):
    options = AnswerOptions(tolerance, labels=("up", "down", "flat")[: len(logits)], top_k=top_k)
    return compare_answer("text-classification", row({"logits": logits}), labels_answer(names, scores), options)


def test_labels_are_ranked_by_softmax():
    scores = softmax(np.array([2.0, 1.0, -1.0]))
    check = compare_labels(["up", "down"], scores[:2])
    assert not check.mismatch
    assert check.error == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(
    ("names", "scores", "message"),
    [
        (["down", "up"], [0.26, 0.7], "'down' is ranked 1, and the model prefers others"),
        (["up", "flat"], [0.7054, 0.0351], "'flat' is ranked 2"),
        (["up", "down"], [0.9, 0.1], "the score of 'up' is 0.900000, expected 0.705385"),
        (["up", "up"], [0.7, 0.7], "does not have the form of text-classification"),
        (["up"], [0.7], "1 labels, expected 2"),
        (["LABEL_9", "up"], [0.7, 0.2], "does not have the form of text-classification"),
    ],
)
def test_other_labels_and_scores_are_wrong(names, scores, message):
    assert message in compare_labels(names, scores).mismatch


def test_labels_closer_than_the_tolerance_allows_are_not_checked():
    logits = (2.0, 1.999, -1.0)
    scores = softmax(np.array(logits))
    assert not compare_labels(["down", "up"], [scores[1], scores[0]], logits=logits).mismatch
    far = (2.0, 1.5, -1.0)
    swapped = softmax(np.array(far))[[1, 0]]
    assert compare_labels(["down", "up"], swapped, logits=far).mismatch
    assert not compare_labels(["down", "up"], swapped, logits=far, tolerance=0.97).mismatch


@pytest.mark.parametrize(("activation", "score"), [("sigmoid", 1 / (1 + math.exp(-2))), ("none", 2.0)])
def test_a_score_is_what_the_checkpoint_declares(activation, score):
    options = AnswerOptions(0.999, labels=("up",), top_k=5, activation=activation)
    for answered, is_right in ((score, True), (score - 0.2, False), (1.0, False)):
        answer = labels_answer(["up"], [answered])
        check = compare_answer("text-classification", row({"logits": (2.0,)}), answer, options)
        assert (not check.mismatch) is is_right


def test_two_labels_of_one_name_are_told_apart_by_their_scores():
    options = AnswerOptions(0.9999, labels=("B", "A", "B"), top_k=3)
    scores = softmax(np.array([2.0, 1.0, -1.0]))
    answer = labels_answer(["B", "A", "B"], scores)
    assert not compare_answer("text-classification", row({"logits": (2.0, 1.0, -1.0)}), answer, options).mismatch


VOCABULARY = {"[MASK]": 13, "is": 0, "was": 1, "went": 2}


def compare_tokens(content):
    logits = np.zeros((9, 3))
    logits[4] = [3, 1, 0]
    return compare_answer(
        "fill-mask",
        row({"logits": logits}),
        {"TOKENS": as_bytes(content)},
        AnswerOptions(EXACT, vocabulary=VOCABULARY, mask_id=13),
    )


def test_each_mask_gets_the_likeliest_tokens():
    scores = softmax(np.array([3.0, 1.0, 0.0]))
    assert not compare_tokens([[{"token": "is", "score": scores[0]}, {"token": "was", "score": scores[1]}]]).mismatch
    assert "'was' is ranked 1" in compare_tokens([[{"token": "was", "score": scores[1]}]]).mismatch
    assert "tokens for 0 masks, expected 1" in compare_tokens([]).mismatch
    assert "does not have the form" in compare_tokens([[{"token": "unheard", "score": 1}]]).mismatch


def span_answer(start, end, score, message=None):
    return {
        "ANSWER": np.array([(TEXT[start:end] if message is None else message).encode()], dtype=object),
        "SCORE": np.array([score]),
        "START": np.array([start]),
        "END": np.array([end]),
    }


def compare_span(answer, *, longest=30):
    starts, ends = np.zeros(9), np.zeros(9)
    starts[5], ends[6], ends[8] = 6.0, 6.0, 20.0  # "Rome"; the [SEP] is no token of the context
    text_row = row({"start_logits": starts, "end_logits": ends}, question="Where?")
    return compare_answer("question-answering", text_row, answer, AnswerOptions(EXACT, max_answer_tokens=longest))


ROME = float(softmax(np.array([0, 0, 0, 0, 0, 6.0, 0, 0]))[5]) ** 2


def test_an_answer_is_the_best_span_of_the_context():
    check = compare_span(span_answer(14, 18, ROME))
    assert not check.mismatch
    assert check.error == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (span_answer(0, 3, ROME), "the answer is 'Ada', expected 'Rome'"),
        (span_answer(14, 17, ROME), "'Rom' (14 to 17) is no span of the context's tokens"),
        (span_answer(14, 18, ROME, message="Roma"), "the answer is 'Roma', and the context from 14 to 18 'Rome'"),
        (span_answer(14, 18, 0.5), "the score is 0.500000"),
        ({}, "does not have the form of question-answering"),
    ],
)
def test_another_span_is_wrong(answer, message):
    assert message in compare_span(answer).mismatch


def test_a_span_is_not_longer_than_allowed():
    assert "is no span" in compare_span(span_answer(14, 18, ROME), longest=1).mismatch


def compare_entities(entities, *, margin=8.0, base=0.0, labels=LABELS):
    logits = np.full((9, len(labels)), base)
    for token, label in enumerate((1, 0, 1, 0, 3, 0, 0), 1):
        logits[token, label] += margin
    options = AnswerOptions(EXACT, labels=labels)
    return compare_answer("token-classification", row({"logits": logits}), {"ENTITIES": as_bytes(entities)}, options)


def entity(label, start, end, score=None, margin=8.0):
    score = float(softmax(np.array([margin, 0, 0, 0, 0]))[0]) if score is None else score
    return {"label": label, "start": start, "end": end, "text": TEXT[start:end], "score": score}


ENTITIES = [entity("PER", 0, 3), entity("PER", 8, 10), entity("LOC", 14, 18)]


def test_a_word_has_the_label_of_its_first_token():
    check = compare_entities(ENTITIES)
    assert not check.mismatch
    assert check.error == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(
    ("entities", "message"),
    [
        (ENTITIES[:2], "'Rome' is O, expected LOC"),
        ([*ENTITIES, entity("LOC", 4, 7)], "'met' is LOC, expected O"),
        ([entity("LOC", 0, 3), *ENTITIES[1:]], "'Ada' is LOC, expected PER"),
        ([{**ENTITIES[0], "text": "Adam"}], "'Adam' is not the text from 0 to 3"),
        ([entity("PER", 0, 3, score=0.5), *ENTITIES[1:]], "the score of 'Ada' is 0.500000"),
        ({"no": "list"}, "does not have the form of token-classification"),
    ],
)
def test_other_entities_are_wrong(entities, message):
    assert message in compare_entities(entities).mismatch


def test_a_label_that_is_not_clear_is_not_checked():
    assert not compare_entities([], margin=0.1, base=5.0).mismatch


def test_labels_without_b_and_i_stand_on_each_token():
    labels = ("O", "NAME", "x", "PLACE", "y")
    each = [entity("NAME", 0, 3), entity("NAME", 8, 10), entity("PLACE", 14, 16)]
    assert not compare_entities(each, labels=labels).mismatch
    assert "'me' is PLACE, expected O" in compare_entities([*each, entity("PLACE", 16, 18)], labels=labels).mismatch


def test_tokens_of_one_character_are_no_mistake_of_the_answer():
    """A Hangul syllable becomes several tokens, each of them of its one character."""
    shared: dict[str, Any] = {
        "text": "\ud55c",
        "ids": (2, 7, 8, 3),
        "sequences": (None, 1, 1, None),
        "words": (None, 0, 0, None),
    }
    offsets = ((0, 0), (0, 1), (0, 1), (0, 0))
    logits = np.array([[0.0, 0, 0], [0, 9, 0], [0, 0, 9], [0, 0, 0]])
    labelled = TextRow(**shared, offsets=offsets, outputs={"logits": logits})
    item = {"label": "NOUN", "start": 0, "end": 1, "text": "\ud55c", "score": 0.9997}
    both = [item, {**item, "label": "VERB"}]
    options = AnswerOptions(EXACT, labels=("O", "NOUN", "VERB"))
    assert not compare_answer("token-classification", labelled, {"ENTITIES": as_bytes(both)}, options).mismatch

    starts, ends = np.array([0.0, 6, 0, 0]), np.array([0.0, 6, 0, 0])
    outputs = {"start_logits": starts, "end_logits": ends}
    asked = TextRow(**shared, offsets=offsets, outputs=outputs, question="?")
    probability = float(np.exp(6) / (np.exp(6) + 2)) ** 2
    answer = span_answer(0, 1, probability, "\ud55c")
    assert not compare_answer("question-answering", asked, answer, AnswerOptions(EXACT)).mismatch
