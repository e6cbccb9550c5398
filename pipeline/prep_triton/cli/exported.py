"""Which exported model a command means."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prep_triton.artifact import OnnxModel
    from prep_triton.workspace import Workspace


def find_exported(store: "Workspace", name: str | None, shown: Path) -> "list[OnnxModel]":
    """Return the exported model of a name, or every one.

    Raises:
        SpecError: There is no such model in the workspace.
    """
    from prep_triton.artifact import OnnxModel
    from prep_triton.errors import SpecError

    exported = store.list_current("export", OnnxModel)
    if name is None and exported:
        return exported
    matches = [model for model in exported if name in (model.name, model.source)]
    if not matches:
        have = f"; it holds {', '.join(model.name for model in exported)}" if exported else ""
        what = f"model '{name}'" if name else "model"
        raise SpecError(f"no {what} was exported in {shown}{have}", hint=f"prep export {name or 'bert-base'}")
    return matches
