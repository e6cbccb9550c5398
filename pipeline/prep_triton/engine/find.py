"""Finds an engine that a user names."""

from pathlib import Path

from prep_triton.artifact import Engine
from prep_triton.errors import PrepError, SpecError, WorkspaceError, find_nearest
from prep_triton.manifest import load_artifact
from prep_triton.workspace import Workspace

_STAGE = "engine"


def find_engine(reference: str, workspace: Workspace) -> Engine:
    """Return the engine that a name or a path means.

    Args:
        reference: A name in the workspace (``minilm-fp16-rtx-sm75``), an artifact's folder, or a file of it.
        workspace: Where names are looked up; they go before paths.

    Raises:
        SpecError: There is no engine of that name, of which the nearest are named; or the path does not hold one.
        WorkspaceError: It is there, and damaged.
    """
    path = Path(reference)
    try:
        if reference == path.name and (engine := workspace.current(_STAGE, reference, Engine)):
            return engine
        is_path = bool(reference) and path.exists()
        folder = path.parent if path.is_file() else path
    except OSError:  # a name that no file can have
        is_path = False
    if not is_path:
        raise _unknown_engine(reference, workspace)
    try:
        return load_artifact(folder, Engine)
    except WorkspaceError as err:
        raise SpecError(
            err.message, hint="name an engine of the workspace, its folder, or the model.engine in it"
        ) from err


def _unknown_engine(reference: str, workspace: Workspace) -> PrepError:
    if damage := workspace.find_damaged(_STAGE, reference):
        return WorkspaceError(damage.message, hint="build it again: prep build-engine")
    names = [engine.name for engine in workspace.list_current(_STAGE, Engine)]
    nearest = find_nearest(reference, names, count=3)
    if nearest:
        return SpecError(
            f"there is no engine '{reference}' in {workspace.root}", hint=f"did you mean {' or '.join(nearest)}?"
        )
    return SpecError(
        f"there is no engine '{reference}' in {workspace.root}; it holds {', '.join(names) or 'none'}",
        hint=f"name one of them: prep inspect {names[0]}" if names else "build one first: prep build-engine --fp16",
    )
