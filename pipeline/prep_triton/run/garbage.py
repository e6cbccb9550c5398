"""What of a workspace nothing needs any more, and its removal: what `prep gc` does.

Kept are what every name means now, what a repository's entry or one of these was built from, and what a run that is at
work makes or reads. What was measured (gates, verifications, calibration ranges, choices) stays with what it was
measured of. The rest goes: all of it, what was not used for some time, or the longest unused until the workspace is
small enough. What counts as absent anyway (damaged artifacts, what killed runs left) goes in any case.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from prep_triton.artifact import Record
from prep_triton.errors import SpecError, suggest
from prep_triton.files import is_locked, remove_tree, translate_os_errors, try_lock
from prep_triton.layout import INPUTS_SUFFIX, LOCK_NAME, LOCKS_DIR
from prep_triton.run.disk_use import DiskUse, list_files
from prep_triton.run.inventory import BUILT, Inventory, Item, Leftover, load_inputs, take_inventory
from prep_triton.workspace import Workspace


@dataclass(frozen=True)
class GarbageSpec:
    """What may go of what nothing needs: `older_than` since its last use; until `to_bytes` are left; None is all.

    `models` are exported models of which everything may go, current or not.
    """

    older_than: timedelta | None = None
    to_bytes: int | None = None
    models: tuple[str, ...] = ()


class Garbage(Record):
    """Something removed, or to be removed; `size_bytes` is what its removal frees, after those before it."""

    what: str
    path: str
    reason: str
    size_bytes: int
    used_at: datetime | None = None


@dataclass(frozen=True)
class GarbageReport:
    """What was removed, or in a dry run would be; how large the workspace was, and is afterwards.

    `busy` is what stayed because a run holds it, or began to use it meanwhile; `kept_by` are the entries for which what
    they were built from stayed, although its model was named.
    """

    removed: tuple[Garbage, ...]
    busy: tuple[str, ...]
    kept_by: tuple[str, ...]
    size_before: int
    size_after: int
    dry_run: bool


@dataclass(frozen=True)
class _Candidate:
    path: Path
    what: str
    reason: str
    item: Item | None = None
    leftover: Leftover | None = None


def collect_garbage(
    workspace: Workspace, repositories: Sequence[Path], spec: GarbageSpec, *, dry_run: bool = True
) -> GarbageReport:
    """Remove what nothing needs.

    Args:
        workspace: Where to look.
        repositories: What was assembled from it: their entries keep what they were built from.
        spec: What may go.
        dry_run: Say what would be removed, and remove nothing.

    Raises:
        SpecError: There is no such model.
        WorkspaceError: Something cannot be removed; what was removed so far is gone, the rest is whole.
    """
    inventory = take_inventory(workspace, repositories)
    _check_models(inventory, spec, workspace)
    held = find_held_keys(workspace)
    certain, others = _find_candidates(inventory, spec, held)
    disk = DiskUse(workspace.root)
    size_before = disk.total
    removed: list[Garbage] = []
    busy: list[str] = []
    for number, candidate in enumerate([*certain, *others]):
        if number >= len(certain) and spec.to_bytes is not None and disk.total <= spec.to_bytes:
            break
        names = [name for path in _paths_of(workspace, candidate) for name in list_files(path)]
        if dry_run or _remove(workspace, candidate, spec):
            removed.append(_describe(candidate, disk.forget(names)))
        else:
            busy.append(str(candidate.path))
    kept_by = tuple(
        str(inventory.folders[item.id])
        for item in inventory.items
        if item.kind == "entry" and item.model in spec.models
    )
    return GarbageReport(tuple(removed), tuple(busy), kept_by, size_before, disk.total, dry_run)


def _paths_of(workspace: Workspace, candidate: _Candidate) -> list[Path]:
    """Return what goes with a candidate: an artifact's marks too."""
    if candidate.item is None:
        return [candidate.path]
    stage = candidate.path.parent.parent.name
    return [candidate.path, workspace.marks_path(stage, candidate.item.name, candidate.item.key)]


def _describe(candidate: _Candidate, size_bytes: int) -> Garbage:
    return Garbage(
        what=candidate.what,
        path=str(candidate.path),
        reason=candidate.reason,
        size_bytes=size_bytes,
        used_at=candidate.item.used_at if candidate.item else None,
    )


def find_unneeded(inventory: Inventory, spec: GarbageSpec, held: "HeldKeys") -> list[Item]:
    """Return the items that nothing needs, whatever their age; the longest unused first."""
    kept = _keys_in_use(inventory, spec, held)
    built = [item for item in inventory.items if item.kind in BUILT and item.kind != "entry" and item.key not in kept]
    gone = {item.key for item in built}
    there = {item.key for item in inventory.items} - gone
    measured = [
        item
        for item in inventory.items
        if item.kind not in BUILT
        and item.key not in held.all
        and (not item.is_current or item.model in spec.models or not inventory.inputs[item.id] <= there)
    ]
    return sorted([*built, *measured], key=lambda item: item.used_at)


