"""What an ensemble should answer to a text: computed here in numpy from the model's outputs, independently of it.

A label is checked only where its margin exceeds the error that the logits may have, and a probability has to lie
in the range that this error leaves it: see `prep_triton.triton.verify.tolerance`.
"""

import json
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Any, assert_never

from prep_triton.agreement import allowed_error
from prep_triton.artifact import Activation, Pooling
from prep_triton.tasks import SCORES, Task
from prep_triton.triton.verify.tolerance import (
    ROUNDING,
    probability_range,
    score_range,
    scores_from_logits,
    softmax,
)

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

NORM_SLACK = 1e-3


@dataclass(frozen=True)
class TextRow:
    """One text, its tokens, and what the model answers to them.

    `text` is the context where there is a `question`; of a pair that is the first text, and `text` the second. For each
    token: `ids`, its character `offsets` in the text or question, in `sequences` which of the two it is of (0 first, 1
    second, None a special token), and the index of its word in `words`. `outputs` are the model's, without batch axis
    and padding.
    """

    text: str
    ids: Sequence[int]
    offsets: Sequence[tuple[int, int]]
    sequences: Sequence[int | None]
    words: Sequence[int | None]
    outputs: "Mapping[str, Array]"
    question: str | None = None


@dataclass(frozen=True)
class AnswerCheck:
    """How an answer compares: the cosine of an embedding, the largest error of a score, what is wrong (or empty)."""

    cosine: float | None = None
    error: float | None = None
    mismatch: str = ""


@dataclass(frozen=True)
class AnswerOptions:
    """What an expected answer follows from besides the model's outputs.

    `tolerance` is the smallest cosine of the model's outputs to PyTorch's; `labels` name the logits, of which an
    answer holds the best `top_k`; `vocabulary` maps a token to its id, and `mask_id` is the one of the
    mask token; `activation` makes scores of logits; `max_answer_tokens` limits an answer's span, and
    `handle_impossible_answer` lets it be empty; `pooling` says what is made of
    token vectors, and `is_normalized` that an embedding has the length 1; `rms` is the root mean square of the model's
    answers where each is one number.
    """

    tolerance: float
    labels: Sequence[str] = ()
    top_k: int = 1
    vocabulary: Mapping[str, int] | None = None
    mask_id: int | None = None
    max_answer_tokens: int = 30
    handle_impossible_answer: bool = False
    activation: Activation = "softmax"
    pooling: Sequence[Pooling] = ("mean",)
    is_normalized: bool = False
    rms: float = 0.0


def compare_answer(task: Task, row: TextRow, answer: "Mapping[str, Array]", options: AnswerOptions) -> AnswerCheck:
    """Compare an ensemble's answer to one text (outputs without batch axis) with the model's outputs."""
    try:
        return _find_comparison(task)(row, answer, options)
    except (KeyError, ValueError, TypeError, IndexError, AttributeError) as err:
        # The answer is the server's, and may be anything.
        return AnswerCheck(mismatch=f"the answer does not have the form of {task}: {err!r}")


def _find_comparison(task: Task) -> "Callable[[TextRow, Mapping[str, Array], AnswerOptions], AnswerCheck]":
    match task:
        case "feature-extraction":
            return compare_embedding
        case "sentence-embedding":
            return compare_pooled
        case "text-classification" | "text-pair-classification":
            return compare_labels
        case "token-classification":
            return compare_entities
        case "fill-mask":
            return compare_tokens
        case "question-answering":
            return compare_span
        case _:
            assert_never(task)


def compare_embedding(row: TextRow, answer: "Mapping[str, Array]", options: AnswerOptions) -> AnswerCheck:
    """Expect what sentence-transformers' modules make of the token vectors, special tokens included."""
    import numpy as np

    vectors = np.asarray(row.outputs["last_hidden_state"], dtype=np.float64)
    expected = np.concatenate([_pool(vectors, mode) for mode in options.pooling])
    length = 1.0 if options.is_normalized else float(np.linalg.norm(expected))
    return compare_vectors(answer["EMBEDDING"], expected, length, options)


