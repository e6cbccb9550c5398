"""The precision stage for FP16: a new ONNX artifact whose GEMMs, weights and activations are FP16.

Since TensorRT 11 the precision of an engine is a property of the ONNX graph alone, so this is where
it is decided. Clients do not notice: inputs and outputs keep the types they had.
"""

import errno
import os
import shutil
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from prep_triton.artifact import OnnxModel
from prep_triton.errors import PrecisionError
from prep_triton.layout import GRAPH_NAME, is_graph_file
from prep_triton.progress import Progress, ignore_progress
from prep_triton.workspace import Produced, Recipe, Workspace

# Part of the key: raise it when the rewrite gives other bytes for the same graph.
REWRITE_VERSION = 1

CARRIED_FIELDS = (
    "architecture",
    "task",
    "weights",
    "source",
    "opset",
    "model_inputs",
    "model_outputs",
    "max_sequence_length",
    "vocab_size",
    "parameters",
    "labels",
)


def convert_to_fp16(
    model: OnnxModel, workspace: Workspace, *, progress: Progress = ignore_progress
) -> Produced[OnnxModel]:
    """Rewrite an FP32 graph so that every GEMM, weight and activation is FP16.

    LayerNormalization stays FP32, inputs keep their types, and outputs stay FP32. `parity` of the new
    artifact is None: the FP32 graph was measured against PyTorch, this one was not.

    Args:
        model: An FP32 artifact of the export stage.
        workspace: Where the FP16 artifact is kept, as ``precision/<name>-fp16``.
        progress: Told about each step.

    Raises:
        PrecisionError: The graph is not FP32, or a value of it does not survive in FP16.
    """
    if model.precision != "fp32":
        raise PrecisionError(
            f"{model.name} is already {model.precision}; only an fp32 graph can be rewritten to fp16",
            hint="convert the exported fp32 model instead: run `prep export` first",
        )
    recipe = Recipe(
        stage="precision",
        name=f"{model.name}-fp16",
        spec={"precision": "fp16", "rewrite": REWRITE_VERSION},
        inputs={"onnx": model.key},
        tools={tool: version(tool) for tool in ("numpy", "onnx")},
    )

    def make(folder: Path) -> Mapping[str, Any]:
        from prep_triton.precision.fp16.convert import convert_file_to_fp16

        convert_file_to_fp16(model.path(GRAPH_NAME), folder / GRAPH_NAME, progress=progress)
        for relative in model.files:
            # Weights beside the graph (model.onnx.data) are inside the new graph.
            if not is_graph_file(relative):
                link_or_copy(model.path(relative), folder / relative)
        return {**{field: getattr(model, field) for field in CARRIED_FIELDS}, "precision": "fp16"}

    return workspace.produce(recipe, OnnxModel, make)


def link_or_copy(source_path: Path, target_path: Path) -> None:
    """Hard-link a file, or copy it where the file system has no such links.

    Artifacts are never changed in place, so two of them may share a file.
    """
    target_path.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source_path, target_path)
    except OSError as err:
        if err.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EACCES):
            raise
        shutil.copy2(source_path, target_path)
