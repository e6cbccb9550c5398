"""One answer a text: an embedding, or labels."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from .windows import FIRST, ROW, Array, check_finite, count_texts, own_specials, own_tokens, softmax

# What makes scores of logits [..., number of labels]; see `artifact.Activation`.
ACTIVATIONS: Mapping[str, Callable[[Array], Array]] = {
    "softmax": softmax,
    "sigmoid": lambda logits: 1 / (1 + np.exp(-np.clip(logits, -80, 80))),
    "none": lambda logits: logits,
}
TINY = 1e-12  # as sentence-transformers' own normalisation


def pool(hidden: Array, window: Array, modes: Sequence[str] = ("mean",), *, normalize: bool) -> Array:
    """Return one vector a text of its token vectors, special tokens included, as sentence-transformers' Pooling does.

    A text of several windows gives one vector of all its tokens, each once: from the window that has most context
    for it, with the special tokens before the first window and behind the last.

    Args:
        hidden: [M, S, H].
        window: [M, 5].
        modes: P names of `POOLINGS`, whose vectors are joined.
        normalize: Whether to divide by the L2 norm.

    Returns:
        FP32 [N, P * H].
    """
    width = hidden.shape[1]
    marked = own_tokens(window, width) | own_specials(window, width)
    hidden = hidden.astype(np.float32, copy=False)
    parts: list[Array] = [POOLINGS[mode](hidden, marked, window) for mode in modes]
    pooled = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
    if normalize:
        pooled /= np.maximum(np.linalg.norm(pooled, axis=1, keepdims=True), TINY)
    check_finite(pooled)
    return pooled


def _first(hidden: Array, _: Array, window: Array) -> Array:
    firsts: Array = np.zeros((count_texts(window), hidden.shape[2]), np.float32)
    is_first = window[:, FIRST] == 0
    firsts[window[is_first, ROW]] = hidden[is_first, 0]
    return firsts


def _largest(hidden: Array, marked: Array, window: Array) -> Array:
    by_row = np.where(marked[:, :, None], hidden, -np.inf).max(axis=1)
    largest: Array = np.full((count_texts(window), hidden.shape[2]), -np.inf, np.float32)
    np.maximum.at(largest, window[:, ROW], by_row)
    return largest


def _sum_and_count(hidden: Array, marked: Array, window: Array) -> tuple[Array, Array]:
    weights = marked.astype(np.float32)
    # Not matmul: the threads of its BLAS cost more than they give, and they take the model's cores.
    sums = _add_rows(np.einsum("ms,msh->mh", weights, hidden), window)
    # A tokenizer without special tokens gives an empty text none at all.
    return sums, np.maximum(_add_rows(weights.sum(axis=1, keepdims=True), window), 1)


def _mean(hidden: Array, marked: Array, window: Array) -> Array:
    sums, counts = _sum_and_count(hidden, marked, window)
    means: Array = sums / counts
    return means


def _mean_by_root(hidden: Array, marked: Array, window: Array) -> Array:
    sums, counts = _sum_and_count(hidden, marked, window)
    means: Array = sums / np.sqrt(counts)
    return means


# By the names of `artifact.Pooling`: of [M, S, H], the tokens that count [M, S] and the windows, FP32 [N, H].
POOLINGS: Mapping[str, Callable[[Array, Array, Array], Array]] = {
    "cls": _first,
    "max": _largest,
    "mean": _mean,
    "mean_sqrt_len_tokens": _mean_by_root,
}


def rank_labels(
    logits: Array, window: Array, labels: Sequence[str], top_k: int, activation: str
) -> tuple[Array, Array]:
    """Return the best labels of each text and their scores; see `score_labels`.

    Args:
        logits: [M, number of labels].
        window: [M, 5].
        labels: Of each logit.
        top_k: How many to return; all where there are fewer.
        activation: As there.

    Returns:
        [N, k] of UTF-8 bytes, FP32 [N, k]; best first.
    """
    scores = score_labels(logits, window, activation)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :top_k]
    names = np.array([label.encode() for label in labels], np.object_)
    return names[order], np.take_along_axis(scores, order, axis=1)


def score_labels(logits: Array, window: Array, activation: str) -> Array:
    """Return a score of each label for each text.

    A text of several windows gets their mean score, weighted by the tokens that each answers for.

    Args:
        logits: [M, number of labels].
        window: [M, 5].
        activation: What makes a score of a logit: ``softmax`` over the labels, ``sigmoid`` of each, or ``none``.

    Returns:
        FP32 [N, number of labels], in the order of the logits.
    """
    logits = logits.astype(np.float32)
    scores = ACTIVATIONS[activation](logits)
    width = int(window[:, -1].max())
    tokens = (own_tokens(window, width) | own_specials(window, width)).sum(axis=1, keepdims=True)
    weights = np.maximum(tokens, 1).astype(np.float32)
    scores = _add_rows(scores * weights, window) / _add_rows(weights, window)
    check_finite(scores)
    return scores.astype(np.float32)


def _add_rows(values: Array, window: Array) -> Array:
    """Return the sum of each text's rows, as FP32."""
    values = values.astype(np.float32, copy=False)
    if len(values) == count_texts(window):
        return values
    sums = np.zeros((count_texts(window), values.shape[1]), np.float32)
    np.add.at(sums, window[:, ROW], values)
    return sums
