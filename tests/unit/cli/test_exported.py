"""Which exported model a command means, and what it says where that was damaged."""

from pathlib import Path

import pytest
from prep_triton.artifact import OnnxModel
from prep_triton.cli.exported import find_exported
from prep_triton.errors import WorkspaceError
from prep_triton.workspace import Recipe, Workspace

FIELDS = {
    "architecture": "bert",
    "task": "fill-mask",
    "precision": "fp32",
    "opset": 20,
    "model_inputs": (),
    "model_outputs": (),
    "max_sequence_length": 16,
    "vocab_size": 100,
    "parameters": 1,
}


def export(store: Workspace, source: str) -> OnnxModel:
    def make(folder):
        (folder / "model.onnx").write_bytes(b"weights")
        (folder / "reference.npz").write_bytes(b"answers")
        return {**FIELDS, "source": source, "weights": "random" if source.startswith("random:") else "hub"}

    recipe = Recipe(stage="export", name="tiny", spec={"seed": 3})
    return store.produce(recipe, OnnxModel, make).artifact


@pytest.mark.parametrize(
    ("source", "command"),
    [
        ("hub:acme/bert@0a1b", "prep export acme/bert --name tiny --task fill-mask --revision 0a1b"),
        ("pypi:some-minilm==0.1.0", "prep export minilm --name tiny --task fill-mask"),
        (
            "folder:my-bert",
            "prep export FOLDER --name tiny --task fill-mask, with the folder 'my-bert' that it came from",
        ),
        ("random:bert-base", "prep export bert-base --name tiny --task fill-mask --weights random --seed 3"),
    ],
)
@pytest.mark.parametrize("name", ["tiny", None])
def test_a_damaged_export_is_named_with_the_command_that_makes_it_again(tmp_path, source, command, name):
    path = export(Workspace(tmp_path), source).path("model.onnx")
    path.write_bytes(b"weighty")
    with pytest.raises(WorkspaceError) as caught:
        find_exported(Workspace(tmp_path), name, Path("build"))
    assert caught.value.message == f"{path} is damaged: its digest is not the one in its manifest"
    assert caught.value.hint == command
    path.write_bytes(b"weights")
    assert [model.name for model in find_exported(Workspace(tmp_path), name, Path("build"))] == ["tiny"]


def test_a_damaged_manifest_is_named_with_what_to_do(tmp_path):
    path = export(Workspace(tmp_path), "folder:my-bert").path("manifest.json")
    path.write_text("[" * 100_000)
    with pytest.raises(WorkspaceError, match=r"manifest.json is nested too deeply") as caught:
        find_exported(Workspace(tmp_path), "tiny", Path("build"))
    assert "prep export MODEL" in caught.value.hint
