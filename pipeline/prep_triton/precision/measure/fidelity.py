"""How far a graph's answers lie from another's, or from PyTorch's: the cosine of each row.

A row is what its user reads: the mean over its tokens where the task is feature-extraction (a sentence's embedding),
else every value of its unpadded outputs (logits).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prep_triton.agreement import (
    answer_vector,
    chooses_labels,
    cosine_of_numbers,
    count_label_changes,
    root_mean_square,
)
from prep_triton.artifact import FidelityRecord, OnnxModel
from prep_triton.errors import PrecisionError
from prep_triton.precision.measure.runner import RowRunner
from prep_triton.precision.measure.token_rows import TokenRow
from prep_triton.reference import Reference, load_reference
from prep_triton.spec import GateSpec

Vector = NDArray[np.float32]

_TINY = float(np.finfo(np.float64).tiny)


def measure_fidelity(
    runner: RowRunner, reference_path: Path, model: OnnxModel, *, arithmetic: str = ""
) -> FidelityRecord:
    """Compare a graph's answers with PyTorch's, on an artifact's own reference rows.

    Rows are answered one at a time and without padding, as the reference was: a scale that is found as the
    activations come depends on what else is in the batch.

    Args:
        runner: The converted graph.
        reference_path: See `OnnxModel`.
        model: Names the graph's inputs and outputs.
        arithmetic: Which one the graph runs in, for a reader of the record.

    Raises:
        PrecisionError: The reference is damaged or of another model, or the graph does not run or answers NaN.
    """
    measured = compare_with_reference(runner, reference_path, model)
    on = ", ".join(filter(None, ("against PyTorch's answers to the reference rows", arithmetic)))
    return record_fidelity(
        measured.cosines, runtime=runner.runtime, measured_on=on, changed_labels=measured.changed_labels
    )


@dataclass(frozen=True)
class ReferenceComparison:
    """How a graph's answers compare with PyTorch's: the cosine of each row, and see `FidelityRecord`."""

    cosines: NDArray[np.float64]
    changed_labels: int | None


def compare_with_reference(runner: RowRunner, reference_path: Path, model: OnnxModel) -> ReferenceComparison:
    """Compare the answer to each reference row with PyTorch's; see `measure_fidelity`.

    All answers are kept at once, as the reference keeps its own: they are few.
    """
    names = [spec.name for spec in model.model_outputs]
    reference = load_reference(reference_path, ["input_ids"], names, error=PrecisionError)
    vectors: list[tuple[Vector, Vector]] = []
    changed = 0
    has_choice = chooses_labels(model.task, model.labels, model.activation)
    for index, row in enumerate(rows_from_reference(reference)):
        expected = {
            spec.name: reference.outputs[spec.name][index, : len(row.ids) if "sequence" in spec.shape else None]
            for spec in model.model_outputs
        }
        (answers,) = (answers for batch in runner.answer_batches(model, [row]) for _, answers in batch)
        vectors.append((answer_vector(expected, names, model.task), answer_vector(answers, names, model.task)))
        if has_choice:
            changed += count_label_changes(expected[names[0]], answers[names[0]])[0]
    return ReferenceComparison(measure_cosines(vectors), changed if has_choice else None)


def rows_from_reference(reference: Reference) -> list[TokenRow]:
    """Return the token rows of a reference, without padding."""
    all_ids = reference.inputs["input_ids"]
    all_types = reference.inputs.get("token_type_ids", np.zeros_like(all_ids))
    return [
        TokenRow(tuple(all_ids[index, :length].tolist()), tuple(all_types[index, :length].tolist()))
        for index, length in enumerate(reference.lengths)
    ]


def compare_graphs(
    reference: RowRunner, candidate: RowRunner, model: OnnxModel, rows: Sequence[TokenRow]
) -> NDArray[np.float64]:
    """Return the cosine of each row's answers by two graphs, batch by batch so that none is kept."""
    pairs = zip(answer_rows(reference, model, rows), answer_rows(candidate, model, rows), strict=True)
    return measure_cosines(pairs)


def answer_rows(
    runner: RowRunner,
    model: OnnxModel,
    rows: Sequence[TokenRow],
    *,
    extra_inputs: Mapping[str, NDArray[Any]] | None = None,
) -> Iterator[Vector]:
    """Yield the answer to each row as one vector, in an order that depends on the rows alone.

    Args:
        runner: The graph.
        model: The record that describes the outputs.
        rows: Token ids without padding.
        extra_inputs: Inputs that are the same for every batch.
    """
    names = [spec.name for spec in model.model_outputs]
    for batch in runner.answer_batches(model, rows, extra_inputs=extra_inputs):
        for _, answers in batch:
            yield answer_vector(answers, names, model.task)


def measure_cosines(pairs: Iterable[tuple[Vector, Vector]]) -> NDArray[np.float64]:
    """Return the cosine of each expected and actual answer; of numbers alone what stands for it.

    Raises:
        PrecisionError: An answer is not a number.
    """
    cosines, numbers = [], []
    for left, right in pairs:
        cosines.append(cosine(left, right))
        if left.size == 1:
            numbers.append((float(left[0]), float(right[0])))
    if len(numbers) < len(cosines) or not numbers:
        return np.array(cosines)
    rms = root_mean_square(np.array([expected for expected, _ in numbers]))
    return np.array([cosine_of_numbers(expected, actual, rms) for expected, actual in numbers])


def cosine(left: Vector, right: Vector) -> float:
    """Return the cosine of two vectors.

    Raises:
        PrecisionError: It is not a number.
    """
    a, b = left.astype(np.float64), right.astype(np.float64)
    value = float(a @ b) / max(float(np.linalg.norm(a) * np.linalg.norm(b)), _TINY)
    if not np.isfinite(value):
        raise PrecisionError(
            "a graph answers NaN or infinity to a row of text",
            hint="the checkpoint is damaged, or a layer overflows: export the model again, or use another precision",
        )
    return value


def check_fidelity(fidelity: FidelityRecord, gate: GateSpec) -> str:
    """Say how a graph misses its gate; empty where it does not, or the gate asks for no cosine."""
    if gate.min_cosine is not None and fidelity.mean_cosine < gate.min_cosine:
        return (
            f"a mean cosine of {fidelity.mean_cosine:.5f} to fp32 over {fidelity.rows} rows, expected "
            f"{gate.min_cosine:g} or more (min_cosine): it misses by {gate.min_cosine - fidelity.mean_cosine:.2g}"
        )
    if fidelity.changed_labels:
        return f"{fidelity.changed_labels} labels of the reference rows that are others than PyTorch's"
    if fidelity.changed_labels is None and gate.min_row_cosine and fidelity.min_cosine < gate.min_row_cosine:
        return (
            f"a cosine of {fidelity.min_cosine:.5f} to fp32 in the worst of {fidelity.rows} rows, expected "
            f"{gate.min_row_cosine:g} or more (min_row_cosine)"
        )
    return ""


def record_fidelity(
    cosines: NDArray[np.float64], *, runtime: str, measured_on: str, changed_labels: int | None = None
) -> FidelityRecord:
    """Describe what was measured.

    Args:
        cosines: One for each row.
        runtime: What ran the graph, `RowRunner.runtime`.
        measured_on: Which graph and rows, for a reader of the record.
        changed_labels: See `FidelityRecord`.
    """
    return FidelityRecord(
        rows=len(cosines),
        mean_cosine=float(cosines.mean()),
        min_cosine=float(cosines.min()),
        changed_labels=changed_labels,
        runtime=f"{runtime}, {measured_on}",
    )
