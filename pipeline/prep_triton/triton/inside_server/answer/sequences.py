"""One answer a text: an embedding, or labels."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from .windows import ROW, Array, check_finite, count_texts, own_specials, own_tokens, softmax

# What makes scores of logits [..., number of labels]; see `artifact.Activation`.
ACTIVATIONS: Mapping[str, Callable[[Array], Array]] = {
    "softmax": softmax,
    "sigmoid": lambda logits: 1 / (1 + np.exp(-np.clip(logits, -80, 80))),
    "none": lambda logits: logits,
}
TINY = 1e-12  # as sentence-transformers' own normalisation


def pool_mean(hidden: Array, window: Array, *, normalize: bool) -> Array:
    """Return the mean of each text's token vectors, special tokens included, as sentence-transformers does.

    A text of several windows gives the mean over all its tokens, each once: from the window that has most context
    for it, with the special tokens before the first window and behind the last.

    Args:
        hidden: [M, S, H].
        window: [M, 5].
        normalize: Whether to divide by the L2 norm.

    Returns:
        FP32 [N, H].
    """
    width = hidden.shape[1]
    marked = (own_tokens(window, width) | own_specials(window, width)).astype(np.float32)
    # Not matmul: the threads of its BLAS cost more than they give, and they take the model's cores.
    sums = np.einsum("ms,msh->mh", marked, hidden.astype(np.float32, copy=False))
    # A tokenizer without special tokens gives an empty text none at all.
    counts = np.maximum(_add_rows(marked.sum(axis=1, keepdims=True), window), 1)
    means: Array = _add_rows(sums, window) / counts
    if normalize:
        means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), TINY)
    check_finite(means)
    return means


def rank_labels(
    logits: Array, window: Array, labels: Sequence[str], top_k: int, activation: str
) -> tuple[Array, Array]:
    """Return the best labels of each text and their scores.

    A text of several windows gets their mean score, weighted by the tokens that each answers for.

    Args:
        logits: [M, number of labels].
        window: [M, 5].
        labels: Of each logit.
        top_k: How many to return; all where there are fewer.
        activation: What makes a score of a logit: ``softmax`` over the labels, ``sigmoid`` of each, or ``none``.

    Returns:
        [N, k] of UTF-8 bytes, FP32 [N, k]; best first.
    """
    logits = logits.astype(np.float32)
    scores = ACTIVATIONS[activation](logits)
    width = int(window[:, -1].max())
    tokens = (own_tokens(window, width) | own_specials(window, width)).sum(axis=1, keepdims=True)
    weights = np.maximum(tokens, 1).astype(np.float32)
    scores = _add_rows(scores * weights, window) / _add_rows(weights, window)
    check_finite(scores)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :top_k]
    names = np.array([label.encode() for label in labels], np.object_)
    return names[order], np.take_along_axis(scores, order, axis=1).astype(np.float32)


def _add_rows(values: Array, window: Array) -> Array:
    """Return the sum of each text's rows, as FP32."""
    values = values.astype(np.float32, copy=False)
    if len(values) == count_texts(window):
        return values
    sums = np.zeros((count_texts(window), values.shape[1]), np.float32)
    np.add.at(sums, window[:, ROW], values)
    return sums
