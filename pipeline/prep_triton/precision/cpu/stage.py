"""The precision stage for ONNX Runtime on the CPU: INT8 linear layers, fused attention.

A graph quantised for TensorRT (static Q/DQ) is slower than FP32 on a CPU, so this is a recipe of its own:

- weights are INT8, symmetric, one scale for each output; activations are quantised as they come (`linear`),
  so nothing has to be calibrated;
- attention is one operator, in FP32, with the mask inside its matrix product (`attention`).

The graph uses operators of ONNX Runtime's own domain (com.microsoft) and needs nothing but ONNX Runtime.
"""

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from prep_triton.artifact import OnnxModel, QuantizationRecord
from prep_triton.layout import GRAPH_NAME, ONE_FILE_BYTES, REFERENCE_NAME
from prep_triton.precision.rewrite.source import check_is_fp32, kept_fields, link_kept_files
from prep_triton.progress import Progress, ignore_progress
from prep_triton.workspace import Produced, Recipe, Workspace

# Part of the key: raise it when the rewrite gives other bytes for the same graph.
REWRITE_VERSION = 2


def quantize_for_cpu(
    model: OnnxModel,
    workspace: Workspace,
    *,
    progress: Progress = ignore_progress,
    one_file_bytes: int = ONE_FILE_BYTES,
) -> Produced[OnnxModel]:
    """Rewrite an FP32 graph into the INT8 graph that ONNX Runtime runs fastest on a CPU.

    Inputs and outputs keep their names, types and shapes. `fidelity` of the new artifact is measured on its
    reference rows, `quantization` has the share of the linear layers' FLOPs that is INT8.

    Args:
        model: An FP32 artifact of the export stage.
        workspace: Where the INT8 artifact is kept, as ``precision/<name>-int8-cpu``.
        progress: Called at each step.
        one_file_bytes: The longest file that holds its weights itself.

    Raises:
        PrecisionError: The graph is not FP32, holds no linear layer, holds weights that are not finite, or its
            INT8 form does not run or answers NaN.
    """
    check_is_fp32(model, "int8 for the CPU")
    recipe = Recipe(
        stage="precision",
        name=f"{model.name}-int8-cpu",
        spec={"precision": "int8", "runtime": "onnxruntime", "rewrite": REWRITE_VERSION},
        inputs={"onnx": model.key},
        tools={tool: version(tool) for tool in ("numpy", "onnx", "onnxruntime")},
    )

    def make(folder: Path) -> Mapping[str, Any]:
        from prep_triton.precision.cpu.convert import quantize_file_for_cpu
        from prep_triton.precision.measure.fidelity import measure_fidelity
        from prep_triton.precision.measure.runner import GraphRunner

        share = quantize_file_for_cpu(
            model.path(GRAPH_NAME), folder / GRAPH_NAME, progress=progress, one_file_bytes=one_file_bytes
        )
        link_kept_files(model, folder)
        progress("comparing with fp32", 0.8)
        return {
            **kept_fields(model),
            "precision": "int8",
            "fidelity": measure_fidelity(GraphRunner(folder / GRAPH_NAME), folder / REFERENCE_NAME, model),
            "quantization": QuantizationRecord(scheme="dynamic W8A8", runtime="onnxruntime", linear_flops_share=share),
        }

    return workspace.produce(recipe, OnnxModel, make)