def compare_pooled(row: TextRow, answer: "Mapping[str, Array]", options: AnswerOptions) -> AnswerCheck:
    """Expect the model's own embedding, which nothing comes after."""
    import numpy as np

    expected = np.asarray(row.outputs["embedding"], dtype=np.float64).ravel()
    return compare_vectors(answer["EMBEDDING"], expected, float(np.linalg.norm(expected)), options)


def compare_vectors(answer: "Array", expected: "Array", length: float | None, options: AnswerOptions) -> AnswerCheck:
    """Expect the direction of a vector, and a length (None: any) within what the tolerance leaves."""
    import numpy as np

    actual = np.asarray(answer, dtype=np.float64).ravel()
    if actual.shape != expected.shape:
        return AnswerCheck(math.nan, mismatch=f"the embedding has {actual.size} values, expected {expected.size}")
    norms = float(np.linalg.norm(actual) * np.linalg.norm(expected))
    cosine = float(actual @ expected) / norms if norms else math.nan
    cosine = cosine if math.isnan(cosine) else min(1.0, cosine)  # min() drops a NaN
    actual_length = float(np.linalg.norm(actual))
    scale = np.linalg.norm(expected) / (actual_length or 1.0)
    error = float(np.abs(actual * scale - expected).max())
    if not cosine >= options.tolerance:
        return AnswerCheck(
            cosine, error, f"the embedding's cosine is {cosine:.6f}, expected {options.tolerance} or more"
        )
    # See `tolerance`: outputs that may lie so far apart may differ in length as much.
    slack = NORM_SLACK if options.is_normalized else max(NORM_SLACK, math.sqrt(2 * (1 - options.tolerance)))
    if length is not None and abs(actual_length - length) > slack * length:
        return AnswerCheck(cosine, error, f"the embedding's length is {actual_length:.6f}, expected {length:.6g}")
    return AnswerCheck(cosine, error)


def _pool(vectors: "Array", mode: Pooling) -> "Array":
    """Return one vector of a text's token vectors [S, H], without padding."""
    import numpy as np

    pooled: Array
    match mode:
        case "cls":
            pooled = vectors[0]
        case "max":
            pooled = vectors.max(axis=0)
        case "mean":
            pooled = vectors.mean(axis=0)
        case "mean_sqrt_len_tokens":
            pooled = vectors.sum(axis=0) / math.sqrt(len(vectors))
        case "weightedmean":
            pooled = np.average(vectors, axis=0, weights=range(1, len(vectors) + 1))
        case "lasttoken":
            pooled = vectors[-1]
        case _:
            assert_never(mode)
    return pooled


def compare_labels(row: TextRow, answer: "Mapping[str, Array]", options: AnswerOptions) -> AnswerCheck:
    """Expect the best labels, scored by the activation that the checkpoint declares (transformers' pipeline)."""
    logits = row.outputs["logits"].ravel()
    return compare_scores(logits, scores_from_logits(logits, options.activation), answer, options)


def compare_scores(
    logits: "Array", expected: "Array", answer: "Mapping[str, Array]", options: AnswerOptions
) -> AnswerCheck:
    """Expect the labels with the best logits, and of each its expected score; both in the order of `options.labels`."""
    if SCORES.name in answer:
        answer, options = _rank_all(answer[SCORES.name].ravel(), options)
    names = [text_from_bytes(label) for label in answer["LABEL"].ravel()]
    scores = [float(score) for score in answer["SCORE"].ravel()]
    if len(names) != min(options.top_k, len(options.labels)):
        return AnswerCheck(mismatch=f"{len(names)} labels, expected {min(options.top_k, len(options.labels))}")
    ranking = _Ranking(_find_indices(names, options.labels, logits), scores, names)
    return _compare_ranking(logits, expected, ranking, options)


