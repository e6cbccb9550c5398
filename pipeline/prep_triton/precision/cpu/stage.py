"""The precision stage for ONNX Runtime on the CPU: INT8 linear layers, fused attention.

A graph quantised for TensorRT (static Q/DQ) is slower than FP32 on a CPU, so this is a recipe of its own:

- weights are INT8, symmetric, one scale for each output; activations are quantised as they come (`cpu_linear`),
  so nothing has to be calibrated;
- attention is one operator, in FP32, with the mask inside its matrix product (`cpu_attention`).

The graph uses operators of ONNX Runtime's own domain (com.microsoft) and needs nothing but ONNX Runtime.
"""

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from prep_triton.artifact import Artifact, OnnxModel, QuantizationRecord
from prep_triton.errors import PrecisionError
from prep_triton.layout import GRAPH_NAME, REFERENCE_NAME, is_graph_file
from prep_triton.precision.fp16.stage import link_or_copy
from prep_triton.progress import Progress, ignore_progress
from prep_triton.workspace import Produced, Recipe, Workspace

# Part of the key: raise it when the rewrite gives other bytes for the same graph.
REWRITE_VERSION = 2

# What was measured on the FP32 graph says nothing about this one.
_OWN_FIELDS = frozenset({"precision", "parity", "fidelity", "accuracy", "quantization"})


def quantize_for_cpu(
    model: OnnxModel, workspace: Workspace, *, progress: Progress = ignore_progress
) -> Produced[OnnxModel]:
    """Rewrite an FP32 graph into the INT8 graph that ONNX Runtime runs fastest on a CPU.

    Inputs and outputs keep their names, types and shapes. `fidelity` of the new artifact is measured on its
    reference rows, `quantization` tells the share of the linear layers' FLOPs that is INT8.

    Args:
        model: An FP32 artifact of the export stage.
        workspace: Where the INT8 artifact is kept, as ``precision/<name>-int8-cpu``.
        progress: Told about each step.

    Raises:
        PrecisionError: The graph is not FP32, holds no linear layer, holds weights that are not finite, or its
            INT8 form does not run or answers NaN.
    """
    if model.precision != "fp32":
        raise PrecisionError(
            f"{model.name} is already {model.precision}; only an fp32 graph can be quantised for the CPU",
            hint="quantise the exported fp32 model instead: run `prep export` first",
        )
    recipe = Recipe(
        stage="precision",
        name=f"{model.name}-int8-cpu",
        spec={"precision": "int8", "runtime": "onnxruntime", "rewrite": REWRITE_VERSION},
        inputs={"onnx": model.key},
        tools={tool: version(tool) for tool in ("numpy", "onnx", "onnxruntime")},
    )

    def make(folder: Path) -> Mapping[str, Any]:
        from prep_triton.precision.cpu.convert import quantize_file_for_cpu
        from prep_triton.precision.measure.reference_fidelity import measure_fidelity

        share = quantize_file_for_cpu(model.path(GRAPH_NAME), folder / GRAPH_NAME, progress=progress)
        for relative in model.files:
            # Weights beside the graph (model.onnx.data) are inside the new graph.
            if not is_graph_file(relative):
                link_or_copy(model.path(relative), folder / relative)
        progress("comparing with fp32", 0.8)
        return {
            **{field: getattr(model, field) for field in _list_carried_fields()},
            "precision": "int8",
            "fidelity": measure_fidelity(folder / GRAPH_NAME, folder / REFERENCE_NAME, model),
            "quantization": QuantizationRecord(scheme="dynamic W8A8", linear_flops_share=share),
        }

    return workspace.produce(recipe, OnnxModel, make)


def _list_carried_fields() -> set[str]:
    return set(OnnxModel.model_fields) - set(Artifact.model_fields) - _OWN_FIELDS
