"""A release checked where it lies: every object is there, with its size and checksum, and nothing else is."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from prep_triton.errors import ReleaseDamagedError
from prep_triton.layout import RELEASE_NAME, folder_of_release
from prep_triton.publish.record import Release, ReleaseFile, find_record_faults
from prep_triton.publish.store import (
    READER_PERMISSIONS,
    WRITER_PERMISSIONS,
    Store,
    StoredObject,
)

log = logging.getLogger(__name__)

READER_ROLES = "roles/storage.objectViewer and roles/storage.legacyBucketReader"
WRITER_ROLE = "roles/storage.objectAdmin"


@dataclass(frozen=True)
class Permissions:
    """What this account lacks to publish, and to load as Triton does; None where the store does not say."""

    missing_to_publish: tuple[str, ...] | None
    missing_to_serve: tuple[str, ...] | None


def find_faults(store: Store, release: Release, *, generations: Mapping[str, int] | None = None) -> list[str]:
    """Return what is wrong with a release's record and its objects, one sentence each.

    Args:
        store: Where the release is.
        release: What it says of itself.
        generations: For some of its files, the generation that must still be there.
    """
    objects, faults = list_files(store, release.id), find_record_faults(release)
    for name in sorted(objects.keys() | release.files.keys()):
        stored, file = objects.get(name), release.files.get(name)
        if stored is None or file is None or not is_same(stored, file):
            actual = f"{stored.size} bytes, crc32c {stored.crc32c}" if stored else "missing"
            expected = f"{file.size} bytes, crc32c {file.crc32c}" if file else "no such object"
            faults.append(f"{release.uri}/{name} is {actual}, expected {expected}")
        elif generations and stored.generation != generations.get(name, stored.generation):
            faults.append(f"{release.uri}/{name} was written again, as generation {stored.generation}")
    return faults


def check_release(store: Store, release: Release, *, generations: Mapping[str, int] | None = None) -> None:
    """Refuse a release whose objects are not what it says; see `find_faults`.

    Raises:
        ReleaseDamagedError: An object is missing, damaged, or not part of the release.
    """
    faults = find_faults(store, release, generations=generations)
    if faults:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise ReleaseDamagedError(f"{faults[0]}{more}", hint="publish again")


def list_files(store: Store, release_id: str) -> dict[str, StoredObject]:
    """Return the objects of a release by their name in it, without its ``release.json``."""
    folder = folder_of_release(release_id)
    objects = {stored.name.removeprefix(folder): stored for stored in store.list_objects(folder)}
    objects.pop(RELEASE_NAME, None)
    return objects


def is_same(stored: StoredObject, file: ReleaseFile) -> bool:
    """Return whether an object has the size and CRC32C that a release says."""
    return (stored.size, stored.crc32c) == (file.size, file.crc32c)


def find_missing_permissions(store: Store) -> Permissions:
    """Return what this account may not do with a whole store.

    A bucket knows its own grants: one on a part of it alone, by a condition or a managed folder, counts as missing
    here. So the result is for a warning and refuses nothing.
    """
    granted = store.find_permissions()
    if granted is None:
        return Permissions(None, None)
    missing = [
        tuple(name for name in names if name not in granted) for names in (WRITER_PERMISSIONS, READER_PERMISSIONS)
    ]
    return Permissions(missing_to_publish=missing[0], missing_to_serve=missing[1])


def warn_of_missing_permissions(store: Store) -> None:
    """Warn before the first upload of what would fail at the end: to replace the pointer takes one more permission."""
    missing = find_missing_permissions(store).missing_to_publish
    if missing is None:
        log.debug("%s does not say which permissions this account has: not checked", store.uri)
    elif missing:
        log.warning(
            "this account lacks %s on the bucket of %s; unless it was granted on a part of it, publishing will fail: "
            "grant %s",
            ", ".join(missing),
            store.uri,
            WRITER_ROLE,
        )
