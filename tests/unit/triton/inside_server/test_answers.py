"""The model's numbers become answers."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prep_triton.triton.inside_server.answer.entities import TokenTensors, find_entities
from prep_triton.triton.inside_server.answer.masks import fill_masks, vocabulary_from_tokenizer
from prep_triton.triton.inside_server.answer.sequences import pool, rank_labels, score_labels
from prep_triton.triton.inside_server.answer.spans import SpanTensors, find_spans
from prep_triton.triton.inside_server.answer.tasks import answer_from_parameters
from prep_triton.triton.inside_server.answer.windows import AnswerError, own_specials, own_tokens, softmax
from prep_triton.triton.inside_server.encode.windows import cut_windows

# [CLS] a b c [SEP] and [CLS] d [SEP], in rows of 6.
TWO_TEXTS = np.array([[0, 0, 3, 1, 5], [1, 0, 1, 1, 3]], np.int32)


def windows_of(*counts, room=4, stride=2):
    return np.array(
        [
            (text, begin, end - begin, 1, end - begin + 2)
            for text, count in enumerate(counts)
            for begin, end in cut_windows(count, room, stride)
        ],
        np.int32,
    )


def test_without_windows_the_tokens_and_specials_are_what_the_attention_mask_marks():
    tokens, specials = own_tokens(TWO_TEXTS, 6), own_specials(TWO_TEXTS, 6)
    assert tokens.astype(int).tolist() == [[0, 1, 1, 1, 0, 0], [0, 1, 0, 0, 0, 0]]
    assert specials.astype(int).tolist() == [[1, 0, 0, 0, 1, 0], [1, 0, 1, 0, 0, 0]]


def test_a_token_is_answered_by_the_window_that_has_most_context_for_it():
    window = windows_of(6)  # tokens 0..3 and 2..5
    assert own_tokens(window, 6).astype(int).tolist() == [[0, 1, 1, 1, 0, 0], [0, 0, 1, 1, 1, 0]]
    assert own_specials(window, 6).astype(int).tolist() == [[1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1]]


@given(
    st.lists(st.integers(0, 60), min_size=1, max_size=4),
    st.integers(2, 20).flatmap(lambda room: st.tuples(st.just(room), st.integers(0, room - 1))),
)
def test_every_token_is_answered_once(counts, sizes):
    room, stride = sizes
    window = windows_of(*counts, room=room, stride=stride)
    owned = own_tokens(window, room + 2)
    for text, count in enumerate(counts):
        found = [
            first + place - position
            for (row, first, _, position, _), marks in zip(window.tolist(), owned, strict=True)
            if row == text
            for place in np.flatnonzero(marks)
        ]
        assert found == list(range(count))
    assert own_specials(window, room + 2).sum() == 2 * len(counts)


def test_mean_pooling_leaves_padding_out():
    hidden = np.arange(24, dtype=np.float32).reshape(2, 6, 2)
    found = pool(hidden, TWO_TEXTS, normalize=False)
    assert found.tolist() == [hidden[0, :5].mean(axis=0).tolist(), hidden[1, :3].mean(axis=0).tolist()]
    normalized = pool(hidden.astype(np.float16), TWO_TEXTS, normalize=True)
    assert normalized.dtype == np.float32
    assert np.linalg.norm(normalized, axis=1) == pytest.approx([1, 1])
    assert normalized[0] == pytest.approx(found[0] / np.linalg.norm(found[0]))


def test_mean_pooling_over_windows_counts_each_token_once():
    hidden = np.zeros((2, 6, 1), np.float32)
    hidden[0, :, 0] = [100, 1, 2, 3, 99, 99]
    hidden[1, :, 0] = [99, 99, 4, 5, 6, 200]
    found = pool(hidden, windows_of(6), normalize=False)
    assert found.tolist() == [[pytest.approx((100 + 1 + 2 + 3 + 4 + 5 + 6 + 200) / 8)]]


def test_an_embedding_of_zeros_stays_zero():
    assert not pool(np.zeros((2, 6, 2), np.float32), TWO_TEXTS, normalize=True).any()


def test_labels_are_ranked_by_their_softmax():
    logits = np.log(np.array([[0.2, 0.5, 0.3], [0.7, 0.2, 0.1]]))
    names, scores = rank_labels(logits, TWO_TEXTS, ["low", "mid", "hóch"], 2, "softmax")
    assert names.tolist() == [[b"mid", "hóch".encode()], [b"low", b"mid"]]
    assert scores == pytest.approx(np.array([[0.5, 0.3], [0.7, 0.2]]))
    assert scores.dtype == np.float32


def test_scores_of_all_labels_are_in_the_order_of_the_logits():
    logits = np.log(np.array([[0.2, 0.5, 0.3], [0.7, 0.2, 0.1]]))
    assert score_labels(logits, TWO_TEXTS, "softmax") == pytest.approx(np.array([[0.2, 0.5, 0.3], [0.7, 0.2, 0.1]]))


def test_more_labels_than_there_are_cannot_be_ranked():
    names, _ = rank_labels(np.zeros((2, 3)), TWO_TEXTS, ["a", "b", "c"], 5, "softmax")
    assert names.tolist() == [[b"a", b"b", b"c"]] * 2


def test_a_single_label_is_scored_by_a_sigmoid():
    _, scores = rank_labels(np.array([[0.0], [2.0]]), TWO_TEXTS, ["score"], 5, "sigmoid")
    assert scores == pytest.approx(np.array([[0.5], [0.880797]]))


def test_a_score_of_a_regression_is_its_logit():
    _, scores = rank_labels(np.array([[2.06], [-3.5]]), TWO_TEXTS, ["score"], 5, "none")
    assert scores == pytest.approx(np.array([[2.06], [-3.5]]))


def test_windows_weigh_by_the_tokens_that_they_answer_for():
    window = windows_of(9)  # 4, 4, 4 and 3 tokens
    logits = np.log(np.array([[0.9, 0.1], [0.5, 0.5], [0.5, 0.5], [0.1, 0.9]]))
    owned = (own_tokens(window, 6) | own_specials(window, 6)).sum(axis=1)
    assert owned.sum() == 11
    _, scores = rank_labels(logits, window, ["a", "b"], 1, "softmax")
    expected = (owned * [0.9, 0.5, 0.5, 0.1]).sum() / 11
    assert scores.tolist() == [[pytest.approx(max(expected, 1 - expected))]]


def test_nan_is_no_answer():
    with pytest.raises(AnswerError, match="the model answered NaN or infinity"):
        softmax(np.array([[0.0, np.nan]]))
    with pytest.raises(AnswerError, match="its precision may be too low"):
        pool(np.full((2, 6, 2), np.nan, np.float32), TWO_TEXTS, normalize=True)
    with pytest.raises(AnswerError, match="NaN"):
        find_spans(span_tensors(np.full((1, 7), np.nan), np.zeros((1, 7)), [[0, 0, 3, 3, 7]]), 30)


def entities(labels, best, words, text="Anna Bo lives in Rom.", offsets=None):
    """Entities of one row [CLS] … [SEP] whose tokens have these labels, each with probability 0.9."""
    count = len(best)
    logits = np.zeros((1, count + 3, len(labels)))
    odds = np.log(0.9 * (len(labels) - 1) / 0.1)
    logits[0, np.arange(count) + 1, [labels.index(label) for label in best]] = odds
    spans = offsets or [(0, 2), (2, 4), (5, 7), (8, 13), (14, 16), (17, 20), (20, 21)][:count]
    tokens = TokenTensors(
        np.array([[0, 0, count, 1, count + 2]], np.int32),
        np.array([[(0, 0), *spans, (0, 0), (0, 0)]], np.int32),
        np.array([[-1, *words, -1, -1]], np.int32),
        np.array([[text.encode()]], np.object_),
    )
    (found,) = find_entities(logits, tokens, labels)
    return [(one["label"], one["start"], one["end"], one["text"], one["score"]) for one in json.loads(found)]


BIO = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
WORDS = [0, 0, 1, 2, 3, 4, 5]


def test_words_of_one_entity_are_merged():
    # The second half of "Anna" is labelled otherwise: a word has the label of its first token.
    found = entities(BIO, ["B-PER", "B-LOC", "I-PER", "O", "O", "B-LOC", "O"], WORDS)
    assert found == [("PER", 0, 7, "Anna Bo", 0.9), ("LOC", 17, 20, "Rom", 0.9)]


def test_a_beginning_or_another_name_or_a_gap_starts_an_entity():
    assert [one[:3] for one in entities(BIO, ["B-PER", "O", "B-PER"], WORDS[:3])] == [("PER", 0, 4), ("PER", 5, 7)]
    assert [one[:3] for one in entities(BIO, ["B-PER", "O", "I-LOC"], WORDS[:3])] == [("PER", 0, 4), ("LOC", 5, 7)]
    apart = entities(BIO, ["I-PER", "O", "O", "I-PER"], WORDS[:4])
    assert [one[:3] for one in apart] == [("PER", 0, 4), ("PER", 8, 13)]


def test_labels_without_tags_stand_on_each_token():
    found = entities(["O", "NOUN"], ["NOUN", "NOUN", "O"], WORDS[:3])
    assert found == [("NOUN", 0, 2, "An", 0.9), ("NOUN", 2, 4, "na", 0.9)]


def test_text_without_tokens_has_no_entities():
    assert entities(BIO, [], []) == []
    assert entities(["A", "B"], [], []) == []


def test_entities_cross_windows_once():
    labels = ["O", "B-X", "I-X"]
    window = windows_of(6)
    words = np.array([[-1, 0, 1, 2, 3, -1], [-1, 2, 3, 4, 5, -1]], np.int32)
    offsets = np.stack([words * 2, words * 2 + 1], axis=2)
    logits = np.zeros((2, 6, 3))
    logits[0, :, 2] = logits[1, :, 2] = 9.0
    sources = np.array([[b"a b c d e f"], [b""]], np.object_)
    (found,) = find_entities(logits, TokenTensors(window, offsets, words, sources), labels)
    assert [(one["start"], one["end"], one["text"]) for one in json.loads(found)] == [(0, 11, "a b c d e f")]


@pytest.mark.parametrize(
    ("tags", "entities"),
    [
        (["B-P", "I-P", "E-P", "O", "S-P"], ["a b c", "e"]),  # BIOES
        (["B-P", "I-P", "L-P", "U-P", "O"], ["a b c", "d"]),  # BILOU
        (["B-P", "E-P", "E-P", "S-P", "I-P"], ["a b", "c", "d", "e"]),  # nothing goes on with what has ended
        (["B-P", "M-P", "E-P", "S-P", "O"], ["a b c", "d"]),  # BMES
        (["E-mail", "O", "B-P", "O", "O"], ["a", "c"]),  # a name, not a tag
        (["E-mail", "E-mail", "B-P", "E-mail", "O"], ["a b", "c", "d"]),  # a name goes on, as transformers has it
    ],
)
def test_tags_that_end_an_entity_join_it(tags, entities):
    labels = ["O", *sorted({*tags, "B-P"} - {"O"})]
    logits = np.zeros((1, 7, len(labels)))
    for place, tag in enumerate(tags, 1):
        logits[0, place, labels.index(tag)] = 9.0
    offsets = np.array([[[0, 0], *([2 * n, 2 * n + 1] for n in range(5)), [0, 0]]])
    words = np.array([[-1, 0, 1, 2, 3, 4, -1]])
    tokens = TokenTensors(np.array([[0, 0, 5, 1, 7]]), offsets, words, np.array([[b"a b c d e"]], np.object_))
    (answer,) = find_entities(logits, tokens, labels)
    assert [entity["text"] for entity in json.loads(answer)] == entities
    assert {entity["label"] for entity in json.loads(answer)} <= {"P", "E-mail"}


VOCABULARY = vocabulary_from_tokenizer(
    {"model": {"vocab": {"a": 0, "b": 1, "##c": 2}}, "added_tokens": [{"id": 3, "content": "[MASK]"}]}, "[MASK]"
)


def test_masks_are_filled_in_order_with_the_best_tokens():
    ids = np.array([[9, 3, 0, 3, 9, 0], [9, 0, 9, 0, 0, 0]])
    logits = np.zeros((2, 6, 4))
    logits[0, 1] = np.log([0.1, 0.2, 0.6, 0.1])
    logits[0, 3] = np.log([0.7, 0.1, 0.1, 0.1])
    two, none = fill_masks(logits, ids, TWO_TEXTS, VOCABULARY, 2)
    first, second = json.loads(two)
    assert first == [{"token": "##c", "text": "##c", "score": 0.6}, {"token": "b", "text": "b", "score": 0.2}]
    assert second[0] == {"token": "a", "text": "a", "score": 0.7}
    assert json.loads(none) == []


def test_more_tokens_than_the_vocabulary_has_are_all_of_it():
    ids = np.array([[9, 3, 0, 0, 9, 0], [9, 0, 9, 0, 0, 0]])
    filled, _ = fill_masks(np.zeros((2, 6, 4)), ids, TWO_TEXTS, VOCABULARY, 99)
    assert len(json.loads(filled)[0]) == 4


def test_a_token_has_the_text_that_its_id_is_decoded_to():
    content = {
        "model": {"vocab": [["\u2581sky", -1.0], ["<mask>", 0.0]]},
        "decoder": {"type": "Metaspace", "replacement": "\u2581"},
    }
    ids = np.array([[9, 1, 0, 0, 9, 0], [9, 0, 9, 0, 0, 0]])
    filled, _ = fill_masks(np.zeros((2, 6, 3)), ids, TWO_TEXTS, vocabulary_from_tokenizer(content, "<mask>"), 3)
    texts = {choice["token"]: choice["text"] for choice in json.loads(filled)[0]}
    assert texts == {"\u2581sky": "sky", "<mask>": "<mask>", "": ""}


def test_a_vocabulary_without_mask_is_refused():
    with pytest.raises(ValueError, match=r"tokenizer.json has no \[MASK\]"):
        vocabulary_from_tokenizer({"model": {"vocab": [["a", -1.0]]}}, "[MASK]")


CONTEXT = "aa bb cc dd ee ff"


def span_tensors(start, end, window):
    """Rows [CLS] q [SEP] context [SEP]; the n-th token of the context is its n-th word."""
    offsets = np.zeros((*start.shape, 2), np.int32)
    for row, (_, first, count, position, _) in enumerate(window):
        offsets[row, position : position + count] = [(3 * n, 3 * n + 2) for n in range(first, first + count)]
    sources = np.array([[CONTEXT.encode() if first == 0 else b""] for _, first, *_ in window], np.object_)
    return SpanTensors(start, end, np.array(window, np.int32), offsets, sources)


def logits_at(width, **places):
    row = np.zeros(width)
    for place, value in places.items():
        row[int(place[1:])] = value
    return row


def test_the_best_span_is_in_the_context_and_in_order():
    # [CLS], the question (1) and [SEP] (6) score highest, and so does an end before the start: none is an answer.
    start = np.array([logits_at(8, p0=2, p1=50, p4=9, p6=50)])
    end = np.array([logits_at(8, p0=2, p1=50, p3=10, p5=8, p6=50)])
    (span,) = find_spans(span_tensors(start, end, [[0, 0, 3, 3, 7]]), 30)
    assert (span.text, span.start, span.end) == ("bb cc", 3, 8)
    odds = [np.exp(values[0, [0, 3, 4, 5]]) for values in (start, end)]
    assert span.score == pytest.approx(float(odds[0][2] / odds[0].sum() * odds[1][3] / odds[1].sum()))


def test_a_question_without_an_answer_has_the_empty_one_where_that_is_asked_for():
    """SQuAD 2.0: the null score is the sum of the logits of [CLS]."""
    start, end = np.array([logits_at(8, p0=9, p4=5)]), np.array([logits_at(8, p0=9, p5=5)])
    tensors = span_tensors(start, end, [[0, 0, 3, 3, 7]])
    (span,) = find_spans(tensors, 30, handle_impossible_answer=True)
    assert (span.text, span.start, span.end) == ("", 0, 0)
    odds = np.exp([9, 0, 5, 0])  # [CLS] and the three words of the context
    assert span.score == pytest.approx((odds[0] / odds.sum()) ** 2)
    assert find_spans(tensors, 30)[0].text == "bb cc"


def test_an_answer_has_no_more_tokens_than_allowed():
    start, end = np.array([logits_at(11, p3=9)]), np.array([logits_at(11, p8=9, p4=1)])
    window = [[0, 0, 6, 3, 10]]
    assert find_spans(span_tensors(start, end, window), 6)[0].text == CONTEXT
    assert find_spans(span_tensors(start, end, window), 5)[0].text == "aa bb"
    assert find_spans(span_tensors(start, end, window), 1)[0].text == "aa"
    assert find_spans(span_tensors(start, end, window), 99)[0].text == CONTEXT


def test_a_span_may_reach_beyond_what_its_window_answers_for():
    window = [[0, 0, 4, 3, 8], [0, 2, 4, 3, 8]]  # words 0..3 and 2..5; the first answers for 0..2
    start = np.array([logits_at(8, p5=9), logits_at(8)])
    end = np.array([logits_at(8, p6=9), logits_at(8)])
    (span,) = find_spans(span_tensors(start, end, window), 30)
    assert span.text == "cc dd"
    assert 0 < span.score <= 1


def test_a_start_in_the_window_with_less_context_does_not_count():
    window = [[0, 0, 4, 3, 8], [0, 2, 4, 3, 8]]
    start = np.array([logits_at(8, p6=9), logits_at(8, p4=5)])  # word 3 in both
    end = np.array([logits_at(8, p6=9), logits_at(8, p5=5)])
    (span,) = find_spans(span_tensors(start, end, window), 30)
    assert span.text == "dd ee"


@given(st.integers(0, 2**32 - 1), st.integers(1, 8))
def test_the_best_span_is_that_of_a_search_over_all(seed, longest):
    draw = np.random.default_rng(seed)
    start, end = draw.normal(size=(1, 10)), draw.normal(size=(1, 10))
    (span,) = find_spans(span_tensors(start, end, [[0, 0, 6, 3, 10]]), longest)
    pairs = [(a, b) for a in range(3, 9) for b in range(a, min(a + longest, 9))]
    first, last = max(pairs, key=lambda pair: start[0, pair[0]] + end[0, pair[1]])
    assert (span.start, span.end) == (3 * (first - 3), 3 * (last - 3) + 2)


def test_a_task_reads_its_choices_from_the_parameters(tmp_path):
    (tmp_path / "labels.json").write_text('["no", "yes"]')
    answer = answer_from_parameters({"task": "text-classification", "top_k": "1"}, tmp_path)
    found = answer({"logits": np.array([[0.0, 9.0], [9.0, 0.0]]), "WINDOW": TWO_TEXTS})
    assert found["LABEL"].tolist() == [[b"yes"], [b"no"]]
    answer = answer_from_parameters({"task": "question-answering", "max_answer_tokens": "2"}, tmp_path)
    given = span_tensors(np.zeros((1, 7)), np.zeros((1, 7)), [[0, 0, 3, 3, 7]])
    names = ("start_logits", "end_logits", "WINDOW", "OFFSETS", "SOURCE")
    tensors = (given.start_logits, given.end_logits, given.window, given.offsets, given.sources)
    found = answer(dict(zip(names, tensors, strict=True)))
    assert {name: array.shape for name, array in found.items()} == dict.fromkeys(
        ("ANSWER", "SCORE", "START", "END"), (1, 1)
    )
