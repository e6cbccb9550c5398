"""What a user names to look at or to compare: an artifact of the workspace, an entry, or an ONNX file."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from prep_triton.artifact import Artifact, Engine, OnnxModel, RepositoryEntry
from prep_triton.errors import PrepError, SpecError, WorkspaceError, find_nearest
from prep_triton.layout import GRAPH_NAME, MANIFEST_NAME, REFERENCE_NAME, VERSION_DIR, is_graph_file
from prep_triton.manifest import load_artifact
from prep_triton.workspace import Workspace

Subject = OnnxModel | Engine | RepositoryEntry
_TYPES: tuple[tuple[str, type[OnnxModel] | type[Engine] | type[RepositoryEntry]], ...] = (
    ("engine", Engine),
    ("precision", OnnxModel),
    ("export", OnnxModel),
)
# A field that its manifests alone have.
_TELLING = (("proof", Engine), ("runtime", RepositoryEntry), ("model_inputs", OnnxModel))


@dataclass(frozen=True)
class Candidate:
    """Something to compare.

    `graph` is what runs in ONNX Runtime, `model` describes its tensors and is None of a bare file; `engine` is what
    runs on a GPU; `reference` are rows with answers. `what` is ``graph``, ``engine``, ``entry`` or ``file``.
    """

    name: str
    what: str
    precision: str
    size_bytes: int
    graph: Path | None = None
    model: OnnxModel | None = None
    engine: Engine | None = None
    reference: Path | None = None


def find_subject(reference: str, workspace: Workspace) -> Subject | None:
    """Return the artifact that a name or a path means; None for an ONNX file that belongs to none.

    Args:
        reference: A name in the workspace, an artifact's or an entry's folder, a file of it, or a .onnx file.
        workspace: Where names are looked up; they go before paths.

    Raises:
        SpecError: There is nothing of that name, of which the nearest are named; or the path holds no artifact.
        WorkspaceError: It is there, and damaged.
    """
    path = Path(reference)
    if reference == path.name:
        for stage, artifact_type in _TYPES:
            if artifact := workspace.current(stage, reference, artifact_type):
                return artifact
    try:
        exists = bool(reference) and path.exists()
    except OSError:  # a name that no file can have
        exists = False
    if not exists:
        raise _unknown(reference, workspace)
    folder = path.parent if path.is_file() else path
    if folder.name == VERSION_DIR and (folder.parent / MANIFEST_NAME).is_file():
        folder = folder.parent
    if not (folder / MANIFEST_NAME).is_file() and path.is_file() and path.suffix == ".onnx":
        return None
    return _load(folder)


def _load(folder: Path) -> Subject:
    try:
        content = json.loads((folder / MANIFEST_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as err:
        raise SpecError(
            f"{folder} holds no artifact: its {MANIFEST_NAME} cannot be read",
            hint="name an export, a graph, an engine or an entry: prep list shows them",
        ) from err
    kinds = [kind for field, kind in _TELLING if isinstance(content, dict) and field in content]
    if not kinds:
        raise SpecError(f"{folder} holds neither a graph, an engine nor an entry", hint="prep list shows what there is")
    return cast(Subject, load_artifact(folder, kinds[0]))


def _unknown(reference: str, workspace: Workspace) -> PrepError:
    for stage, _ in _TYPES:
        if damage := workspace.find_damaged(stage, reference):
            return WorkspaceError(damage.message, hint="make it again: prep export MODEL")
    names = [artifact.name for stage, kind in _TYPES for artifact in _list(workspace, stage, kind)]
    nearest = find_nearest(reference, names, count=3)
    if nearest:
        return SpecError(
            f"there is no '{reference}' in {workspace.root}, and no such path",
            hint=f"did you mean {' or '.join(nearest)}?",
        )
    holds = f"; it holds {', '.join(names)}" if names else ""
    return SpecError(
        f"there is no '{reference}' in {workspace.root}, and no such path{holds}",
        hint="prep list shows what there is" if names else "make one first: prep export minilm",
    )


def _list(workspace: Workspace, stage: str, kind: type[Artifact]) -> Sequence[Artifact]:
    return workspace.list_current(stage, kind)


def candidate_from_subject(subject: Subject | None, reference: str) -> Candidate:
    """Return what of an artifact can be compared.

    Raises:
        SpecError: It is an entry that serves another one's text, and has no model of its own.
    """
    if subject is None:
        path = Path(reference)
        beside = path.with_name(f"{path.name}.data")
        size = path.stat().st_size + (beside.stat().st_size if beside.is_file() else 0)
        return Candidate(path.name, "file", "unknown", size, graph=path)
    if isinstance(subject, Engine):
        size = sum(file.size for file in subject.files.values())
        return Candidate(subject.name, "engine", subject.precision, size, engine=subject)
    if isinstance(subject, OnnxModel):
        graph, rows = subject.path(GRAPH_NAME), subject.path(REFERENCE_NAME)
        return Candidate(
            subject.name, "graph", subject.precision, subject.graph_bytes, graph=graph, model=subject, reference=rows
        )
    return _candidate_from_entry(subject)


def _candidate_from_entry(entry: RepositoryEntry) -> Candidate:
    if entry.kind != "model":
        raise SpecError(
            f"{entry.name} is the {entry.kind} of {entry.serves}, and has no model of its own",
            hint=f"name {entry.folder.parent / str(entry.serves)}",
        )
    model = entry.onnx.model_copy(update={"folder": entry.folder}) if entry.onnx else None
    graph = entry.folder / VERSION_DIR / GRAPH_NAME
    served = [file.size for name, file in entry.files.items() if name.startswith(f"{VERSION_DIR}/")]
    if entry.engines:
        return Candidate(entry.name, "entry", entry.precision, sum(served), model=model, engine=entry.engines[0])
    size = sum(file.size for name, file in entry.files.items() if is_graph_file(name.rpartition("/")[2]))
    rows = entry.path(REFERENCE_NAME)
    return Candidate(entry.name, "entry", entry.precision, size, graph=graph, model=model, reference=rows)
