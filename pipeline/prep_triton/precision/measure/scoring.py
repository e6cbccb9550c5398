"""What to run a graph on so that labelled rows can be scored, and how its answers become points, task by task."""

import logging
from bisect import bisect_right
from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, Any, assert_never

from prep_triton.artifact import EmbeddingRecord, Truncation
from prep_triton.errors import SpecError, find_nearest
from prep_triton.precision.measure.answer_spans import find_answer, split_windows
from prep_triton.precision.measure.labelled import (
    Example,
    LabelledText,
    LabelledWords,
    MaskedText,
    Question,
    labelled_rows,
)
from prep_triton.precision.measure.ranked_rows import RankedDocuments
from prep_triton.precision.measure.ranking import plan_ranking
from prep_triton.precision.measure.reranking import plan_reranking
from prep_triton.precision.measure.scoring_plan import Scoring
from prep_triton.precision.measure.squad import score_answers
from prep_triton.precision.measure.token_rows import TokenRow
from prep_triton.reference import find_mask_token
from prep_triton.tasks import Task

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

log = logging.getLogger(__name__)

UNKNOWN_TOKENS = ("[UNK]", "<unk>")


def plan_scoring(
    task: Task,
    examples: Sequence[Example],
    tokenizer: Any,
    max_tokens: int,
    embedding: EmbeddingRecord | None = None,
    *,
    truncation: Truncation = "longest_first",
) -> Scoring:
    """Tokenize labelled rows and say how their answers are scored.

    Args:
        task: The model's.
        examples: The rows of `load_examples` for this task.
        tokenizer: A ``tokenizers.Tokenizer``; its padding and truncation are set here.
        max_tokens: The longest sequence that the model takes.
        embedding: How an embedder makes one vector of a text; the normalized mean where None.
        truncation: Which text of a pair is cut.

    Raises:
        SpecError: A row cannot be scored: no mask, two masks, a label of several tokens; or no row can.
    """
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return _find_planner(task, embedding or EmbeddingRecord(), truncation)(examples, tokenizer, max_tokens)


def _sequence_from_encoding(encoding: Any) -> TokenRow:
    return TokenRow(tuple(encoding.ids), tuple(encoding.type_ids))


def _percent(predicted: Sequence[int], expected: Sequence[int]) -> float:
    return 100 * sum(map(int.__eq__, predicted, expected)) / len(expected)


def _plan_text_classification(
    examples: Sequence[LabelledText], tokenizer: Any, max_tokens: int, *, truncation: Truncation = "longest_first"
) -> Scoring:
    tokenizer.enable_truncation(max_tokens, strategy=truncation)
    texts = [row.text if row.text_pair is None else (row.text, row.text_pair) for row in examples]
    expected = [row.label for row in examples]
    metric = labelled_rows("text-classification").metric
    return Scoring(
        metric=metric,
        rows=len(examples),
        sequences=[_sequence_from_encoding(encoding) for encoding in tokenizer.encode_batch(texts)],
        choose=lambda _, answers: int(answers["logits"].argmax()),
        score=lambda predicted: {metric: _percent(predicted, expected)},
    )


def _plan_pairs(
    examples: Sequence[LabelledText | RankedDocuments], tokenizer: Any, max_tokens: int, *, truncation: Truncation
) -> Scoring:
    queries = [row for row in examples if isinstance(row, RankedDocuments)]
    if queries:
        return plan_reranking(queries, tokenizer, max_tokens, truncation=truncation)
    pairs = [row for row in examples if isinstance(row, LabelledText)]
    return _plan_text_classification(pairs, tokenizer, max_tokens, truncation=truncation)


def _plan_token_classification(examples: Sequence[LabelledWords], tokenizer: Any, max_tokens: int) -> Scoring:
    tokenizer.enable_truncation(max_tokens)
    # Byte-level BPE keeps a space in the word behind it: words by themselves would lack theirs.
    if getattr(tokenizer.pre_tokenizer, "add_prefix_space", None) is False:
        encoded = tokenizer.encode_batch([" ".join(row.words) for row in examples])
        words = [_words_by_place(row.words, encoding) for row, encoding in zip(examples, encoded, strict=True)]
    else:
        encoded = tokenizer.encode_batch([list(row.words) for row in examples], is_pretokenized=True)
        words = [encoding.word_ids for encoding in encoded]
    firsts = list(map(_find_first_tokens, words))
    expected = [row.labels[word] for row, first in zip(examples, firsts, strict=True) for word in first]
    total = sum(len(row.words) for row in examples)
    if not expected:
        raise SpecError("no row of the evaluation file has a word to score", hint="'tokens' holds words")
    if len(expected) < total:
        log.warning(
            "%d of %d labelled words are not scored: they lie beyond the model's %d tokens, or give no token",
            total - len(expected), total, max_tokens,
        )  # fmt: skip
    positions = [list(first.values()) for first in firsts]
    metric = labelled_rows("token-classification").metric
    return Scoring(
        metric=metric,
        rows=len(examples),
        sequences=[_sequence_from_encoding(encoding) for encoding in encoded],
        choose=lambda index, answers: answers["logits"][positions[index]].argmax(-1).tolist(),
        score=lambda predicted: {metric: _percent([label for row in predicted for label in row], expected)},
    )


