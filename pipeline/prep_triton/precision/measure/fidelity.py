"""How far a graph's answers lie from another's, or from PyTorch's: the cosine of each row.

A row is what its user reads: the mean over its tokens where the task is feature-extraction (a sentence's embedding),
else every value of its unpadded outputs (logits).
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from prep_triton.artifact import FidelityRecord, OnnxModel
from prep_triton.errors import PrecisionError
from prep_triton.precision.measure.runner import GraphRunner
from prep_triton.precision.measure.token_rows import TokenRow
from prep_triton.reference import Reference, load_reference
from prep_triton.tasks import TASKS

Vector = NDArray[np.float32]

_TINY = float(np.finfo(np.float64).tiny)


def measure_fidelity(graph_path: Path, reference_path: Path, model: OnnxModel) -> FidelityRecord:
    """Compare a graph's answers with PyTorch's, on an artifact's own reference rows.

    Rows are answered one at a time and without padding, as the reference was: a scale that is found as the
    activations come depends on what else is in the batch.

    Args:
        graph_path: The converted graph.
        reference_path: See `OnnxModel`.
        model: Names the graph's inputs and outputs.

    Raises:
        PrecisionError: The reference is damaged or of another model, or the graph does not run or answers NaN.
    """
    cosines = compare_with_reference(GraphRunner(graph_path), reference_path, model)
    return record_fidelity(cosines, measured_on="against PyTorch's answers to the reference rows")


def compare_with_reference(runner: GraphRunner, reference_path: Path, model: OnnxModel) -> NDArray[np.float64]:
    """Return the cosine of each reference row's answer to PyTorch's; see `measure_fidelity`."""
    names = [spec.name for spec in model.model_outputs]
    reference = load_reference(reference_path, ["input_ids"], names, error=PrecisionError)
    cosines = []
    for index, row in enumerate(rows_from_reference(reference)):
        expected = {
            spec.name: reference.outputs[spec.name][index, : len(row.ids) if "sequence" in spec.shape else None]
            for spec in model.model_outputs
        }
        (answer,) = answer_rows(runner, model, [row])
        cosines.append(cosine(vector_from_outputs(expected, model), answer))
    return np.array(cosines)


def rows_from_reference(reference: Reference) -> list[TokenRow]:
    """Return the token rows of a reference, without padding."""
    all_ids = reference.inputs["input_ids"]
    all_types = reference.inputs.get("token_type_ids", np.zeros_like(all_ids))
    return [
        TokenRow(tuple(all_ids[index, :length].tolist()), tuple(all_types[index, :length].tolist()))
        for index, length in enumerate(reference.lengths)
    ]


def compare_graphs(
    reference: GraphRunner, candidate: GraphRunner, model: OnnxModel, rows: Sequence[TokenRow]
) -> NDArray[np.float64]:
    """Return the cosine of each row's answers by two graphs, batch by batch so that none is kept."""
    pairs = zip(answer_rows(reference, model, rows), answer_rows(candidate, model, rows), strict=True)
    return np.array([cosine(left, right) for left, right in pairs])


def answer_rows(
    runner: GraphRunner,
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
    for batch in runner.answer_batches(model, rows, extra_inputs=extra_inputs):
        for _, answers in batch:
            yield vector_from_outputs(answers, model)


def vector_from_outputs(outputs: Mapping[str, NDArray[Any]], model: OnnxModel) -> Vector:
    """Make one vector of a row's unpadded outputs: what its user reads."""
    arrays = [outputs[spec.name] for spec in model.model_outputs]
    if TASKS[model.task].answers_embedding:
        arrays = [array.reshape(-1, array.shape[-1]).mean(axis=0) for array in arrays]
    return np.concatenate([np.ravel(array) for array in arrays])


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


def record_fidelity(cosines: NDArray[np.float64], *, measured_on: str) -> FidelityRecord:
    """Describe what was measured.

    Args:
        cosines: One for each row.
        measured_on: Which graph and rows, for a reader of the record.
    """
    return FidelityRecord(
        rows=len(cosines),
        mean_cosine=float(cosines.mean()),
        min_cosine=float(cosines.min()),
        runtime=f"onnxruntime {onnxruntime.__version__}, {measured_on}",
    )
