"""How far a converted graph's answers lie from PyTorch's FP32 ones, on an artifact's own reference rows."""

import zlib
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from prep_triton.artifact import FidelityRecord, OnnxModel
from prep_triton.errors import PrecisionError
from prep_triton.precision.measure.fidelity import cosine, record_fidelity, vector_from_outputs
from prep_triton.precision.measure.runner import open_session, run_batches
from prep_triton.precision.measure.scoring import TokenRow

_EXPORT_AGAIN = "export the model again: prep export"


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
    arrays = _load_reference(reference_path, model)
    session = open_session(graph_path)
    names = [spec.name for spec in model.model_outputs]
    cosines = []
    for row, length in enumerate((arrays["input/attention_mask"] != 0).sum(axis=1)):
        ids = arrays["input/input_ids"][row, :length]
        types = arrays.get("input/token_type_ids", np.zeros_like(arrays["input/input_ids"]))[row, :length]
        tokens = TokenRow(tuple(ids.tolist()), tuple(types.tolist()))
        ((_, answers),) = run_batches(session, [tokens], names)
        expected = [
            arrays[f"output/{spec.name}"][row, : length if "sequence" in spec.shape else None]
            for spec in model.model_outputs
        ]
        found = [answer[0] for answer in answers]
        cosines.append(cosine(vector_from_outputs(expected, model.task), vector_from_outputs(found, model.task)))
    return record_fidelity(np.array(cosines), judged_on="against PyTorch's answers to the reference rows")


def _load_reference(path: Path, model: OnnxModel) -> dict[str, NDArray[Any]]:
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as found:
            arrays = {key: found[key] for key in found.files if key != "text"}
    except (OSError, ValueError, EOFError, BadZipFile, zlib.error) as err:
        raise PrecisionError(f"{path} is not a reference file: {err}", hint=_EXPORT_AGAIN) from err
    wanted = ["input/input_ids", "input/attention_mask", *(f"output/{spec.name}" for spec in model.model_outputs)]
    missing = [key for key in wanted if key not in arrays]
    if missing or not len(arrays["input/attention_mask"]):
        raise PrecisionError(f"{path} has no {', '.join(missing) or 'rows'}", hint=_EXPORT_AGAIN)
    return arrays
