"""An exported model in a workspace, without an export."""

from pathlib import Path
from typing import Any

from prep_triton.artifact import Artifact, OnnxModel
from prep_triton.workspace import Recipe, Workspace

from scripts.benchmarks.small_artifacts import make_model


def store_export(root: Path, name: str = "tiny") -> OnnxModel:
    """Put a small model into a workspace's folder, where an export of this name would be."""

    def export(staging: Path) -> dict[str, Any]:
        model = make_model(staging)
        return {key: getattr(model, key) for key in OnnxModel.model_fields if key not in Artifact.model_fields}

    return Workspace(root).produce(Recipe("export", name, {}), OnnxModel, export).artifact
