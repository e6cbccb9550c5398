"""What a workspace and the repositories made of it hold: what is large, old, current, and made of what.

Manifests are read, and no file is digested. Whatever else lies in a workspace's folder is not prep's and not looked at.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict

from prep_triton.artifact import Artifact, Record, RepositoryEntry
from prep_triton.errors import WorkspaceError
from prep_triton.layout import (
    CURRENT_KEY_NAME,
    INPUTS_SUFFIX,
    LOCK_NAME,
    LOCKS_DIR,
    STAGING_PREFIX,
    TIMING_CACHES_DIR,
    VERIFIED_DIR,
    timing_cache_name,
)
from prep_triton.manifest import load_artifact, load_manifest
from prep_triton.run.disk_use import measure_size
from prep_triton.workspace import Workspace

Kind = Literal[
    "source", "model", "graph", "engine", "entry", "calibration", "gate", "choice", "verification", "benchmark"
]

# In the order of the work. `prep list` shows the first ones, and `prep gc` what nothing needs of all of them.
KIND_BY_STAGE: dict[str, Kind] = {
    "source": "source",
    "export": "model",
    "precision": "graph",
    "engine": "engine",
    "entry": "entry",
    "calibration": "calibration",
    "gate": "gate",
    "choice": "choice",
    "verify": "verification",
    "bench": "benchmark",
}
# What an entry is built from, and what is kept for its own sake; the others were measured of these.
BUILT: tuple[Kind, ...] = ("source", "model", "graph", "engine", "entry")

# Whose artifacts are called as their model.
_NAMED_AS_MODEL = ("source", "export")


class Item(Record):
    """An artifact of the workspace, or an entry of a repository.

    `id` is stage, name and key; of an entry, ``entry``, its repository and its name. `model` names the exported model
    that it is of, where that is known. `used_at` is when a run made or found it last. `uses` are the ids of what it was
    made of, as far as that is kept here, and `used_by` of what was made of it. `damage` says what is wrong with its
    files: it counts as absent.
    """

    id: str
    kind: Kind
    name: str
    key: str
    model: str | None = None
    is_current: bool
    size_bytes: int
    made_at: datetime
    used_at: datetime
    detail: str = ""
    uses: tuple[str, ...] = ()
    used_by: tuple[str, ...] = ()
    damage: str | None = None


@dataclass(frozen=True)
class Leftover:
    """A path that is no artifact: what a killed run left, a mark of what is gone, a timing cache.

    `key` is that of the artifact which it was to become or is a mark of; whoever would make it again holds `lock`.
    """

    path: Path
    what: Literal["staging", "mark", "timing cache"]
    key: str = ""
    lock: Path | None = None


@dataclass
class Inventory:
    """Items in the order of the work, their folders and the keys that they were made of by id, and leftovers.

    `timing_caches` are the names of those that the engines were built with.
    """

    items: list[Item] = field(default_factory=list)
    folders: dict[str, Path] = field(default_factory=dict)
    inputs: dict[str, frozenset[str]] = field(default_factory=dict)
    leftovers: list[Leftover] = field(default_factory=list)
    timing_caches: set[str] = field(default_factory=set)


class _Summary(Artifact):
    """What the manifests of all stages have, and a few fields of some."""

    model_config = ConfigDict(extra="ignore")

    source: str = ""
    precision: str = ""
    task: str = ""
    gpu: str = ""
    builder_version: str = ""
    compute_capability: str = ""
    kept: str = ""


def take_inventory(workspace: Workspace, repositories: Sequence[Path] = ()) -> Inventory:
    """List what a workspace and repositories hold; what is not there is empty.

    Args:
        workspace: The artifacts.
        repositories: Triton model repositories that were assembled from it.
    """
    inventory = Inventory()
    for stage in KIND_BY_STAGE:
        for name_dir in _list_folders(workspace.root / stage):
            _add_name(inventory, workspace, stage, name_dir)
    for repository_dir in repositories:
        if repository_dir.is_dir():
            for folder in _list_folders(repository_dir):
                if not folder.name.startswith("."):
                    _add_entry(inventory, folder)
            staged = sorted(repository_dir.glob(f"{STAGING_PREFIX}*"))
            lock = repository_dir / LOCK_NAME
            inventory.leftovers += [Leftover(path, "staging", lock=lock) for path in staged]
    _connect(inventory)
    inventory.leftovers += _list_leftovers(workspace, inventory)
    return inventory


def _add_name(inventory: Inventory, workspace: Workspace, stage: str, name_dir: Path) -> None:
    current = workspace.current_key(stage, name_dir.name)
    for folder in _list_folders(name_dir):
        if folder.name.startswith(STAGING_PREFIX):
            key = folder.name.removeprefix(STAGING_PREFIX)
            lock = workspace.lock_path(stage, name_dir.name, key)
            inventory.leftovers.append(Leftover(folder, "staging", key, lock))
            continue
        used_at = datetime.fromtimestamp(folder.stat().st_mtime, UTC)
        item_id = f"{stage}/{name_dir.name}/{folder.name}"
        damage = None
        try:
            summary = load_artifact(folder, _Summary)
        except WorkspaceError as err:
            summary, damage = _Summary(name=name_dir.name, created_at=used_at), err.message
        inventory.folders[item_id] = folder
        inventory.inputs[item_id] = frozenset(summary.inputs.values())
        item = Item(
            id=item_id,
            kind=KIND_BY_STAGE[stage],
            name=name_dir.name,
            key=folder.name,
            model=name_dir.name if stage in _NAMED_AS_MODEL else None,
            is_current=folder.name == current,
            size_bytes=measure_size(folder),
            made_at=summary.created_at,
            used_at=used_at,
            detail=", ".join(filter(None, (summary.task, summary.precision or summary.kept, summary.gpu))),
            damage=damage,
        )
        inventory.items.append(item)
        if item.kind == "engine":
            name = timing_cache_name(summary.builder_version, summary.compute_capability)
            inventory.timing_caches.add(name)


def _add_entry(inventory: Inventory, folder: Path) -> None:
    """Add an entry, also one that was edited by hand: it was built from what its manifest says all the same."""
    try:
        entry = load_manifest(folder, RepositoryEntry)
    except (OSError, ValueError):
        return
    item_id = f"entry/{folder}"
    engines = {engine.key for engine in entry.engines}
    keys = {*entry.inputs.values(), *engines, *([entry.onnx.key] if entry.onnx else [])}
    inventory.folders[item_id] = entry.folder
    inventory.inputs[item_id] = frozenset(keys)
    item = Item(
        id=item_id,
        kind="entry",
        name=entry.name,
        key=entry.key,
        is_current=True,
        size_bytes=measure_size(entry.folder),
        made_at=entry.created_at,
        used_at=entry.created_at,
        detail=f"{entry.task}, {entry.runtime}, {entry.folder.parent}",
    )
    inventory.items.append(item)


def _connect(inventory: Inventory) -> None:
    """Fill in what each item is made of, what is made of it, and its model."""
    by_key: dict[str, list[Item]] = {}
    for item in inventory.items:
        by_key.setdefault(item.key, []).append(item)
    uses = {
        item.id: tuple(used.id for key in sorted(inventory.inputs[item.id]) for used in by_key.get(key, ()))
        for item in inventory.items
    }
    models: dict[str, str] = {item.id: item.model for item in inventory.items if item.model}
    for item in inventory.items:  # in the order of the work: what it is made of comes before it
        if model := next((models[used] for used in uses[item.id] if used in models), None):
            models.setdefault(item.id, model)
    used_by: dict[str, list[str]] = {}
    for user, used in uses.items():
        for item_id in used:
            used_by.setdefault(item_id, []).append(user)
    inventory.items = [
        item.model_copy(
            update={
                "uses": uses[item.id],
                "used_by": tuple(used_by.get(item.id, ())),
                "model": models.get(item.id),
            }
        )
        for item in inventory.items
    ]


def _list_leftovers(workspace: Workspace, inventory: Inventory) -> Iterator[Leftover]:
    """Yield marks of artifacts that are gone, what killed runs left beside locks, and every timing cache."""
    kept = {item.id for item in inventory.items}
    marks_dir = workspace.root / VERIFIED_DIR
    for path in sorted(marks_dir.glob("*/*/*.json")):
        if path.relative_to(marks_dir).with_suffix("").as_posix() not in kept:
            yield Leftover(path, "mark", path.stem)
    for path in sorted((workspace.root / LOCKS_DIR).glob(f"*{INPUTS_SUFFIX}")):
        yield Leftover(path, "staging", path.stem.rpartition("-")[2], path.with_suffix(LOCK_NAME))
    for path in sorted((workspace.root / TIMING_CACHES_DIR).glob("*")):
        if path.is_file():
            yield Leftover(path, "timing cache")


def load_inputs(path: Path) -> frozenset[str]:
    """Return the keys of what the holder of a lock reads; none where that cannot be read."""
    try:
        keys = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return frozenset()
    return frozenset(map(str, keys)) if isinstance(keys, list) else frozenset()


def _list_folders(folder: Path) -> list[Path]:
    """Return the folders in a folder, by name, but for what its pointer is."""
    try:
        paths = sorted(folder.iterdir())
    except OSError:
        return []
    return [path for path in paths if path.is_dir() and not path.is_symlink() and path.name != CURRENT_KEY_NAME]
