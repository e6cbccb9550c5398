"""Rounds weights to INT8 so that the layer's output, and not each weight, is near what it was (GPTQ, arXiv:2210.17323).

Rows are rounded one after the other, and those that are still to come take up the error of each: the least squared
error of ``X W`` over the calibration rows. X is the input as it is after its own rounding.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prep_triton.precision.int8.qdq import LARGEST, QuantizedWeight, weight_scale

Array = NDArray[Any]

# Of the mean of the Gram matrix's diagonal; what keeps calibration rows that are fewer than channels from being learnt.
# MiniLM, 128 and 300 rows: 0.02, 0.1 and 1.0 differ by 0.0001 of the mean cosine.
_DAMPING = 0.1
# Rows whose error is passed on to all later ones at once: it fits a core's cache.
_BLOCK_ROWS = 64


def round_weights(weights: Sequence[Array], gram: NDArray[np.float32]) -> list[QuantizedWeight]:
    """Round the weights that read one input.

    Args:
        weights: Each [channels, size_out], smoothed.
        gram: ``X^T X`` of the rounded input over all tokens, [channels, channels].

    Returns:
        Their values and scales, in order.
    """
    scales = [weight_scale(weight) for weight in weights]
    together, scale = np.hstack(weights).astype(np.float32), np.hstack(scales)
    values = _round_rows(together, scale, gram)
    ends = np.cumsum([weight.shape[1] for weight in weights])[:-1]
    return [
        QuantizedWeight(np.ascontiguousarray(part), part_scale)
        for part, part_scale in zip(np.split(values, ends, axis=1), scales, strict=True)
    ]


def _round_rows(weight: NDArray[np.float32], scale: NDArray[np.float32], gram: NDArray[np.float32]) -> NDArray[np.int8]:
    """Round the rows of a weight [channels, size_out] in place, the channels with most energy first."""
    order = np.argsort(-gram.diagonal(), kind="stable")
    factor = _inverse_factor(gram[np.ix_(order, order)])
    left = weight[order]
    values = np.empty(left.shape, np.int8)
    for start in range(0, len(left), _BLOCK_ROWS):
        end = min(start + _BLOCK_ROWS, len(left))
        errors = np.empty((end - start, left.shape[1]), np.float32)
        for row in range(start, end):
            rounded = np.clip(np.rint(left[row] / scale), -LARGEST, LARGEST)
            values[row] = rounded
            errors[row - start] = (left[row] - rounded * scale) / factor[row, row]
            left[row + 1 : end] -= np.outer(factor[row, row + 1 : end], errors[row - start])
        left[end:] -= factor[start:end, end:].T @ errors
    restored = np.empty_like(values)
    restored[order] = values
    return restored


def _inverse_factor(gram: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the upper triangular U with ``U^T U`` the inverse of the damped matrix.

    With J the matrix that turns the order around, and ``J G J = L L^T``: U = J L^-1 J. That is one Cholesky
    factorisation, where the textbook's inverse and factorisation of it are three times the work.
    """
    damped = gram + np.float32(_DAMPING * gram.diagonal().mean() + np.finfo(np.float32).tiny) * np.eye(
        len(gram), dtype=np.float32
    )
    return np.ascontiguousarray(_invert_lower(np.linalg.cholesky(damped[::-1, ::-1]))[::-1, ::-1])


def _invert_lower(lower: NDArray[np.float32]) -> NDArray[np.float32]:
    """Invert a lower triangular matrix by halves: almost all products, an eighth of numpy's general inverse."""
    size = len(lower)
    if size <= _BLOCK_ROWS:
        small: NDArray[np.float32] = np.tril(np.linalg.inv(lower))
        return small
    half = size // 2
    inverse = np.zeros_like(lower)
    inverse[:half, :half] = _invert_lower(lower[:half, :half])
    inverse[half:, half:] = _invert_lower(lower[half:, half:])
    inverse[half:, :half] = -inverse[half:, half:] @ (lower[half:, :half] @ inverse[:half, :half])
    return inverse