def _rank_all(scores: "Array", options: AnswerOptions) -> "tuple[dict[str, Array], AnswerOptions]":
    """Return scores of all labels, in their own order, as a ranking of all of them."""
    import numpy as np

    order = np.argsort(-scores, kind="stable")
    names = np.array([label.encode() for label in options.labels], np.object_)
    return {"LABEL": names[order], "SCORE": scores[order]}, replace(options, top_k=len(names))


def _find_indices(names: Sequence[str], labels: Sequence[str], logits: "Array") -> list[int]:
    """Return the logit of each answered label; of labels with one name, the best first."""
    by_logit = sorted(range(len(labels)), key=lambda index: logits[index])
    free = {name: [index for index in by_logit if labels[index] == name] for name in names}
    return [free[name].pop() for name in names]


def compare_tokens(row: TextRow, answer: "Mapping[str, Array]", options: AnswerOptions) -> AnswerCheck:
    """Expect for each [MASK] the tokens by their softmax over the vocabulary, best first."""
    rankings = json.loads(text_from_bytes(answer["TOKENS"].ravel()[0]))
    masks = [index for index, token_id in enumerate(row.ids) if token_id == options.mask_id]
    if len(rankings) != len(masks):
        return AnswerCheck(mismatch=f"tokens for {len(rankings)} masks, expected {len(masks)}")
    vocabulary, checks = options.vocabulary or {}, []
    for mask, ranking in zip(masks, rankings, strict=True):
        names = [choice["token"] for choice in ranking]
        chosen = [vocabulary[name] for name in names]
        scores = [float(choice["score"]) for choice in ranking]
        logits = row.outputs["logits"][mask]
        checks.append(_compare_ranking(logits, softmax(logits), _Ranking(chosen, scores, names), options))
    return worst_of(checks)


@dataclass(frozen=True)
class _Ranking:
    """What an answer chose, best first: of each choice the index of its logit, its score and its name."""

    chosen: Sequence[int]
    scores: Sequence[float]
    names: Sequence[str]


def _compare_ranking(logits: "Array", expected: "Array", ranking: _Ranking, options: AnswerOptions) -> AnswerCheck:
    """Compare a ranking with the logits: nothing chosen may be clearly worse than what follows, or was left out.

    `expected` are the scores of all logits. A score that is its logit moves as that does, any other as a probability.
    """
    import numpy as np

    chosen, scores, names = ranking.chosen, ranking.scores, ranking.names
    if not chosen or len(chosen) != len(scores) or len(set(chosen)) != len(chosen):
        return AnswerCheck(mismatch=f"{len(scores)} scores for the choices {list(names)}")
    values = np.asarray(logits, dtype=np.float64)
    activation: Activation = "none" if np.allclose(values, expected, rtol=1e-5, atol=0) else "softmax"
    allowed = allowed_error(values, options.tolerance, rms=options.rms)
    error = max(abs(expected[index] - score) for index, score in zip(chosen, scores, strict=True))
    for rank, index in enumerate(chosen):
        rest = np.delete(values, list(chosen[: rank + 1]))
        if rest.size and values[index] < rest.max() - 2 * allowed:
            return AnswerCheck(
                error=error, mismatch=f"{names[rank]!r} is ranked {rank + 1}, and the model prefers others"
            )
        low, high = score_range(float(expected[index]), allowed, activation)
        if not low <= scores[rank] <= high:
            message = f"the score of {names[rank]!r} is {scores[rank]:.6f}, expected {expected[index]:.6f}"
            return AnswerCheck(error=error, mismatch=message)
    return AnswerCheck(error=float(error))


