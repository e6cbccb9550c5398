"""Models that lie elsewhere, on ``gs://`` or in a folder that MLflow wrote: fetched into the workspace, once.

A copy is an artifact of the stage ``source``, whose key is made of each object's name, size and CRC32C: an object that
changed is another key, and one that did not is not fetched again. Only what an export reads is fetched.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prep_triton.artifact import SourceCopy
from prep_triton.errors import SourceError, SpecError
from prep_triton.export.source import GRAPH_SUFFIX
from prep_triton.progress import Progress, ignore_progress
from prep_triton.run.mlflow import MLMODEL_NAME, REGISTRY_PREFIX, download_registered, parse_mlmodel
from prep_triton.run.names import name_of_model
from prep_triton.scratch import scratch_folder
from prep_triton.spec import ModelSpec
from prep_triton.workspace import NotMadeError, Recipe, Workspace

if TYPE_CHECKING:
    from prep_triton.publish.store import Store, StoredObject

STAGE = "source"


@dataclass(frozen=True)
class Fetched:
    """A model that was fetched: its name, where it came from, its folder, and the name of its graph if it is one."""

    name: str
    label: str
    folder: Path
    graph: str | None = None


@dataclass(frozen=True)
class _Listing:
    """What to fetch: by its name in the copy, its object; and the graph among them."""

    objects: "Mapping[str, StoredObject]"
    graph: str | None = None


def is_elsewhere(model: str) -> bool:
    """Whether a model has to be fetched by this module: it is on gs://, in MLflow's registry, or an MLflow folder."""
    name = model.strip()
    is_remote = name.startswith(("gs://", REGISTRY_PREFIX))
    return is_remote or (Path(name).expanduser() / MLMODEL_NAME).is_file()


def check_elsewhere(model: str) -> None:
    """Refuse a place for what can be seen of it without asking anybody.

    Raises:
        SpecError: The URI is not one.
        SourceError: An MLflow folder holds no model that prep reads.
    """
    name = model.strip()
    if name.startswith("gs://"):
        from prep_triton.publish.uri import parse_gcs_uri

        parse_gcs_uri(name)
    elif not name.startswith(REGISTRY_PREFIX):
        parse_mlmodel((Path(name).expanduser() / MLMODEL_NAME).read_bytes(), where=name)


def fetch_model(spec: ModelSpec, workspace: Workspace, *, progress: Progress = ignore_progress) -> Fetched:
    """Return a copy of a model that `is_elsewhere`, fetching it where it changed.

    Raises:
        SpecError: The URI is not one, or a name in it is not allowed.
        SourceError: There is no model, or it changes while it is fetched.
        StoreError: The store refuses or fails.
        NotMadeError: The workspace is read-only and does not hold it.
    """
    from prep_triton.publish.uri import open_store

    uri = spec.model.strip().rstrip("/")
    if uri.startswith(REGISTRY_PREFIX):
        return _fetch_registered(uri, spec, workspace, progress)
    if uri.startswith("gs://"):
        parent, _, last = uri.rpartition("/")
        is_graph = last.endswith(GRAPH_SUFFIX)
        return _fetch(open_store(parent if is_graph else uri), uri, name_of_model(spec), workspace, progress)
    folder = Path(uri).expanduser()
    return _fetch(open_store(str(folder)), f"mlflow:{folder.resolve().name}", name_of_model(spec), workspace, progress)


def _fetch_registered(uri: str, spec: ModelSpec, workspace: Workspace, progress: Progress) -> Fetched:
    """Fetch from MLflow's registry, which tells no digests: it is downloaded, then copied where it changed."""
    from prep_triton.publish.uri import open_store

    name = name_of_model(spec)
    if workspace.read_only:
        raise NotMadeError(Recipe(stage=STAGE, name=name, spec={"uri": uri}))
    with scratch_folder("mlflow") as scratch:
        progress("downloading from MLflow")
        store = open_store(str(download_registered(uri, scratch)))
        return _fetch(store, f"mlflow:{uri}", name, workspace, progress)


