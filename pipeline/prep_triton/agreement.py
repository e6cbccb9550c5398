"""How close two answers to one row are: what a conversion's gate and `prep verify` both judge by.

What is compared is what the answer's user reads: the mean over a text's tokens for an embedding, the labels that a
classifier chooses, else every value. Of answers that are one number each (a reranker's score, a regression) a cosine
says whether their signs are equal and nothing else: they are held against the size of such numbers over all rows.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from prep_triton.tasks import TASKS, Task

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

# An error that is spread like noise has few values beyond four times its root mean square.
NOISE_PEAK = 4.0
# A label is clearly chosen where it stays the best of logits that have this cosine to PyTorch's, as careful INT8 does.
CLEAR_COSINE = 0.97


def answer_vector(outputs: "Mapping[str, Array]", names: Sequence[str], task: Task) -> "Array":
    """Make one vector of a row's outputs.

    Args:
        outputs: By name, without padding: [tokens, ...] or [labels].
        names: The outputs, in the graph's order.
        task: An embedding is the mean over its tokens.
    """
    import numpy as np

    arrays = [outputs[name] for name in names]
    if TASKS[task].answers_embedding:
        arrays = [array.reshape(-1, array.shape[-1]).mean(axis=0) for array in arrays]
    return np.concatenate([np.ravel(array) for array in arrays])


def root_mean_square(values: "Array") -> float:
    """Return the root mean square of numbers, at least one."""
    import numpy as np

    return math.sqrt(float(np.mean(np.asarray(values, dtype=np.float64) ** 2)))


def cosine_of_numbers(expected: float, actual: float, rms: float) -> float:
    """Return what a cosine would be of two answers that are one number each.

    Two vectors of one length whose cosine is c lie ``sqrt(2 * (1 - c))`` of that length apart; the length of a number
    is its own, or what such answers have over all rows where that is more.

    Args:
        expected: PyTorch's.
        actual: The other one.
        rms: The root mean square of PyTorch's answers to all rows.

    Returns:
        At most 1, at least -1; NaN where an answer is.
    """
    length = max(rms, abs(expected))
    if not length:
        return 1.0 if actual == expected else -1.0
    agreement = 1 - ((actual - expected) / length) ** 2 / 2
    return agreement if math.isnan(agreement) else max(-1.0, agreement)


def allowed_error(logits: "Array", tolerance: float, *, rms: float = 0.0) -> float:
    """Return how far any one of these logits may lie from PyTorch's.

    Two vectors of one length whose cosine is c lie ``sqrt(2 * (1 - c))`` of that length apart.

    Args:
        logits: PyTorch's, of one row.
        tolerance: The smallest cosine that the logits may have to PyTorch's.
        rms: Of a single logit the root mean square over all rows; see `cosine_of_numbers`.
    """
    import numpy as np

    values = np.asarray(logits, dtype=np.float64).ravel()
    own = root_mean_square(values)
    return allowed_error_of(max(own, rms) if values.size == 1 else own, values.size, tolerance)


def allowed_error_of(rms: float, count: int, tolerance: float) -> float:
    """Return how far any one of `count` logits of this root mean square may lie from PyTorch's."""
    return math.sqrt(2 * (1 - tolerance)) * rms * min(math.sqrt(count), NOISE_PEAK)


def chooses_labels(task: Task, labels: Sequence[str], activation: str) -> bool:
    """Whether an answer is a choice of labels: not a number, and not several labels beside each other."""
    return TASKS[task].has_labels and len(labels) > 1 and activation == "softmax"


def count_label_changes(expected: "Array", actual: "Array") -> tuple[int, int]:
    """Count where two answers choose different labels although PyTorch's choice is clear.

    Args:
        expected: PyTorch's logits of one row, [labels] or [tokens, labels].
        actual: The others, same shape.

    Returns:
        How many clear choices are others, and how many choices are clear.
    """
    import numpy as np

    before, after = (np.asarray(array, np.float64).reshape(-1, array.shape[-1]) for array in (expected, actual))
    best = before.argmax(axis=-1)
    second, first = np.sort(before, axis=-1)[:, -2:].T
    clear = first - second > 2 * allowed_error(before, CLEAR_COSINE)
    return int((clear & (after.argmax(axis=-1) != best)).sum()), int(clear.sum())
