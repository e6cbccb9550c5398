"""Which row of the model answers for which token, where long texts were cut into overlapping windows.

``WINDOW`` is [M, 5]: for each row its text's index, the first of the text's tokens in it, their number, where they
stand in the row, and the row's length without padding.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Bools = npt.NDArray[np.bool_]

ROW, FIRST, COUNT, POSITION, LENGTH = range(5)


class AnswerError(ValueError):
    """No answer can be made of the model's numbers."""


def count_texts(window: Array) -> int:
    """Return how many texts the rows are of; their indices rise by one at most."""
    return int(window[-1, ROW]) + 1


def own_tokens(window: Array, width: int) -> Bools:
    """Mark each token of a text in the one row that has most context on both sides of it.

    The rule is that of BERT's own SQuAD script (google-research/bert, run_squad.py, _check_is_max_context). A
    text's own edge is no lack of context; of equals the earlier row wins.

    Returns:
        [M, width]; special tokens, the question and padding belong to no row.
    """
    places = np.arange(width)
    begin = window[:, POSITION, None]
    end = begin + window[:, COUNT, None]
    owned: Bools = (begin <= places) & (places < end)
    for text in _texts_of_several_rows(window):
        _share_tokens(owned, window, text)
    return owned


def own_specials(window: Array, width: int) -> Bools:
    """Mark what stands before a text in its first row and behind it in its last, as if it were one long row."""
    places = np.arange(width)
    rows = window[:, ROW]
    first, last = np.empty(len(rows), bool), np.empty(len(rows), bool)
    first[0] = last[-1] = True
    first[1:] = last[:-1] = rows[1:] != rows[:-1]
    before = places < window[:, POSITION, None]
    behind = (window[:, POSITION, None] + window[:, COUNT, None] <= places) & (places < window[:, LENGTH, None])
    marked: Bools = (before & first[:, None]) | (behind & last[:, None])
    return marked


def softmax(logits: Array) -> Array:
    """Return probabilities along the last axis.

    Raises:
        AnswerError: A logit is NaN or infinite.
    """
    logits = logits.astype(np.float32)
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probabilities: Array = powers / powers.sum(axis=-1, keepdims=True)
    check_finite(probabilities)
    return probabilities


def check_finite(values: Array) -> None:
    """Refuse NaN and infinity.

    Raises:
        AnswerError: There is one.
    """
    if not np.isfinite(values).all():
        raise AnswerError("the model answered NaN or infinity; its precision may be too low for this text")


def _texts_of_several_rows(window: Array) -> list[int]:
    if count_texts(window) == len(window):
        return []
    texts: list[int] = np.flatnonzero(np.bincount(window[:, ROW]) > 1).tolist()
    return texts


def _share_tokens(owned: Bools, window: Array, text: int) -> None:
    rows = np.flatnonzero(window[:, ROW] == text)
    first, count = window[rows, FIRST, None], window[rows, COUNT, None]
    total = int((first + count).max())
    tokens = np.arange(total)
    left = np.where(first == 0, total, tokens - first)
    right = np.where(first + count == total, total, first + count - 1 - tokens)
    owner = np.minimum(left, right).argmax(axis=0)  # outside of a row one of them is negative
    for index, row in enumerate(rows):
        begin, length = int(window[row, FIRST]), int(window[row, COUNT])
        position = int(window[row, POSITION])
        owned[row, position : position + length] = owner[begin : begin + length] == index
