"""The precision stage for INT8: a new ONNX artifact whose linear layers are INT8.

Explicit Q/DQ, symmetric, weights per output channel, activations per tensor, calibrated on the user's own text: one
quantiser for TensorRT, whose graph is FP16 around it, and for OpenVINO, whose graph is FP32. ONNX Runtime on a CPU
wants another graph.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prep_triton.architectures import ARCHITECTURES
from prep_triton.artifact import OnnxModel, QuantizationRecord
from prep_triton.errors import SpecError, suggest
from prep_triton.files import digest_file
from prep_triton.layout import GRAPH_NAME, ONE_FILE_BYTES
from prep_triton.precision.fp16.stage import REWRITE_VERSION
from prep_triton.precision.int8.calibration import load_calibration_rows
from prep_triton.precision.int8.scales import CALIBRATION_VERSION, TOOLS, Calibrator, describe_rows
from prep_triton.precision.measure.accuracy import check_eval_data
from prep_triton.precision.rewrite.source import check_is_fp32, kept_fields, link_kept_files
from prep_triton.progress import Progress, ignore_progress
from prep_triton.spec import GateSpec, QuantizationSpec, Runtime
from prep_triton.workspace import Produced, Recipe, Workspace

if TYPE_CHECKING:
    from prep_triton.precision.int8.qdq import Linear
    from prep_triton.precision.int8.quantize import Quantizer

# Part of the key: raise it when quantisation gives other bytes for the same request.
QUANTIZATION_VERSION = 3

NO_GATE = GateSpec()


@dataclass(frozen=True)
class _Target:
    """What the graph is for: which artifact it becomes, and what is part of its key."""

    runtime: Runtime
    suffix: str
    versions: tuple[int, ...]
    tools: tuple[str, ...] = TOOLS

    def open_quantizer(self) -> "type[Quantizer]":
        """Return the class that builds and judges its graphs; imports its libraries."""
        if self.runtime == "openvino":
            from prep_triton.precision.int8.openvino import OpenVinoQuantizer

            return OpenVinoQuantizer
        from prep_triton.precision.int8.quantize import Quantizer

        return Quantizer


_TENSORRT = _Target("tensorrt", "int8", (REWRITE_VERSION, CALIBRATION_VERSION, QUANTIZATION_VERSION))
_OPENVINO = _Target("openvino", "int8-openvino", (CALIBRATION_VERSION, QUANTIZATION_VERSION), (*TOOLS, "openvino"))


def quantize_to_int8(
    model: OnnxModel,
    spec: QuantizationSpec,
    workspace: Workspace,
    *,
    gate: GateSpec = NO_GATE,
    progress: Progress = ignore_progress,
    one_file_bytes: int = ONE_FILE_BYTES,
) -> Produced[OnnxModel]:
    """Quantise the encoder's linear layers to INT8, for TensorRT; everything else becomes FP16.

    Args:
        model: An FP32 artifact of the export stage.
        spec: Calibration text, smoothing, layers to keep out, and whether to search for more.
        workspace: Where the artifact is kept, as ``precision/<name>-int8``, and what was calibrated.
        gate: What the INT8 graph must reach.
        progress: Called at each step.
        one_file_bytes: The longest file that holds its weights itself.

    Raises:
        SpecError: The calibration or evaluation file cannot be used, or a layer to keep out does not exist.
        PrecisionError: The graph is not FP32 or not finite, or INT8 misses the gate; nothing is written.
    """
    return _produce(_TENSORRT, Calibrator.of(model, spec, workspace, progress), gate, one_file_bytes)


def quantize_for_openvino(
    model: OnnxModel,
    spec: QuantizationSpec,
    workspace: Workspace,
    *,
    gate: GateSpec = NO_GATE,
    progress: Progress = ignore_progress,
    one_file_bytes: int = ONE_FILE_BYTES,
) -> Produced[OnnxModel]:
    """Quantise the encoder's linear layers to INT8, for OpenVINO; everything else stays FP32.

    The arguments and errors are those of `quantize_to_int8`; the artifact is ``precision/<name>-int8-openvino``.
    """
    return _produce(_OPENVINO, Calibrator.of(model, spec, workspace, progress), gate, one_file_bytes)


def _produce(target: _Target, calibrator: Calibrator, gate: GateSpec, one_file_bytes: int) -> Produced[OnnxModel]:
    model = calibrator.model
    check_is_fp32(model, "int8")

    def make(folder: Path) -> Mapping[str, Any]:
        fields = _quantize(target, gate, calibrator, folder, one_file_bytes)
        link_kept_files(model, folder)
        return fields

    return calibrator.workspace.produce(_make_recipe(target, calibrator, gate), OnnxModel, make)


def _make_recipe(target: _Target, calibrator: Calibrator, gate: GateSpec) -> Recipe:
    model, spec = calibrator.model, calibrator.spec
    gate_values = gate.model_dump(exclude={"eval_data"})
    if gate.eval_data is not None:
        eval_path = Path(gate.eval_data)
        if not eval_path.is_file():
            check_eval_data(model, eval_path)
        gate_values["eval_data"] = digest_file(eval_path)
    calibration = spec.calibration.model_dump(include={"method", "percentile"})
    return Recipe(
        stage="precision",
        name=f"{model.name}-{target.suffix}",
        spec={
            "precision": "int8",
            "calibration": describe_rows(spec, calibrator.content) | calibration,
            **spec.model_dump(include={"smoothing_alpha", "search"}),
            "keep_out": sorted(set(spec.keep_out)),
            "gate": gate_values,
            "versions": list(target.versions),
        },
        inputs={"onnx": model.key},
        tools={tool: version(tool) for tool in target.tools},
    )


def _quantize(
    target: _Target, gate: GateSpec, calibrator: Calibrator, folder: Path, one_file_bytes: int
) -> Mapping[str, Any]:
    """Write the graph and return the fields of its record."""
    from prep_triton.onnx_file import load_model
    from prep_triton.precision.int8.qdq import find_linears
    from prep_triton.precision.rewrite.checks import check_rewritable

    model, spec = calibrator.model, calibrator.spec
    if gate.eval_data is not None:
        check_eval_data(model, Path(gate.eval_data))
    proto = load_model(model.path(GRAPH_NAME))
    check_rewritable(proto)
    linears = find_linears(proto, in_layer=ARCHITECTURES[model.architecture].linears_in_layer)
    del proto
    check_keep_out(spec.keep_out, linears)
    rows = load_calibration_rows(spec.calibration, model)
    tensors = calibrator.quantize(linears, rows.calibration)
    quantizer = target.open_quantizer()(model, linears, tensors, rows, spec, gate, calibrator.progress, one_file_bytes)
    kept_out, fidelity, accuracy = quantizer.choose_layers()
    overflow = quantizer.write(kept_out, folder / GRAPH_NAME)
    total = sum(linear.flops for linear in linears)
    tokens = sum(len(row.ids) for row in rows.calibration)
    return {
        **kept_fields(model),
        "precision": "int8",
        "fidelity": fidelity,
        "accuracy": accuracy,
        "gate": gate,
        "overflow": overflow,
        "quantization": QuantizationRecord(
            scheme="static symmetric W8A8",
            runtime=target.runtime,
            calibration={**spec.calibration.model_dump(), "content": calibrator.content, "tokens": tokens},
            smoothing_alpha=spec.smoothing_alpha,
            kept_out=kept_out,
            linear_flops_share=sum(linear.flops for linear in linears if linear.name not in kept_out) / total,
            damage=quantizer.damage,
        ),
    }


def check_keep_out(names: Sequence[str], linears: "Sequence[Linear]") -> None:
    """Refuse layers that do not exist, and keeping out all of them.

    Raises:
        SpecError: The nearest layer that exists is in the hint.
    """
    known = [linear.name for linear in linears]
    for name in names:
        if name not in known:
            raise SpecError(
                f"there is no linear layer '{name}' to keep out of int8",
                hint=suggest(name, known, otherwise=f"name a layer of the graph, such as {known[0]}"),
            )
    if set(names) == set(known):
        raise SpecError("every linear layer is to be kept out, which leaves no int8", hint="use --fp16")
