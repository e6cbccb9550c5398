"""How far a converted graph's answers lie from PyTorch's FP32 ones, on an artifact's own reference rows."""

from pathlib import Path

import numpy as np

from prep_triton.artifact import FidelityRecord, OnnxModel
from prep_triton.errors import PrecisionError
from prep_triton.precision.measure.fidelity import cosine, record_fidelity, vector_from_outputs
from prep_triton.precision.measure.runner import open_session, run_batches
from prep_triton.precision.measure.scoring import TokenRow
from prep_triton.reference import load_reference


def measure_fidelity(graph_path: Path, reference_path: Path, model: OnnxModel) -> FidelityRecord:
    """Compare a graph's answers with the reference, row by row.

    Rows are answered one at a time and without padding, as the reference was: a scale that is found as the
    activations come depends on what else is in the batch.

    Args:
        graph_path: The converted graph.
        reference_path: See `OnnxModel`.
        model: Names the graph's inputs and outputs.

    Raises:
        PrecisionError: The reference is damaged or of another model, or the graph does not run or answers NaN.
    """
    names = [spec.name for spec in model.model_outputs]
    reference = load_reference(reference_path, ["input_ids"], names, error=PrecisionError)
    all_ids = reference.inputs["input_ids"]
    all_types = reference.inputs.get("token_type_ids", np.zeros_like(all_ids))
    session = open_session(graph_path)
    cosines = []
    for row, length in enumerate(reference.lengths):
        ids, types = all_ids[row, :length], all_types[row, :length]
        tokens = TokenRow(tuple(ids.tolist()), tuple(types.tolist()))
        ((_, answers),) = run_batches(session, [tokens], names)
        expected = [
            reference.outputs[spec.name][row, : length if "sequence" in spec.shape else None]
            for spec in model.model_outputs
        ]
        found = [answer[0] for answer in answers]
        cosines.append(cosine(vector_from_outputs(expected, model.task), vector_from_outputs(found, model.task)))
    return record_fidelity(np.array(cosines), judged_on="against PyTorch's answers to the reference rows")
