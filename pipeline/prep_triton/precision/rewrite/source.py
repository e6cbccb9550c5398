"""The FP32 artifact that a rewrite starts from: what it must be, and what of it the new artifact keeps."""

import errno
import os
import shutil
from pathlib import Path
from typing import Any

from prep_triton.artifact import Artifact, OnnxModel
from prep_triton.errors import PrecisionError
from prep_triton.layout import is_graph_file

# What was measured on the FP32 graph says nothing about another one.
_OWN_FIELDS = frozenset({"precision", "parity", "fidelity", "accuracy", "quantization", "overflow"})
KEPT_FIELDS = tuple(sorted(OnnxModel.model_fields.keys() - Artifact.model_fields.keys() - _OWN_FIELDS))


def check_is_fp32(model: OnnxModel, target: str) -> None:
    """Refuse to rewrite what is not FP32.

    Args:
        model: The artifact.
        target: What it is to become, for the message: ``fp16``, ``int8``.

    Raises:
        PrecisionError: It is in another precision already.
    """
    if model.precision != "fp32":
        raise PrecisionError(
            f"{model.name} is already {model.precision}; only an fp32 graph can become {target}",
            hint="convert the exported fp32 model instead: run `prep export` first",
        )


def kept_fields(model: OnnxModel) -> dict[str, Any]:
    """Return the fields of a model's record that are true of its rewritten graph too."""
    return {name: getattr(model, name) for name in KEPT_FIELDS}


def link_kept_files(model: OnnxModel, folder: Path) -> None:
    """Put every file of a model but its graph into the folder of its rewritten graph.

    Weights beside the graph (``model.onnx.data``) belong to it: the new graph holds its own.
    """
    for relative in model.files:
        if not is_graph_file(relative):
            link_or_copy(model.path(relative), folder / relative)


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