def _words_by_place(words: Sequence[str], encoding: Any) -> list[int | None]:
    """Return the word of each token of words that were joined by spaces; None for special tokens."""
    text, ends = " ".join(words), list(accumulate(len(word) + 1 for word in words))
    return [
        None if sequence is None else bisect_right(ends, start + (text[start : start + 1] == " "))
        for sequence, (start, _) in zip(encoding.sequence_ids, encoding.offsets, strict=True)
    ]


def _find_first_tokens(word_ids: Sequence[int | None]) -> dict[int, int]:
    """Return the position of the first token of each word, by the word's index."""
    first: dict[int, int] = {}
    for position, word in enumerate(word_ids):
        if word is not None:
            first.setdefault(word, position)
    return first


def _plan_fill_mask(examples: Sequence[MaskedText], tokenizer: Any, max_tokens: int) -> Scoring:
    rows = labelled_rows("fill-mask")
    mask_token = find_mask_token(tokenizer)
    mask_id = tokenizer.token_to_id(mask_token)
    encoded = tokenizer.encode_batch([row.text for row in examples])
    positions, expected = [], []
    for row, encoding in zip(examples, encoded, strict=True):
        masks = [position for position, token in enumerate(encoding.ids) if token == mask_id]
        if len(masks) != 1:
            raise SpecError(
                f"{row.where}: 'text' has {len(masks)} {mask_token}, expected one",
                hint=f"one mask a line: {rows.example}",
            )
        # The last token of a truncated row is [SEP].
        if len(encoding.ids) > max_tokens and masks[0] >= max_tokens - 1:
            raise SpecError(
                f"{row.where}: {mask_token} is token {masks[0] + 1}, beyond the model's {max_tokens}",
                hint="shorten the text before the mask",
            )
        positions.append(masks[0])
        expected.append(_find_token(row, tokenizer))
    tokenizer.enable_truncation(max_tokens)
    return Scoring(
        metric=rows.metric,
        rows=len(examples),
        sequences=[_sequence_from_encoding(row) for row in tokenizer.encode_batch([row.text for row in examples])],
        choose=lambda index, answers: int(answers["logits"][positions[index]].argmax()),
        score=lambda predicted: {rows.metric: _percent(predicted, expected)},
    )


def _find_token(row: MaskedText, tokenizer: Any) -> int:
    """Return the id of a label: a token of the vocabulary, or a word that the tokenizer turns into one.

    Where a token begins with the space before it (RoBERTa's, SentencePiece's), a label is the word behind a space.
    """
    unknown = {tokenizer.token_to_id(token) for token in UNKNOWN_TOKENS}
    if not getattr(tokenizer.model, "continuing_subword_prefix", None):
        spaced = tokenizer.encode(f" {row.label}", add_special_tokens=False).ids
        if len(spaced) == 1 and spaced[0] not in unknown:
            return int(spaced[0])
    exact = tokenizer.token_to_id(row.label)
    ids = [exact] if exact is not None else tokenizer.encode(row.label, add_special_tokens=False).ids
    if len(ids) == 1 and ids[0] not in unknown:
        return int(ids[0])
    nearest = find_nearest(row.label, tokenizer.get_vocab())
    if len(ids) > 1:
        pieces = ", ".join(tokenizer.id_to_token(token) for token in ids)
        message = f"'label' {row.label!r} is {len(ids)} tokens ({pieces}), expected one"
    else:
        message = f"'label' {row.label!r} is not a token of the model's vocabulary"
    raise SpecError(
        f"{row.where}: {message}",
        hint=(f"did you mean '{nearest[0]}'? " if nearest else "") + "the label is one token of the vocabulary",
    )


def _plan_question_answering(examples: Sequence[Question], tokenizer: Any, max_tokens: int) -> Scoring:
    split = [split_windows(tokenizer, row.question, row.context, max_tokens) for row in examples]
    golds = [row.answers for row in examples]
    may_be_none = not all(golds)
    if may_be_none:
        log.info(
            "%d of %d questions have no answer: scoring by SQuAD v2.0's rules",
            sum(not gold for gold in golds),
            len(golds),
        )

    metric = labelled_rows("question-answering").metric

    def score(logits: "Sequence[tuple[Array, Array]]") -> dict[str, float]:
        remaining = iter(logits)
        predictions = [
            find_answer(row.context, windows, [next(remaining) for _ in windows], may_be_none=may_be_none)
            for row, windows in zip(examples, split, strict=True)
        ]
        points = score_answers(predictions, golds)
        return {metric: points.f1, "exact match": points.exact_match}

    return Scoring(
        metric=metric,
        rows=len(examples),
        sequences=[TokenRow(window.ids, window.type_ids) for windows in split for window in windows],
        choose=lambda _, answers: (answers["start_logits"].copy(), answers["end_logits"].copy()),
        score=score,
    )


def _find_planner(
    task: Task, embedding: EmbeddingRecord, truncation: Truncation
) -> Callable[[Sequence[Any], Any, int], Scoring]:
    match task:
        case "text-classification":
            return _plan_text_classification
        case "text-pair-classification":
            return partial(_plan_pairs, truncation=truncation)
        case "token-classification":
            return _plan_token_classification
        case "question-answering":
            return _plan_question_answering
        case "fill-mask":
            return _plan_fill_mask
        case "feature-extraction" | "sentence-embedding":
            return partial(plan_ranking, embedding=embedding)
        case _:
            assert_never(task)