@dataclass(frozen=True)
class HeldKeys:
    """What runs that are at work make, and what they read for it."""

    made: frozenset[str] = frozenset()
    read: frozenset[str] = frozenset()

    @property
    def all(self) -> frozenset[str]:
        """All of them."""
        return self.made | self.read


def find_held_keys(workspace: Workspace) -> HeldKeys:
    """Look which artifacts other runs hold at this moment."""
    made: set[str] = set()
    read: set[str] = set()
    for path in sorted((workspace.root / LOCKS_DIR).glob(f"*{LOCK_NAME}")):
        if is_locked(path):
            made.add(path.stem.rpartition("-")[2])
            read |= load_inputs(path.with_suffix(INPUTS_SUFFIX))
    return HeldKeys(frozenset(made), frozenset(read))


def _keys_in_use(inventory: Inventory, spec: GarbageSpec, held: HeldKeys) -> set[str]:
    """Return the keys of what is current, of what entries serve and runs hold, and of all that these are built from."""
    inputs: dict[str, set[str]] = {}
    for item in inventory.items:
        inputs.setdefault(item.key, set()).update(inventory.inputs[item.id])
    open_keys = set(held.all)
    for item in inventory.items:
        is_root = item.kind == "entry" or (item.kind in BUILT and item.is_current and item.model not in spec.models)
        if is_root and not item.damage:
            open_keys.add(item.key)
    kept: set[str] = set()
    while open_keys:
        key = open_keys.pop()
        kept.add(key)
        open_keys |= inputs.get(key, set()) - kept
    return kept


def _find_candidates(
    inventory: Inventory, spec: GarbageSpec, held: HeldKeys
) -> tuple[list[_Candidate], list[_Candidate]]:
    """Return what goes in any case, and what goes by age and size, the longest unused first."""
    damaged = [item for item in inventory.items if item.damage and item.key not in held.all]
    certain = [_Candidate(inventory.folders[item.id], item.kind, "damaged", item) for item in damaged]
    certain += [
        _Candidate(leftover.path, leftover.what, reason, leftover=leftover)
        for leftover in inventory.leftovers
        if (reason := _reason_of_leftover(leftover, inventory, held))
    ]
    unneeded = [item for item in find_unneeded(inventory, spec, held) if not item.damage]
    now = datetime.now(UTC)
    aged = [item for item in unneeded if spec.older_than is None or now - item.used_at >= spec.older_than]
    return certain, [_Candidate(inventory.folders[item.id], item.kind, _reason(item, spec), item) for item in aged]


def _reason_of_leftover(leftover: Leftover, inventory: Inventory, held: HeldKeys) -> str | None:
    """Say why a leftover goes; None where it stays."""
    if leftover.what == "timing cache":
        is_used = leftover.path.name in inventory.timing_caches or held.made  # perhaps by the first engine of its kind
        return None if is_used else "of no engine that is here"
    if leftover.key in held.made:
        return None
    return "left by a killed run" if leftover.what == "staging" else "of an artifact that is gone"


def _reason(item: Item, spec: GarbageSpec) -> str:
    if item.model in spec.models:
        return f"of {item.model}"
    if item.kind in BUILT:
        return "not current"
    return "of what is gone, or not current"


def _remove(workspace: Workspace, candidate: _Candidate, spec: GarbageSpec) -> bool:
    """Remove a candidate; return False where a run has begun to hold or use it."""
    if item := candidate.item:
        stage = candidate.path.parent.parent.name
        and_current = item.damage is not None or item.model in spec.models or item.kind not in BUILT
        used_until = item.used_at.timestamp() + 1e-3  # as rounded
        return workspace.remove(stage, item.name, item.key, used_until=used_until, and_current=and_current)
    lock = candidate.leftover.lock if candidate.leftover else None
    with try_lock(lock) if lock else nullcontext(enter_result=True) as is_ours:
        if is_ours:
            with translate_os_errors(workspace.root):
                remove_tree(candidate.path)
    return is_ours


def _check_models(inventory: Inventory, spec: GarbageSpec, workspace: Workspace) -> None:
    known = sorted({item.model for item in inventory.items if item.model})
    for model in spec.models:
        if model not in known:
            raise SpecError(
                f"there is no model '{model}' in {workspace.root}",
                hint=suggest(model, known, otherwise=f"it holds {', '.join(known) or 'none'}"),
            )
