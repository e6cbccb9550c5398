"""Finds an engine that a user names."""

from pathlib import Path

from prep_triton.artifact import Engine
from prep_triton.errors import SpecError, find_nearest
from prep_triton.layout import MANIFEST_NAME
from prep_triton.workspace import Workspace, find_artifact

_STAGE = "engine"


def find_engine(reference: str, workspace: Workspace) -> Engine:
    """Return the engine that a name or a path means.

    Args:
        reference: A name in the workspace (``minilm-fp16-rtx-sm75``), an artifact's folder, or a file of it.
        workspace: Where names are looked up; they go before paths.

    Raises:
        SpecError: No whole engine is there; the nearest names are told.
    """
    try:
        found = _find(reference, workspace)
        is_path = bool(reference) and Path(reference).exists()
    except OSError:  # a name that no file can have
        found, is_path = None, False
    if found is not None:
        return found
    raise _no_engine_in(reference) if is_path else _unknown_engine(reference, workspace)


def _find(reference: str, workspace: Workspace) -> Engine | None:
    if reference == Path(reference).name and (named := workspace.current(_STAGE, reference, Engine)):
        return named
    return find_artifact(_folder_of(reference), Engine)


def _folder_of(reference: str) -> Path:
    path = Path(reference)
    return path.parent if path.is_file() else path


def _no_engine_in(reference: str) -> SpecError:
    manifest = _folder_of(reference) / MANIFEST_NAME
    beside = "its manifest describes none" if manifest.is_file() else "it has no manifest"
    return SpecError(
        f"{reference} is no whole engine of prep: {beside} ({manifest})",
        hint="name an engine of the workspace, its folder, or the model.engine in it",
    )


def _unknown_engine(reference: str, workspace: Workspace) -> SpecError:
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
