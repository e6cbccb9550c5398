"""How labelled rows are scored; built once for the FP32 graph and the converted one, so both see the same tokens."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prep_triton.precision.measure.token_rows import TokenRow

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Scoring:
    """How one file of labelled rows is scored.

    `choose(index, answers)` gets the index of a sequence and its unpadded answers by output name ([tokens, ...] or
    [labels]) and returns what `score` needs of them. `score` takes these in the order of `sequences`
    and returns points by metric, `metric` among them.
    """

    metric: str
    rows: int
    sequences: Sequence[TokenRow]
    choose: "Callable[[int, Mapping[str, Array]], Any]"
    score: Callable[[Sequence[Any]], dict[str, float]]
