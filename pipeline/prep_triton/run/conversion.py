"""An exported graph to the graph that a runtime wants, and the gate it must pass."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prep_triton.artifact import AccuracyRecord, Artifact, FidelityRecord, OnnxModel
from prep_triton.errors import PrecisionError
from prep_triton.files import digest_file
from prep_triton.layout import GRAPH_NAME, REFERENCE_NAME
from prep_triton.progress import Progress, ignore_progress
from prep_triton.spec import ConversionSpec, GateSpec, Runtime, flags_from_precision
from prep_triton.workspace import Produced, Recipe, Workspace

if TYPE_CHECKING:
    from prep_triton.precision.measure.runner import RowRunner

log = logging.getLogger(__name__)

# What runs a graph that its precision's gate measures; ONNX Runtime where it is not named.
_RUNTIMES_OF = {"bf16": ("onnxruntime", "openvino")}
# Part of the key: raise it when a gate decides otherwise about the same graph.
GATE_VERSION = 4


class GatePassed(Artifact):
    """That a converted graph passed a gate: the key names both. A graph that fails leaves none."""

    gate: GateSpec | None = None
    fidelity: FidelityRecord | None = None
    accuracy: AccuracyRecord | None = None


def put_in_precision(
    model: OnnxModel,
    spec: ConversionSpec,
    workspace: Workspace,
    *,
    reuse_gate: bool = False,
    progress: Progress = ignore_progress,
) -> Produced[OnnxModel]:
    """Return the graph that a runtime wants in a precision; FP32 is the exported graph itself.

    Args:
        model: An exported FP32 graph.
        spec: Runtime, precision, calibration and gate.
        workspace: Where the graphs are kept.
        reuse_gate: Where the request names no gate, take the one that the graph passed when it was last made, in place
            of the precision's own: for a caller that serves what was built.
        progress: Hears about each step.

    Raises:
        SpecError: The calibration or evaluation data cannot be used.
        PrecisionError: The graph cannot be put into the precision, or misses its gate.
    """
    if spec.precision == "fp32":
        return Produced(model, reused=True)
    gate = spec.required_gate()
    if spec.quantization is not None:
        from prep_triton.precision.int8.stage import NO_GATE, quantize_for_openvino, quantize_to_int8

        quantize = quantize_for_openvino if spec.runtime == "openvino" else quantize_to_int8
        return quantize(model, spec.quantization, workspace, gate=gate or NO_GATE, progress=progress)
    if spec.precision == "fp16":
        from prep_triton.precision.fp16.stage import convert_to_fp16

        produced = convert_to_fp16(model, workspace, progress=progress)
    elif spec.precision == "bf16":  # what OpenVINO computes an FP32 graph in
        in_bf16 = model.model_copy(update={"name": f"{model.name}-bf16", "precision": "bf16"})
        produced = Produced(in_bf16, reused=True)
    else:
        return Produced(find_quantized(model, spec.runtime, workspace), reused=True)
    if reuse_gate and spec.gate is None:
        gate = find_passed_gate(produced.artifact, workspace) or gate
    if gate is None:
        return produced
    gated = _pass_gate(model, produced.artifact, gate, workspace, progress)
    passed = gated.artifact
    measured = {key: value for key in ("fidelity", "accuracy", "gate") if (value := getattr(passed, key)) is not None}
    artifact = produced.artifact.model_copy(update=measured)
    return replace(produced, artifact=artifact, reused=produced.reused and gated.reused)


def find_quantized(model: OnnxModel, runtime: Runtime, workspace: Workspace) -> OnnxModel:
    """Return the INT8 graph that was last made of a model for a runtime, for a caller who has no calibration text.

    Raises:
        PrecisionError: There is none.
    """
    suffix = {"tensorrt": "int8", "openvino": "int8-openvino"}[runtime]
    graph = workspace.current("precision", f"{model.name}-{suffix}", OnnxModel)
    if graph is None or graph.inputs.get("onnx") != model.key:
        raise PrecisionError(
            f"{model.name} was not quantised for {runtime} in {workspace.root}",
            hint=f"prep build-engine {model.name} --runtime openvino {flags_from_precision('int8')}"
            if runtime == "openvino"
            else f"prep build-engine {model.name} {flags_from_precision('int8')}",
        )
    return graph


def find_passed_gate(converted: OnnxModel, workspace: Workspace) -> GateSpec | None:
    """Return the gate that a converted graph passed last; None where it passed none."""
    passed = workspace.current("gate", converted.name, GatePassed)
    return passed.gate if passed and passed.inputs.get("converted") == converted.key else None


def _pass_gate(
    model: OnnxModel, converted: OnnxModel, gate: GateSpec, workspace: Workspace, progress: Progress
) -> Produced[GatePassed]:
    """Measure a converted graph against its gate, unless this very graph passed it before.

    Raises:
        PrecisionError: It misses the gate, and by how much.
    """
    content = digest_file(Path(gate.eval_data)) if gate.eval_data and Path(gate.eval_data).is_file() else gate.eval_data
    recipe = Recipe(
        stage="gate",
        name=converted.name,
        spec=gate.model_dump(exclude={"eval_data"}) | {"eval_data": content, "gate": GATE_VERSION},
        inputs={"reference": model.key, "converted": converted.key},
        tools={
            tool: version(tool) for tool in (*_RUNTIMES_OF.get(converted.precision, ("onnxruntime",)), "tokenizers")
        },
    )

    def measure(folder: Path) -> Mapping[str, Any]:  # noqa: ARG001 the record holds everything
        return {
            "fidelity": _check_fidelity(model, converted, gate, progress),
            "accuracy": _check_accuracy(model, converted, gate, progress),
            "gate": gate,
        }

    return workspace.produce(recipe, GatePassed, measure)


def _check_fidelity(
    model: OnnxModel, converted: OnnxModel, gate: GateSpec, progress: Progress
) -> FidelityRecord | None:
    if gate.min_cosine is None and gate.min_row_cosine is None:
        return None
    from prep_triton.precision.measure.fidelity import check_fidelity

    progress("comparing with fp32")
    fidelity = converted.fidelity or _measure_fidelity(converted)
    if miss := check_fidelity(fidelity, gate):
        raise PrecisionError(
            f"{converted.name} misses its gate: it has {miss}",
            hint="use --fp32 (not for a T4: TensorRT-RTX has no fp32 products for it), or a lower --min-cosine or "
            "--min-row-cosine"
            if converted.precision == "fp16"
            else f"keep fp32: prep assemble {model.name} --runtime onnxruntime --precision fp32",
        )
    return fidelity


def _measure_fidelity(converted: OnnxModel) -> FidelityRecord:
    from prep_triton.precision.fp16.arithmetic import open_in_half_arithmetic
    from prep_triton.precision.measure.fidelity import measure_fidelity
    from prep_triton.precision.measure.runner import GraphRunner

    graph_path, reference_path = converted.path(GRAPH_NAME), converted.path(REFERENCE_NAME)
    if converted.precision == "fp16":
        runner = open_in_half_arithmetic(graph_path)
        return measure_fidelity(runner, reference_path, converted, arithmetic="in FP16 arithmetic")
    opened: RowRunner = _open_in_bf16(graph_path) if converted.precision == "bf16" else GraphRunner(graph_path)
    return measure_fidelity(opened, reference_path, converted)


def _open_in_bf16(path: Path) -> "RowRunner":
    """Open a graph in BF16; say where that is emulated.

    Raises:
        PrecisionError: OpenVINO refuses the graph, or BF16 on this CPU.
    """
    from prep_triton.precision.measure.openvino_runner import OpenVinoRunner, has_bf16

    try:
        runner = OpenVinoRunner(path, precision="bf16")
    except PrecisionError as err:
        if has_bf16():
            raise
        raise PrecisionError(
            f"this CPU has no BF16 of its own (AVX512_BF16 or AMX), and OpenVINO does not emulate it here: {err}",
            hint="take --precision fp32 here, or make bf16 on a CPU that has it: prep doctor shows what a CPU has",
        ) from err
    if not has_bf16():
        log.warning(
            "this CPU has no BF16 of its own (AVX512_BF16 or AMX): %s is emulated, and slower than fp32 where it is "
            "served on such a CPU: take fp32 there",
            runner.runtime,
        )
    return runner


def _check_accuracy(
    model: OnnxModel, converted: OnnxModel, gate: GateSpec, progress: Progress
) -> AccuracyRecord | None:
    if gate.eval_data is None or gate.max_accuracy_drop is None:
        return None
    from prep_triton.precision.measure.accuracy import check_accuracy, measure_accuracy

    accuracy = measure_accuracy(
        model.path(GRAPH_NAME),
        converted.path(GRAPH_NAME),
        model,
        Path(gate.eval_data),
        progress=progress,
        open_candidate=_open_in_bf16 if converted.precision == "bf16" else None,
    )
    check_accuracy(accuracy, gate.max_accuracy_drop)
    return accuracy
