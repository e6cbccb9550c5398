"""An export from wherever the model lies: a hub, a folder, gs://, MLflow, or an ONNX file of another tool."""

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from prep_triton.artifact import OnnxModel
from prep_triton.errors import PrepError, SourceError, SpecError
from prep_triton.export.source import GRAPH_SUFFIX, Origin, check_source
from prep_triton.progress import Progress, ignore_progress
from prep_triton.run.fetched import Fetched, check_elsewhere, fetch_model, is_elsewhere
from prep_triton.run.names import name_of_model
from prep_triton.spec import ModelSpec
from prep_triton.spec.faults import Path as KeyPath
from prep_triton.workspace import Produced, Workspace


def export_from_anywhere(
    spec: ModelSpec, workspace: Workspace, *, replace: bool = True, progress: Progress = ignore_progress
) -> Produced[OnnxModel]:
    """Make the ONNX artifact of a model; see `export_model` and `import_graph`.

    Args:
        spec: Which model, task and weights.
        workspace: Where the artifact goes, and copies of what was fetched.
        replace: Whether its name may be that of another model until now.
        progress: Called with the phase.

    Raises:
        PrepError: What `fetch_model`, `export_model` or `import_graph` raise.
    """
    from prep_triton.export.onnx import export_model

    fetched = fetch_model(spec, workspace, progress=progress) if is_elsewhere(spec.model) else None
    if graph := _find_graph(spec, fetched):
        label = fetched.label if fetched else f"onnx:{graph.name}"
        return _import(spec, graph, label, workspace, replace=replace, progress=progress)
    if spec.checkpoint is not None:
        raise SpecError(
            f"checkpoint belongs to a {GRAPH_SUFFIX} file, and {spec.model} is none", hint="leave out --checkpoint"
        )
    origin = Origin(fetched.name, fetched.label, fetched.folder) if fetched else None
    return export_model(spec, workspace, origin=origin, replace=replace, progress=progress)


def check_origin(spec: ModelSpec) -> Iterator[tuple[KeyPath, PrepError]]:
    """Yield what can be seen to be wrong with a place, and its key; nothing is asked and no weights are read."""
    if is_elsewhere(spec.model):
        yield from _catch("model", partial(check_elsewhere, spec.model))
    elif spec.model.strip().endswith(GRAPH_SUFFIX):
        yield from _catch("model", partial(_check_graph_file, spec))
    else:
        yield from _catch("model", partial(check_source, spec))
    if spec.checkpoint is not None:
        yield from _catch("checkpoint", partial(_check_checkpoint, spec.checkpoint))


def _catch(key: str, check: Callable[[], None]) -> Iterator[tuple[KeyPath, PrepError]]:
    try:
        check()
    except PrepError as err:
        yield (key,), err


def _check_graph_file(spec: ModelSpec) -> None:
    path = Path(spec.model.strip()).expanduser()
    if not path.is_file():
        raise SourceError(f"there is no file {path}", hint="check the path: it is relative to the working directory")
    if not os.access(path, os.R_OK):
        raise SourceError(f"{path} cannot be read", hint="check its permissions")
    for key, value in (("revision", spec.revision), ("weights", spec.weights if spec.weights == "random" else None)):
        if value is not None:
            raise SpecError(f"{key} '{value}' means nothing for the ONNX file {path}", hint=f"leave out --{key}")


def _check_checkpoint(place: str) -> None:
    if is_elsewhere(place):
        check_elsewhere(place)
    elif not Path(place).expanduser().is_dir():
        raise SpecError(f"there is no checkpoint folder {place}", hint="name the folder that holds config.json")


def _find_graph(spec: ModelSpec, fetched: Fetched | None) -> Path | None:
    """Return the ONNX file that a spec names, fetched or here."""
    if fetched:
        return fetched.folder / fetched.graph if fetched.graph else None
    if not spec.model.strip().endswith(GRAPH_SUFFIX):
        return None
    _check_graph_file(spec)
    return Path(spec.model.strip()).expanduser()


def _import(
    spec: ModelSpec, graph: Path, label: str, workspace: Workspace, *, replace: bool, progress: Progress
) -> Produced[OnnxModel]:
    from prep_triton.export.imported import Import, import_graph

    checkpoint = graph.parent
    if spec.checkpoint is not None:
        _check_checkpoint(spec.checkpoint)
        place = ModelSpec(model=spec.checkpoint, name=f"{name_of_model(spec)[:50]}-checkpoint")
        is_remote = is_elsewhere(spec.checkpoint)
        fetched = fetch_model(place, workspace, progress=progress) if is_remote else None
        checkpoint = fetched.folder if fetched else Path(spec.checkpoint).expanduser()
    request = Import(graph, checkpoint, name_of_model(spec), spec.task, label, is_beside=spec.checkpoint is None)
    return import_graph(request, workspace, replace=replace, progress=progress)
