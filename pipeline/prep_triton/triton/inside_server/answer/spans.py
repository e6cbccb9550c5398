"""The answer to a question, as it stands in the context."""

from dataclasses import dataclass

import numpy as np

from .windows import ROW, Array, check_finite, count_texts, own_tokens


@dataclass(frozen=True)
class Span:
    """The best answer: its text, its probability, and its characters in the context, end exclusive."""

    text: str
    score: float
    start: int
    end: int


@dataclass(frozen=True)
class SpanTensors:
    """The rows of a request: logits [M, S], `window` [M, 5], `offsets` [M, S, 2], `sources` [M, 1] of UTF-8 bytes."""

    start_logits: Array
    end_logits: Array
    window: Array
    offsets: Array
    sources: Array


def find_spans(tensors: SpanTensors, max_answer_tokens: int, *, handle_impossible_answer: bool = False) -> list[Span]:
    """Return the best span of each context: start <= end, at most `max_answer_tokens` tokens, within one window.

    A span begins in the window that has most context for its first token (google-research/bert, run_squad.py).
    Its score is the product of two probabilities: those of its start and of its end among all the tokens of the
    context and [CLS], which stands for no answer (of several windows the smallest, as there).

    With `handle_impossible_answer` a context whose [CLS] scores higher than its best span has the empty answer, from
    0 to 0 (transformers' pipeline and its argument of that name; SQuAD 2.0).

    Raises:
        AnswerError: A logit is NaN or infinite.
    """
    width = tensors.start_logits.shape[1]
    window = tensors.window
    owned = own_tokens(window, width)
    inside = _inside(window, width)
    starts, ends = tensors.start_logits.astype(np.float64), tensors.end_logits.astype(np.float64)
    check_finite(starts[inside])
    check_finite(ends[inside])
    spans = []
    for text in range(count_texts(window)):
        rows = np.flatnonzero(window[:, ROW] == text)
        start, end = np.where(owned[rows], starts[rows], -np.inf), np.where(inside[rows], ends[rows], -np.inf)
        row, first, last = _best(start, end, max_answer_tokens)
        total = _log_total(start, starts[rows, 0]) + _log_total(np.where(owned[rows], end, -np.inf), ends[rows, 0])
        if handle_impossible_answer:
            none = float((starts[rows, 0] + ends[rows, 0]).min())
            if none > start[row, first] + end[row, last]:
                spans.append(Span("", min(1.0, float(np.exp(none - total))), 0, 0))
                continue
        score = np.exp(start[row, first] + end[row, last] - total)
        begin, finish = int(tensors.offsets[rows[row], first, 0]), int(tensors.offsets[rows[row], last, 1])
        source = tensors.sources[rows[0], 0].decode()
        spans.append(Span(source[begin:finish], min(1.0, float(score)), begin, finish))
    return spans


def _inside(window: Array, width: int) -> Array:
    """Mark the tokens of the context in every row."""
    places = np.arange(width)
    begin = window[:, 3, None]
    inside: Array = (begin <= places) & (places < begin + window[:, 2, None])
    return inside


def _best(start: Array, end: Array, max_answer_tokens: int) -> tuple[int, int, int]:
    """Return the row, the first and the last token of the best span; of equals the first."""
    reach = min(max_answer_tokens, end.shape[1])
    padded = np.pad(end, ((0, 0), (0, reach - 1)), constant_values=-np.inf)
    ahead = np.lib.stride_tricks.sliding_window_view(padded, reach, axis=1)  # [M, S, reach]
    last = ahead.argmax(axis=2)
    sums = start + np.take_along_axis(ahead, last[:, :, None], axis=2)[:, :, 0]
    row, first = np.unravel_index(int(sums.argmax()), sums.shape)
    return int(row), int(first), int(first + last[row, first])


def _log_total(logits: Array, none: Array) -> float:
    """Return the logarithm of the sum of exponentials of the logits and the smallest of `none`."""
    values = np.append(logits[np.isfinite(logits)], none.min())
    largest = values.max()
    return float(largest + np.log(np.exp(values - largest).sum()))