def compare_span(row: TextRow, answer: "Mapping[str, Array]", options: AnswerOptions) -> AnswerCheck:
    """Expect the span of the context whose start and end logits have the largest sum, or none where [CLS] has it.

    Its score is the product of both probabilities among the tokens of the context and [CLS].
    """
    import numpy as np

    logits = [np.asarray(row.outputs[name], dtype=np.float64) for name in ("start_logits", "end_logits")]
    message = text_from_bytes(answer["ANSWER"].ravel()[0])
    start, end = (int(answer[name].ravel()[0]) for name in ("START", "END"))
    if row.text[start:end] != message:
        return AnswerCheck(
            mismatch=f"the answer is {message!r}, and the context from {start} to {end} {row.text[start:end]!r}"
        )
    tokens: dict[tuple[int, int], tuple[int, int]] = {}
    # Several tokens may be of one character: of equal places the best counts.
    for first, last in sorted(
        _spans(row.sequences, options.max_answer_tokens), key=lambda span: logits[0][span[0]] + logits[1][span[1]]
    ):
        tokens[row.offsets[first][0], row.offsets[last][1]] = (first, last)
    if options.handle_impossible_answer:
        tokens[0, 0] = (0, 0)  # [CLS]: no answer
    if (start, end) not in tokens:
        return AnswerCheck(mismatch=f"{message!r} ({start} to {end}) is no span of the context's tokens")
    sums = {span: logits[0][first] + logits[1][last] for span, (first, last) in tokens.items()}
    best = max(sums, key=lambda span: sums[span])
    allowed = [allowed_error(values, options.tolerance) for values in logits]
    if sums[start, end] < sums[best] - 2 * sum(allowed):
        return AnswerCheck(mismatch=f"the answer is {message!r}, expected {row.text[best[0] : best[1]]!r}")
    places = [0, *(index for index, sequence in enumerate(row.sequences) if sequence == 1)]
    expected, low, high = 1.0, 1.0, 1.0
    for values, place, error in zip(logits, tokens[start, end], allowed, strict=True):
        probability = float(softmax(values[places])[places.index(place)])
        bounds = probability_range(probability, error)
        expected, low, high = expected * probability, low * max(0.0, bounds[0]), high * bounds[1]
    score = float(answer["SCORE"].ravel()[0])
    is_within = low - ROUNDING <= score <= high + ROUNDING
    mismatch = "" if is_within else f"the score is {score:.6f}, expected {expected:.6f}"
    return AnswerCheck(error=abs(score - expected), mismatch=mismatch)


def _spans(sequences: Sequence[int | None], longest: int) -> Iterable[tuple[int, int]]:
    """Yield first and last token of every span of the context that is at most `longest` tokens."""
    for first, sequence in enumerate(sequences):
        if sequence == 1:
            for last in range(first, min(first + longest, len(sequences))):
                if sequences[last] == 1:
                    yield first, last


def compare_entities(row: TextRow, answer: "Mapping[str, Array]", options: AnswerOptions) -> AnswerCheck:
    """Expect the label of each word (its first token's) on that word, and nothing on a word that is O.

    Words whose best two labels lie closer than the error that the logits may have are not checked. Labels that
    have no B- or I- stand on each token by itself.
    """
    entities = json.loads(text_from_bytes(answer["ENTITIES"].ravel()[0]))
    return compare_pieces(row, entities, options, lambda first: _label_of(row.outputs["logits"][first], options))


@dataclass(frozen=True)
class ExpectedLabel:
    """A piece's label without its tag, whether it is clearly the best, its score, and the range that this may have."""

    name: str
    is_sure: bool
    score: float
    low: float
    high: float


