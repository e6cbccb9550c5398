"""How far a graph's answers lie from another's: the cosine of each row.

A row is what its user reads: the mean over its tokens where the task is feature-extraction (a sentence's embedding),
else every value of its unpadded outputs (logits).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from prep_triton.artifact import FidelityRecord, OnnxModel
from prep_triton.errors import PrecisionError
from prep_triton.precision.measure.runner import run_batches
from prep_triton.precision.measure.scoring import TokenRow
from prep_triton.tasks import TASKS, Task

Vector = NDArray[np.float32]

_TINY = float(np.finfo(np.float64).tiny)


def answer_rows(
    session: Any, model: OnnxModel, rows: Sequence[TokenRow], *, more: Mapping[str, NDArray[Any]] | None = None
) -> Iterator[Vector]:
    """Yield the answer to each row as one vector, in an order that depends on the rows alone.

    Args:
        session: What `prep_triton.precision.measure.runner.open_session` gave.
        model: The record that describes the outputs.
        rows: Token ids without padding.
        more: Inputs that are the same for every batch.
    """
    outputs = model.model_outputs
    width = sum(int(spec.shape[-1]) for spec in outputs if isinstance(spec.shape[-1], int)) or 1
    for batch, answers in run_batches(session, rows, [spec.name for spec in outputs], width=width, more=more):
        for place, index in enumerate(batch):
            length = len(rows[index].ids)
            own = [
                answer[place, :length] if "sequence" in spec.shape else answer[place]
                for spec, answer in zip(outputs, answers, strict=True)
            ]
            yield vector_from_outputs(own, model.task)


def vector_from_outputs(outputs: Sequence[NDArray[Any]], task: Task) -> Vector:
    """Make one vector of a row's unpadded outputs: what its user reads."""
    if TASKS[task].answers_embedding:
        outputs = [output.reshape(-1, output.shape[-1]).mean(axis=0) for output in outputs]
    return np.concatenate([np.ravel(output) for output in outputs])


def compare_rows(reference: Any, candidate: Any, model: OnnxModel, rows: Sequence[TokenRow]) -> NDArray[np.float64]:
    """Return the cosine of each row's answers in two sessions, batch by batch so that none is kept."""
    pairs = zip(answer_rows(reference, model, rows), answer_rows(candidate, model, rows), strict=True)
    return np.array([cosine(left, right) for left, right in pairs])


def cosine(left: Vector, right: Vector) -> float:
    """Return the cosine of two vectors.

    Raises:
        PrecisionError: It is not a number.
    """
    a, b = left.astype(np.float64), right.astype(np.float64)
    found = float(a @ b) / max(float(np.linalg.norm(a) * np.linalg.norm(b)), _TINY)
    if not np.isfinite(found):
        raise PrecisionError(
            "a graph answers NaN or infinity to a row of text",
            hint="the checkpoint is damaged, or a layer overflows: export the model again, or use another precision",
        )
    return found


def record_fidelity(cosines: NDArray[np.float64], *, judged_on: str) -> FidelityRecord:
    """Describe what `compare_rows` found.

    Args:
        cosines: One for each row.
        judged_on: Which graph and rows, for a reader of the record.
    """
    return FidelityRecord(
        rows=len(cosines),
        mean_cosine=float(cosines.mean()),
        min_cosine=float(cosines.min()),
        runtime=f"onnxruntime {onnxruntime.__version__}, {judged_on}",
    )
