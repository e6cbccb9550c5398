"""Which linear layers INT8 hurts, and the fewest to keep out of it.

Every answer comes from one graph, in which each quantised layer has a switch
(`prep_triton.precision.int8.qdq.insert_switches`): a layer's damage is what switching it alone costs.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import numpy as np

from prep_triton.artifact import OnnxModel
from prep_triton.precision.int8.qdq import SWITCHES, Linear
from prep_triton.precision.measure.fidelity import Vector, answer_rows, measure_cosines
from prep_triton.precision.measure.runner import GraphRunner
from prep_triton.precision.measure.token_rows import TokenRow
from prep_triton.progress import Progress

# One run for each layer: few rows rank the layers, and the gate is checked on all of them afterwards.
_MOST_ROWS, _MOST_TOKENS = 8, 128


class SwitchedGraph:
    """A quantised graph with switches, and the FP32 answers it is compared with.

    Args:
        switched: The graph with switches.
        reference: The FP32 graph.
        model: The record that describes both.
        linears: In the order of the switches.
        rows: Some are taken: see `_MOST_ROWS`.
    """

    def __init__(
        self,
        switched: GraphRunner,
        reference: GraphRunner,
        model: OnnxModel,
        linears: Sequence[Linear],
        rows: Sequence[TokenRow],
    ) -> None:
        self.switched = switched
        self.model = model
        self.linears = linears
        self.rows = take_rows(rows)
        self.expected: list[Vector] = list(answer_rows(reference, model, self.rows))

    def mean_cosine(self, names: Collection[str]) -> float:
        """Return the mean cosine to FP32 with these layers alone in INT8."""
        return float(measure_cosines(self._pair_answers(names)).mean())

    def mean_error(self, names: Collection[str]) -> float:
        """Return the mean of ``|y - y'|^2 / 2 |y|^2`` with these layers alone in INT8.

        It is the cosine distance of answers y and y' of one length, and also sees two logits that only grow or shrink.
        """
        errors = []
        for own, answer in self._pair_answers(names):
            length = max(float((own**2).sum()), float(np.finfo(np.float32).tiny))
            errors.append(float(((own - answer) ** 2).sum()) / (2 * length))
        return float(np.mean(errors))

    def _pair_answers(self, names: Collection[str]) -> Iterator[tuple[Vector, Vector]]:
        switches = np.array([linear.name in names for linear in self.linears])
        answers = answer_rows(self.switched, self.model, self.rows, extra_inputs={SWITCHES: switches})
        yield from zip(self.expected, answers, strict=True)

    def measure_damage(self, *, progress: Progress) -> dict[str, float]:
        """Return the relative error (see `mean_error`) that each layer alone in INT8 costs, the largest first."""
        damage = {}
        for number, linear in enumerate(self.linears):
            progress("measuring each layer's damage", number / len(self.linears))
            damage[linear.name] = self.mean_error((linear.name,))
        return dict(sorted(damage.items(), key=lambda item: -item[1]))


def take_rows(rows: Sequence[TokenRow]) -> list[TokenRow]:
    """Return the first rows, within the limits of a sensitivity run."""
    taken: list[TokenRow] = []
    tokens = 0
    for row in rows[:_MOST_ROWS]:
        tokens += len(row.ids)
        if taken and tokens > _MOST_TOKENS:
            break
        taken.append(row)
    return taken


def count_kept_out(order: Sequence[str], reaches: Callable[[Collection[str]], bool]) -> int:
    """Return how many of the most damaging layers must go, by bisection.

    Args:
        order: Layers, the most damaging first.
        reaches: Whether a set of quantised layers meets the budget.
    """
    low, high = 0, len(order)
    while low < high:
        middle = (low + high) // 2
        if reaches(frozenset(order[middle:])):
            high = middle
        else:
            low = middle + 1
    return low


def describe_worst(damage: Mapping[str, float], count: int = 3) -> str:
    """Name the most damaging layers for a person."""
    return ", ".join(f"{name} ({cost:.2g})" for name, cost in list(damage.items())[:count])
