"""Does the ONNX graph answer as PyTorch does? First names, then shapes, then values.

The reference is the transformers model itself, called with its ordinary two-dimensional mask; the candidate is ONNX
Runtime on the CPU. Only positions that are not padding are compared: what lies under the padding is nobody's answer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from prep_triton.artifact import ParityRecord, TensorSpec
from prep_triton.errors import ExportError, ParityError
from prep_triton.extras import hint_to_compare_versions

# FP32 sums in another order: over the 24 layers of BERT-large that moves an answer by some 1e-5 of the largest one,
# while a wrong mask, a lost bias or an approximated GELU move it by 1e-2 and more. The limits lie between.
MAX_RELATIVE_ERROR = 1e-3
MIN_COSINE = 0.99999
# Answers of a freshly drawn head lie near 0, where an error relative to them says nothing.
SMALLEST_SCALE = 0.1
# A vector of two logits has no direction to speak of: below this width an output is compared as one vector.
_SMALLEST_VECTOR = 8

_RUNTIME_TYPES = {"FP32": "tensor(float)", "INT64": "tensor(int64)"}
_HINT = hint_to_compare_versions("export")


@dataclass(frozen=True)
class Case:
    """One batch and PyTorch's answers to it.

    Args:
        inputs: INT64 arrays [batch, sequence], by name; ``attention_mask`` is among them.
        answers: FP32 arrays, by output name.
    """

    inputs: Mapping[str, npt.NDArray[np.int64]]
    answers: Mapping[str, npt.NDArray[np.float32]]

    @property
    def shape(self) -> tuple[int, int]:
        """Return (batch, sequence)."""
        batch, sequence = self.inputs["attention_mask"].shape
        return batch, sequence

    def thinned(self, step: int) -> "Case":
        """Return every `step`-th row."""
        return Case(
            {name: array[::step] for name, array in self.inputs.items()},
            {name: array[::step] for name, array in self.answers.items()},
        )


def check_parity(
    path: Path,
    cases: Sequence[Case],
    model_inputs: Sequence[TensorSpec],
    model_outputs: Sequence[TensorSpec],
    *,
    reference: str = "PyTorch",
) -> ParityRecord:
    """Compare an ONNX file with PyTorch's answers, or another reference's.

    Args:
        path: The ONNX file.
        cases: Batches with the reference's answers.
        model_inputs: The inputs it must have.
        model_outputs: The outputs it must have.
        reference: Whose answers they are, for the message.

    Raises:
        ParityError: A name, a type, a shape or a value differs, or an answer is not finite.
        ExportError: ONNX Runtime refuses the file.
    """
    session = open_session(path)
    _check_interface("inputs", session.get_inputs(), model_inputs)
    _check_interface("outputs", session.get_outputs(), model_outputs)
    names = [spec.name for spec in model_outputs]
    errors: list[float] = []
    cosines: list[float] = []
    for case in cases:
        answers = dict(zip(names, session.run(names, dict(case.inputs)), strict=True))
        for spec in model_outputs:
            error, cosine = compare_answers(spec, case, answers[spec.name], reference=reference)
            errors.append(error)
            cosines.append(cosine)
    return ParityRecord(
        shapes=tuple(case.shape for case in cases), max_abs_error=max(errors), mean_cosine=float(np.mean(cosines))
    )


def compare_answers(
    spec: TensorSpec, case: Case, answered: npt.NDArray[np.float32], *, reference: str = "PyTorch"
) -> tuple[float, float]:
    """Compare one output of one batch.

    Returns:
        The largest absolute error and the mean cosine.

    Raises:
        ParityError: The shape or a value differs, or an answer is not finite.
    """
    where = f"output '{spec.name}' at shape {'x'.join(map(str, case.shape))}"
    expected = case.answers[spec.name]
    if answered.shape != expected.shape:
        raise ParityError(
            f"{where}: ONNX answers with shape {answered.shape}, {reference} with {expected.shape}", hint=_HINT
        )
    if "sequence" in spec.shape:
        is_token = case.inputs["attention_mask"].astype(bool)
        expected, answered = expected[is_token], answered[is_token]
    for who, values in ((reference, expected), ("ONNX", answered)):
        if not np.isfinite(values).all():
            count = int((~np.isfinite(values)).sum())
            raise ParityError(
                f"{where}: {who} answers NaN or infinity in {count} of {values.size} values",
                hint="check the weights: values that overflow FP32 do this",
            )
    error = float(np.abs(expected - answered).max())
    scale = max(float(np.abs(expected).max()), SMALLEST_SCALE)
    cosine = mean_cosine(expected, answered)
    if error > MAX_RELATIVE_ERROR * scale or cosine < MIN_COSINE:
        raise ParityError(
            f"{where}: ONNX lies {error:.2e} from {reference} (allowed {MAX_RELATIVE_ERROR * scale:.2e}), "
            f"mean cosine {cosine:.6f} (at least {MIN_COSINE})",
            hint=_HINT,
        )
    return error, cosine


def mean_cosine(expected: npt.NDArray[np.float32], answered: npt.NDArray[np.float32]) -> float:
    """Return the mean cosine of the vectors along the last axis; two zero vectors agree."""
    width = expected.shape[-1] if expected.ndim > 1 and expected.shape[-1] >= _SMALLEST_VECTOR else expected.size
    left, right = (values.reshape(-1, width).astype(np.float64) for values in (expected, answered))
    norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    products = (left * right).sum(axis=1)
    agree = np.where(norms > 0, products / np.where(norms > 0, norms, 1), np.all(left == right, axis=1))
    return float(agree.mean())


def open_session(path: Path) -> Any:
    """Open a graph in ONNX Runtime on the CPU.

    Raises:
        ExportError: ONNX Runtime refuses the file.
    """
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # A few short batches: an arena would only add to the peak of memory, and spinning threads to the load.
    options.enable_cpu_mem_arena = False
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as err:  # its exceptions share no base class but Exception
        raise ExportError(
            f"onnxruntime {onnxruntime.__version__} refuses the exported graph: {err}", hint=_HINT
        ) from err


def _check_interface(kind: str, actual: Sequence[Any], expected: Sequence[TensorSpec]) -> None:
    actual_names, expected_names = [entry.name for entry in actual], [spec.name for spec in expected]
    if actual_names != expected_names:
        raise ParityError(f"the graph's {kind} are {actual_names}, expected {expected_names}", hint=_HINT)
    for entry, spec in zip(actual, expected, strict=True):
        if entry.type != _RUNTIME_TYPES[spec.dtype] or tuple(entry.shape) != spec.shape:
            raise ParityError(
                f"'{spec.name}' of the graph is {entry.type} {list(entry.shape)}, "
                f"expected {_RUNTIME_TYPES[spec.dtype]} {list(spec.shape)}",
                hint=_HINT,
            )
