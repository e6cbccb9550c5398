"""The precision stage for FP16: a new ONNX artifact whose GEMMs, weights and activations are FP16.

Since TensorRT 11 the precision of an engine is a property of the ONNX graph alone, so this is where
it is decided. Clients do not notice: inputs and outputs keep the types they had.
"""

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from prep_triton.artifact import OnnxModel
from prep_triton.layout import GRAPH_NAME, ONE_FILE_BYTES, REFERENCE_NAME
from prep_triton.precision.rewrite.source import check_is_fp32, kept_fields, link_kept_files
from prep_triton.progress import Progress, ignore_progress
from prep_triton.workspace import Produced, Recipe, Workspace

# Part of the key: raise it when the rewrite gives other bytes for the same graph.
REWRITE_VERSION = 2


def convert_to_fp16(
    model: OnnxModel,
    workspace: Workspace,
    *,
    progress: Progress = ignore_progress,
    one_file_bytes: int = ONE_FILE_BYTES,
) -> Produced[OnnxModel]:
    """Rewrite an FP32 graph so that every GEMM, weight and activation is FP16.

    LayerNormalization stays FP32, inputs keep their types, and outputs stay FP32. So does what FP16 cannot hold on the
    reference rows: `overflow` of the new artifact names its layers, and their GEMMs are scaled. `parity` is None: the
    FP32 graph was measured against PyTorch, this one was not.

    Args:
        model: An FP32 artifact of the export stage.
        workspace: Where the FP16 artifact is kept, as ``precision/<name>-fp16``.
        progress: Called at each step.
        one_file_bytes: The longest file that holds its weights itself.

    Raises:
        PrecisionError: The graph is not FP32, or a value of it does not survive in FP16.
    """
    check_is_fp32(model, "fp16")
    recipe = Recipe(
        stage="precision",
        name=f"{model.name}-fp16",
        spec={"precision": "fp16", "rewrite": REWRITE_VERSION},
        inputs={"onnx": model.key},
        tools={tool: version(tool) for tool in ("numpy", "onnx", "onnxruntime")},
    )

    def make(folder: Path) -> Mapping[str, Any]:
        from prep_triton.onnx_file import load_model
        from prep_triton.precision.fp16.convert import convert_file_to_fp16
        from prep_triton.precision.fp16.ranges import find_remedy

        progress("measuring the range of every value")
        graph_path, target_path = model.path(GRAPH_NAME), folder / GRAPH_NAME
        remedy = find_remedy(load_model(graph_path), model.path(REFERENCE_NAME), model)
        convert_file_to_fp16(graph_path, target_path, remedy=remedy, progress=progress, one_file_bytes=one_file_bytes)
        link_kept_files(model, folder)
        return {**kept_fields(model), "precision": "fp16", "overflow": remedy.record()}

    return workspace.produce(recipe, OnnxModel, make)
