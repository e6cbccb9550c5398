"""How far an answer may lie from the expected one, by the entry's tolerance.

The tolerance is the smallest cosine of the model's outputs to PyTorch's, which says what error the logits may have
(`prep_triton.agreement.allowed_error`). A probability has to lie between those of the logits moved apart and together
by it.
"""

import math
from typing import TYPE_CHECKING, Any, assert_never

from prep_triton.artifact import Activation

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

# What FP32 arithmetic in another order adds to a probability.
ROUNDING = 1e-5


def probability_range(probability: float, error: float) -> tuple[float, float]:
    """Return between what a softmax probability may lie whose logits each have an error."""
    odds = probability / max(1 - probability, 1e-300)
    low, high = odds * math.exp(-2 * error), odds * math.exp(min(2 * error, 700))
    return low / (1 + low) - ROUNDING, (high / (1 + high) if math.isfinite(high) else 1.0) + ROUNDING


def score_range(score: float, error: float, activation: Activation) -> tuple[float, float]:
    """Return between what a score may lie whose logits each have an error; see `scores_from_logits`."""
    if activation == "none":
        return score - error - ROUNDING * max(1.0, abs(score)), score + error + ROUNDING * max(1.0, abs(score))
    return probability_range(score, error)


def scores_from_logits(logits: "Array", activation: Activation) -> "Array":
    """Return the scores of a classifier's logits, in FP64."""
    import numpy as np

    values = np.asarray(logits, dtype=np.float64)
    match activation:
        case "softmax":
            return softmax(values)
        case "sigmoid":
            return np.asarray(1 / (1 + np.exp(-values)))
        case "none":
            return values
        case _:
            assert_never(activation)


def softmax(logits: "Array") -> "Array":
    """Return the softmax over the last axis, in FP64."""
    import numpy as np

    values = np.asarray(logits, dtype=np.float64)
    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    probabilities: Array = powers / powers.sum(axis=-1, keepdims=True)
    return probabilities
