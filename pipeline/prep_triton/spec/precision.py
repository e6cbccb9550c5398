"""In which numbers a graph computes, and how good it must be."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal, Self, get_args

from pydantic import Field, model_validator
from pydantic_core import InitErrorDetails

from prep_triton.spec.base import Spec, describe_rule, refuse_all

Precision = Literal["fp32", "fp16", "bf16", "int8"]
Runtime = Literal["tensorrt", "onnxruntime", "openvino"]
CalibrationMethod = Literal["max", "percentile", "entropy", "mse"]

PRECISIONS: tuple[str, ...] = get_args(Precision)
RUNTIMES: tuple[str, ...] = get_args(Runtime)


class CalibrationSpec(Spec):
    """The text that INT8 activation ranges are measured on. There is no default: random ids tell nothing."""

    path: str = Field(
        min_length=1,
        description="A .txt (one text a line), .jsonl (`field` holds the text, `text_pair` the second one of a task "
        "that takes two) or .npz (arrays named as the graph's inputs, ids within the vocabulary).",
    )
    field: str = Field(default="text", description="Field of a .jsonl that holds the text, or the first of two.")
    samples: int = Field(default=128, ge=1, description="Texts to calibrate on.")
    seed: int = Field(default=0, ge=0, description="Seed that draws the texts.")
    method: CalibrationMethod = Field(default="max", description="How a range is taken from what was seen.")
    percentile: float = Field(
        default=99.999,
        gt=50.0,
        le=100.0,
        description="Share of the values within the range; of method percentile alone.",
    )

    @model_validator(mode="after")
    def check_method(self) -> Self:
        """Refuse choices that the method, or the kind of file, does not read."""
        refuse_all(self._list_contradictions())
        return self

    def _list_contradictions(self) -> Iterator[InitErrorDetails]:
        if self.percentile != type(self).model_fields["percentile"].default and self.method != "percentile":
            hint = "add method: percentile, or remove percentile"
            yield describe_rule(f"percentile belongs to method percentile, not {self.method}", hint)
        if self.field != type(self).model_fields["field"].default and self.path.endswith((".txt", ".npz")):
            yield describe_rule(f"field belongs to a .jsonl, and {self.path} is not one", "remove field")


# The worst of a few rows lies two to three times as far from FP32 as their mean (MiniLM in INT8: 0.0072 and 0.0026).
ROW_SPREAD = 3


class GateSpec(Spec):
    """What a variant must reach: to be written at all, and to pass `prep verify` on a server."""

    min_cosine: Annotated[float | None, Field(ge=0.0, le=1.0, description="Smallest mean cosine to FP32.")] = None
    min_row_cosine: Annotated[
        float | None,
        Field(
            ge=0.0,
            le=1.0,
            description="Smallest cosine to FP32 of any one row. A classifier of texts or tokens has to choose the "
            "labels of FP32 instead, where these are clear.",
        ),
    ] = None
    eval_data: str | None = Field(
        default=None, description="A .jsonl of labelled rows, to measure the accuracy or the ranking on."
    )
    max_accuracy_drop: Annotated[
        float | None,
        Field(ge=0.0, le=100.0, description="Largest drop in points (0.5: from 90.0 to no less than 89.5)."),
    ] = None

    @model_validator(mode="after")
    def check_eval_data(self) -> Self:
        """A drop needs labels, and labels need a budget."""
        if (self.eval_data is None) != (self.max_accuracy_drop is None):
            raise ValueError("eval_data and max_accuracy_drop belong together")
        return self

    def with_defaults(self, default: "GateSpec") -> "GateSpec":
        """Return the gate with the bound on single rows that it implies where it names none.

        A lower mean lets single rows lie further away too: up to `ROW_SPREAD` times as far as the mean may.
        """
        bound = self.min_row_cosine
        if bound is None:
            bound = default.min_row_cosine
            if bound is not None and self.min_cosine is not None:
                bound = round(max(0.0, min(bound, 1 - ROW_SPREAD * (1 - self.min_cosine))), 6)
        return self.model_copy(update={"min_row_cosine": bound})


class QuantizationSpec(Spec):
    """Static symmetric INT8 for TensorRT and OpenVINO: explicit Q/DQ, weights per channel, activations per tensor."""

    calibration: CalibrationSpec = Field(description="The text that activation ranges are measured on.")
    smoothing_alpha: Annotated[
        float | None,
        Field(
            ge=0.0,
            le=1.0,
            description="How much of activations' scale moves into weights (SmoothQuant, arXiv:2211.10438); null: 0.",
        ),
    ] = 0.8
    keep_out: tuple[str, ...] = Field(default=(), description="Layers that stay out of INT8, whatever is measured.")
    search: bool = Field(
        default=True, description="Whether the sensitivity search keeps out more layers until the gate is met."
    )


# What a converted graph must reach where the request does not say. FP16 rounds to 11 bits and BF16 to 8: on a BERT that
# costs less than 1e-5 and 1e-4, and anything near this is a graph gone wrong.
_DEFAULT_GATES: Mapping[Precision, GateSpec] = {
    "fp16": GateSpec(min_cosine=0.999, min_row_cosine=0.999),
    "bf16": GateSpec(min_cosine=0.999, min_row_cosine=0.999),
    "int8": GateSpec(min_cosine=0.99, min_row_cosine=0.97),
}


def find_precision_problem(runtime: str, precision: str) -> tuple[str, str] | None:
    """A runtime computes in the numbers that its backend and its processors have: what is wrong, and what to do."""
    use_openvino = "use runtime: openvino"
    if precision == "int8" and runtime == "onnxruntime":
        return (
            "onnxruntime serves fp32 and fp16; int8 on a CPU is openvino's",
            f"{use_openvino}; prep build-engine MODEL --runtime openvino --int8 --calibration-data texts.txt makes it, "
            "and --runtime openvino --bf16 needs no text",
        )
    if precision == "bf16" and runtime != "openvino":
        own = "fp16" if runtime == "tensorrt" else "fp32"
        return f"bf16 is for openvino, on a CPU; {runtime} has {own}", use_openvino
    if precision == "fp16" and runtime == "openvino":
        return "fp16 on a CPU is computed in fp32; openvino has bf16, which halves the numbers", "use bf16"
    return None


class ConversionSpec(Spec):
    """Which graph to make of an exported one: for which runtime, in which precision, how good."""

    runtime: Runtime = Field(
        description="What serves it: Triton's TensorRT backend on a GPU, its OpenVINO or its ONNX Runtime backend."
    )
    precision: Precision = Field(default="fp32", description="The numbers that it computes in.")
    quantization: QuantizationSpec | None = Field(
        default=None,
        description="How INT8 is made, of tensorrt and openvino: what it is calibrated on.",
    )
    gate: GateSpec | None = Field(
        default=None,
        description="What it must reach; null: a mean cosine of 0.999 for fp16 and bf16, 0.99 for int8.",
    )

    @model_validator(mode="after")
    def check_precision(self) -> Self:
        """Refuse numbers that a runtime lacks, calibration where nothing is calibrated, and gates on FP32."""
        if problem := find_precision_problem(self.runtime, self.precision):
            refuse_all([describe_rule(*problem)])
        if self.quantization is not None and self.precision != "int8":
            raise ValueError(
                f"quantization means nothing for {self.runtime} {self.precision}: int8 of tensorrt and openvino has it"
            )
        if self.gate is not None and self.precision == "fp32":
            raise ValueError("a gate means nothing for fp32, which is what the others are compared with")
        return self

    def required_gate(self) -> GateSpec | None:
        """Return what the converted graph must reach; None where nothing was asked and the precision has no default."""
        default = _DEFAULT_GATES.get(self.precision)
        return self.gate.with_defaults(default) if self.gate and default else default