def _fetch(store: "Store", uri: str, name: str, workspace: Workspace, progress: Progress) -> Fetched:
    listing = _list_model(store, uri)
    described = {
        kept: f"{stored.size}:{stored.crc32c or stored.generation}" for kept, stored in listing.objects.items()
    }
    recipe = Recipe(stage=STAGE, name=name, spec={"uri": uri, "objects": described})

    def make(folder: Path) -> Mapping[str, Any]:
        _download(store, listing, folder, progress)
        return {"uri": uri}

    copy = workspace.produce(recipe, SourceCopy, make).artifact
    digest = hashlib.sha256("\n".join(f"{key}={described[key]}" for key in sorted(described)).encode()).hexdigest()
    return Fetched(name, f"{uri}@{digest[:12]}", copy.folder, listing.graph)


def _list_model(store: "Store", uri: str) -> _Listing:
    """Return what of a place is a model: a checkpoint's files, a graph's, or what an MLflow folder's MLmodel names."""
    objects = {stored.name: stored for stored in store.list_objects("")}
    if uri.endswith(GRAPH_SUFFIX):
        return _list_graph(objects, uri.rpartition("/")[2], where=uri)
    if MLMODEL_NAME not in objects:
        return _Listing(_choose(objects, ("",), where=uri))
    layout = parse_mlmodel(store.read_bytes(MLMODEL_NAME), where=uri)
    if layout.graph:
        return _list_graph(objects, layout.graph, where=uri)
    return _Listing(_choose(objects, tuple(f"{folder}/" for folder in layout.folders), where=uri))


def _choose(objects: "Mapping[str, StoredObject]", prefixes: Sequence[str], *, where: str) -> "dict[str, StoredObject]":
    """Return the files of a checkpoint that lies in one folder or several, by their names in its copy."""
    from prep_triton.export.folder import CHECKPOINT_FILES, CONFIG_NAME, PICKLE_FILES

    below = {
        name.removeprefix(prefix): stored
        for prefix in reversed(prefixes)  # what the first of them holds wins
        for name, stored in objects.items()
        if name.startswith(prefix)
    }
    chosen = {name: stored for name, stored in below.items() if _matches(name, CHECKPOINT_FILES)}
    if CONFIG_NAME not in chosen:
        folders = " and ".join(f"'{prefix}'" for prefix in prefixes if prefix)
        raise SourceError(
            f"there is no checkpoint at {where}: no {CONFIG_NAME} among {len(objects)} objects"
            + (f", in {folders}" if folders else ""),
            hint="name the folder that save_pretrained() wrote and that holds config.json, or a .onnx file",
        )
    if not any(name.endswith(".safetensors") for name in chosen):
        chosen |= {name: stored for name, stored in below.items() if _matches(name, PICKLE_FILES)}
    return chosen


def _list_graph(objects: "Mapping[str, StoredObject]", graph: str, *, where: str) -> _Listing:
    """Return a graph, its weights beside it, and the checkpoint's small files that lie there."""
    from prep_triton.export.folder import CHECKPOINT_FILES

    if graph not in objects:
        raise SourceError(f"there is no {graph} at {where}", hint="check the path of the .onnx file")
    folder, slash, name = graph.rpartition("/")
    below = {
        key.removeprefix(folder + slash): stored for key, stored in objects.items() if key.startswith(folder + slash)
    }
    patterns = (name, f"{name}.data", f"{name}_data", "*.data", "*_data", *CHECKPOINT_FILES)
    chosen = {key: stored for key, stored in below.items() if _matches(key, patterns)}
    return _Listing(chosen, graph=name)


def _matches(name: str, patterns: Sequence[str]) -> bool:
    """Whether a name is one of a pattern, folder by folder: a ``*`` matches no slash."""
    parts = name.split("/")
    for pattern in patterns:
        expected = pattern.split("/")
        if len(parts) == len(expected) and all(map(fnmatchcase, parts, expected)):
            return True
    return False


def _download(store: "Store", listing: _Listing, folder: Path, progress: Progress) -> None:
    from prep_triton.publish.checksum import crc32c_of_file
    from prep_triton.publish.store import check_object_name

    total, moved = sum(stored.size for stored in listing.objects.values()) or 1, 0
    progress(f"fetching {len(listing.objects)} files", 0.0)
    for name, stored in listing.objects.items():
        try:
            check_object_name(name, where=store.uri)
        except SpecError as err:
            raise SourceError(err.message, hint="rename the object") from err
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        store.download_file(stored.name, path)
        if path.stat().st_size != stored.size or (stored.crc32c and crc32c_of_file(path) != stored.crc32c):
            raise SourceError(f"{store.uri}/{stored.name} changed while it was fetched", hint="run the command again")
        moved += stored.size
        progress(f"fetching {len(listing.objects)} files", moved / total)
