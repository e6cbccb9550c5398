"""Removing old releases, and what killed publishers left, without ever showing a reader half of one.

``release.json`` is deleted first: from then on there is no release, whatever objects are left, and a prune that is
killed leaves remains for the next one. A reader that had read ``release.json`` before (a `prep fetch`, a Triton that
starts) misses files and fails. So nothing that the pointer names is ever removed, and servers should load what was
current lately.

Remains have no ``release.json`` to delete, and their publisher may come back. So a tombstone is written in its place,
create-only as a publisher writes it: the first to write excludes the other.
"""

import logging
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

from prep_triton.errors import PreconditionError, SpecError
from prep_triton.layout import RELEASE_NAME, folder_of_release
from prep_triton.publish.catalog import find_release, list_ids, load_pointer
from prep_triton.publish.record import TOMBSTONE, Release
from prep_triton.publish.reports import delete_report
from prep_triton.publish.store import READ_THREADS, Store, StoredObject

log = logging.getLogger(__name__)

REMAINS_AFTER = timedelta(days=1)


@dataclass(frozen=True)
class Pruned:
    """Something removed, or to be removed: a release, or the remains of a publish or prune that was killed."""

    id: str
    kind: Literal["release", "remains"]
    files: int
    size: int


@dataclass(frozen=True)
class PruneReport:
    """What was removed, or in a dry run would be, and the releases that stay, newest first.

    `named` says of each that the pointer names what it is to it: current, previous or rolled back from.
    """

    removed: tuple[Pruned, ...]
    kept: tuple[str, ...]
    dry_run: bool
    named: Mapping[str, str] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of what was removed."""
        return sum(pruned.size for pruned in self.removed)


def prune_releases(store: Store, keep: int, *, dry_run: bool = True) -> PruneReport:
    """Remove all but the newest releases, and what killed publishers left more than a day ago.

    Never the current release, nor any other that the pointer names: those stay beyond the `keep` newest.

    Args:
        store: Where the releases are.
        keep: How many of the newest releases to keep, 1 or more.
        dry_run: Say what would be removed, and remove nothing.

    Raises:
        SpecError: `keep` is less than 1.
        StoreError: The store refused or failed; what was removed so far is gone, the rest is whole.
    """
    if keep < 1:
        raise SpecError(f"--keep is {keep}, expected 1 at least", hint="--keep 5")
    store.check_access()
    pointer = load_pointer(store)
    named = pointer.describe_named() if pointer else {}
    releases: dict[str, Release] = {}
    others: list[str] = []
    for release_id in list_ids(store):
        if release := find_release(store, release_id):
            releases[release_id] = release
        else:
            others.append(release_id)
    kept = [release_id for number, release_id in enumerate(releases) if number < keep or release_id in named]
    attempts = [_prune_release(store, old, dry_run=dry_run) for old in releases.values() if old.id not in kept]
    attempts += [_prune_remains(store, release_id, dry_run=dry_run) for release_id in others if release_id not in named]
    removed = tuple(pruned for pruned in attempts if pruned)
    removed_ids = {pruned.id for pruned in removed}
    stay = tuple(release_id for release_id in releases if release_id not in removed_ids)
    return PruneReport(removed, stay, dry_run, {name: what for name, what in named.items() if name in stay})


def _prune_release(store: Store, release: Release, *, dry_run: bool) -> Pruned | None:
    pruned = Pruned(release.id, "release", len(release.files), release.size)
    if dry_run:
        return pruned
    name = f"{folder_of_release(release.id)}{RELEASE_NAME}"
    seal = store.stat(name)
    if seal is None or _is_named(store, release.id):
        return None
    content = store.read_bytes(name)
    store.delete_object(name, if_generation_match=seal.generation)
    if _is_named(store, release.id):
        # Somebody made it current in this moment. Every file is there still: it comes back.
        store.write_bytes(name, content)
        log.warning("%s was made current while it was being removed: it stays", release.id)
        return None
    _delete(store, store.list_objects(folder_of_release(release.id)))
    delete_report(store, release.id)
    return pruned


def _prune_remains(store: Store, release_id: str, *, dry_run: bool) -> Pruned | None:
    folder = folder_of_release(release_id)
    objects = store.list_objects(folder)
    if not objects or max(stored.updated_at for stored in objects) > datetime.now(UTC) - REMAINS_AFTER:
        return None
    pruned = Pruned(release_id, "remains", len(objects), sum(stored.size for stored in objects))
    if dry_run:
        return pruned
    seal = next(
        (stored for stored in objects if stored.name == f"{folder}{RELEASE_NAME}"), None
    )  # damaged, or a tombstone
    try:
        stone = store.write_bytes(
            f"{folder}{RELEASE_NAME}", TOMBSTONE, if_generation_match=seal.generation if seal else 0
        )
    except PreconditionError:
        log.info("%s was finished meanwhile: it stays", release_id)
        return None
    _delete(store, [stored for stored in objects if stored is not seal])
    store.delete_object(stone.name, if_generation_match=stone.generation)
    delete_report(store, release_id)
    return pruned


def _is_named(store: Store, release_id: str) -> bool:
    pointer = load_pointer(store)
    return pointer is not None and release_id in pointer.named()


def _delete(store: Store, objects: Iterable[StoredObject]) -> None:
    with ThreadPoolExecutor(READ_THREADS) as pool:
        list(pool.map(lambda old: store.delete_object(old.name, if_generation_match=old.generation), objects))
