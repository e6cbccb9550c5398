"""In which numbers a graph computes, and how good it must be."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from prep_triton.spec.base import Spec

Precision = Literal["fp32", "fp16", "int8"]
Runtime = Literal["tensorrt", "onnxruntime"]
CalibrationMethod = Literal["max", "percentile", "entropy", "mse"]

PRECISIONS: tuple[str, ...] = get_args(Precision)


class CalibrationSpec(Spec):
    """The text that INT8 activation ranges are measured on. There is no default: random ids tell nothing.

    `path` is a .txt (one text a line), .jsonl (`field` holds the text) or .npz (arrays named as the
    graph's inputs, ids within the vocabulary). `percentile` is used by method percentile alone.
    """

    path: str = Field(min_length=1)
    field: str = "text"
    samples: int = Field(default=128, ge=1)
    seed: int = Field(default=0, ge=0)
    method: CalibrationMethod = "max"
    percentile: float = Field(default=99.999, gt=50.0, le=100.0)


class GateSpec(Spec):
    """What a variant must reach to be written at all.

    `min_cosine` is the smallest mean cosine to FP32. `eval_data` is a .jsonl with labels;
    `max_accuracy_drop` is in points (0.5: from 90.0 to no less than 89.5).
    """

    min_cosine: Annotated[float, Field(ge=0.0, le=1.0)] | None = None
    eval_data: str | None = None
    max_accuracy_drop: Annotated[float, Field(ge=0.0, le=100.0)] | None = None

    @model_validator(mode="after")
    def check_eval_data(self) -> Self:
        """A drop needs labels, and labels need a budget."""
        if (self.eval_data is None) != (self.max_accuracy_drop is None):
            raise ValueError("eval_data and max_accuracy_drop belong together")
        return self


class QuantizationSpec(Spec):
    """Static symmetric INT8 for TensorRT: explicit Q/DQ, weights per channel, activations per tensor.

    `smoothing_alpha` moves the scale of activations into weights (SmoothQuant, arXiv:2211.10438); None
    turns it off. `keep_out` names layers that stay FP16 whatever is measured; `search` lets the
    sensitivity search keep out more until the variant's gate is met.
    """

    calibration: CalibrationSpec
    smoothing_alpha: Annotated[float, Field(ge=0.0, le=1.0)] | None = 0.8
    keep_out: tuple[str, ...] = ()
    search: bool = True

    @model_validator(mode="before")
    @classmethod
    def refuse_gate(cls, values: Any) -> Any:
        """A gate is the variant's, for every precision: say where it moved, as older files have it here."""
        if isinstance(values, Mapping) and "gate" in values:
            hint = "write gate beside quantization, as a key of the variant"
            raise PydanticCustomError("unknown_key", "unknown key '{key}'", {"key": "gate", "hint": hint})
        return values


# What a converted graph must reach where the request does not say. FP16 rounds to 11 bits: on a BERT that costs less
# than 1e-5, and anything near this is a graph gone wrong.
_DEFAULT_GATES: Mapping[tuple[Runtime, Precision], GateSpec] = {
    ("tensorrt", "fp16"): GateSpec(min_cosine=0.999),
    ("onnxruntime", "fp16"): GateSpec(min_cosine=0.999),
    ("tensorrt", "int8"): GateSpec(min_cosine=0.99),
    ("onnxruntime", "int8"): GateSpec(min_cosine=0.99),
}


class ConversionSpec(Spec):
    """Which graph to make of an exported one: for which runtime, in which precision, how good.

    `quantization` belongs to INT8 for TensorRT alone: ONNX Runtime's INT8 needs no calibration.
    `gate` is what the converted graph must reach; None takes the precision's own (`required_gate`).
    """

    runtime: Runtime
    precision: Precision = "fp32"
    quantization: QuantizationSpec | None = None
    gate: GateSpec | None = None

    @model_validator(mode="after")
    def check_quantization(self) -> Self:
        """Refuse calibration where nothing is calibrated, and gates on what is not converted."""
        is_calibrated = self.precision == "int8" and self.runtime == "tensorrt"
        if self.quantization is not None and not is_calibrated:
            raise ValueError(
                f"quantization means nothing for {self.runtime} {self.precision}: only tensorrt int8 has it"
            )
        if self.gate is not None and self.precision == "fp32":
            raise ValueError("a gate means nothing for fp32, which is what the others are compared with")
        return self

    def required_gate(self) -> GateSpec | None:
        """Return what the converted graph must reach; None where nothing was asked and the precision has no default."""
        return self.gate or _DEFAULT_GATES.get((self.runtime, self.precision))