def compare_pieces(
    row: TextRow,
    entities: Sequence[Mapping[str, Any]],
    options: AnswerOptions,
    label_of: Callable[[int], ExpectedLabel],
) -> AnswerCheck:
    """Expect of every word (its first token decides) the label that `label_of` gives for that token."""
    for entity in entities:
        if row.text[entity["start"] : entity["end"]] != entity["text"]:
            message = f"{entity['text']!r} is not the text from {entity['start']} to {entity['end']}"
            return AnswerCheck(mismatch=message)
    error = 0.0
    for first, span in _apart(_pieces(row, options.labels)):
        expected = label_of(first)
        covering = next((item for item in entities if item["start"] <= span[0] and span[1] <= item["end"]), None)
        label = covering["label"] if covering else "O"
        if expected.is_sure and label != expected.name:
            message = f"{row.text[slice(*span)]!r} is {label}, expected {expected.name}"
            return AnswerCheck(error=error, mismatch=message)
        if covering and (covering["start"], covering["end"]) == span and label == expected.name:
            score = float(covering["score"])
            error = max(error, abs(score - expected.score))
            if not expected.low <= score <= expected.high:
                message = f"the score of {covering['text']!r} is {score:.6f}, expected {expected.score:.6f}"
                return AnswerCheck(error=error, mismatch=message)
    return AnswerCheck(error=error)


def _apart(pieces: Iterable[tuple[int, tuple[int, int]]]) -> Iterator[tuple[int, tuple[int, int]]]:
    """Yield the pieces that share no character or place with another: of which of them an entity there is, is open.

    A space alone is a token of no characters in RoBERTa's vocabulary, where the word behind it begins.
    """
    known = list(pieces)
    shared = [left[1][1] > right[1][0] or left[1][0] >= right[1][0] for left, right in pairwise(known)]
    for piece, before, behind in zip(known, [False, *shared], [*shared, False], strict=False):
        if not (before or behind):
            yield piece


def _pieces(row: TextRow, labels: Sequence[str]) -> Iterable[tuple[int, tuple[int, int]]]:
    """Yield the first token and the characters of every word; of every token where no label has a B- or I-."""
    by_word = bool(_tagged_names(labels))
    tokens = [index for index, sequence in enumerate(row.sequences) if sequence is not None]
    for _, piece in groupby(tokens, key=lambda index: row.words[index] if by_word else index):
        members = list(piece)
        yield members[0], (row.offsets[members[0]][0], row.offsets[members[-1]][1])


def _label_of(logits: "Array", options: AnswerOptions) -> ExpectedLabel:
    values = softmax(logits)
    best = int(values.argmax())
    return expect_label(options.labels[best], float(values[best]), logits, options)


def expect_label(label: str, score: float, logits: "Array", options: AnswerOptions) -> ExpectedLabel:
    """Return what a label and its score, of these logits, may become within the tolerance."""
    import numpy as np

    values = np.asarray(logits, dtype=np.float64)
    allowed, tagged = allowed_error(values, options.tolerance), _tagged_names(options.labels)
    name = _name_of(label, tagged)
    others = [value for value, other in zip(values, options.labels, strict=True) if _name_of(other, tagged) != name]
    low, high = probability_range(score, allowed)
    is_sure = not others or float(values.max()) - max(others) > 2 * allowed
    return ExpectedLabel(name, is_sure, score, low, high)


def _tagged_names(labels: Sequence[str]) -> set[str]:
    """Return the names that some label has behind a B- or I-: BIOES, BILOU and BMES have more tags of these."""
    return {label[2:] for label in labels if label[:2] in ("B-", "I-") and label[2:]}


def _name_of(label: str, tagged: Collection[str]) -> str:
    return label[2:] if label[1:2] == "-" and label[0] in "BIMESLU" and label[2:] in tagged else label


def text_from_bytes(element: Any) -> str:
    """Return a STRING tensor's element as text."""
    return element.decode("utf-8") if isinstance(element, bytes) else str(element)


def worst_of(checks: Sequence[AnswerCheck]) -> AnswerCheck:
    """Return the largest error and the first mismatch of several answers."""
    errors = [check.error for check in checks if check.error is not None]
    mismatch = next((check.mismatch for check in checks if check.mismatch), "")
    return AnswerCheck(error=max(errors, default=None), mismatch=mismatch)
