"""Releases: what a Triton server loads, immutable and whole.

::

    <store>/releases/<id>/<entry>/...      the repository's entries; Triton is given this folder
    <store>/releases/<id>/release.json     written last, after every object was checked

A reader that sees ``release.json`` sees everything; without it there is no release. Triton needs this
care: it copies whole model directories and loads half-uploaded ones, since it completes a missing config.
"""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pipeline import __version__
from pipeline.errors import PreconditionError, ReleaseExistsError, StoreError
from pipeline.progress import Progress, ignore_progress
from pipeline.publish.record import (
    RELEASE_NAME,
    RELEASES,
    Release,
    ReleaseEntry,
    ReleaseFile,
    check_release_id,
    folder_of_release,
    is_release_id,
    moment_from_release_id,
    parse_release,
    release_entry_from_artifact,
    release_id_from_content,
    render_release,
)
from pipeline.publish.source import LocalRepository, check_digest, find_git_revision, scan_repository
from pipeline.publish.store import Store, StoredObject, store_error_from_os
from pipeline.publish.transfer import digest_files, download_files, is_same, upload_files

__all__ = [
    "Published",
    "Release",
    "ReleaseEntry",
    "ReleaseFile",
    "fetch_reference_files",
    "latest_release",
    "list_releases",
    "load_release",
    "locate_release",
    "plan_release",
    "publish_release",
]

log = logging.getLogger(__name__)

_READ_THREADS = 8


@dataclass(frozen=True)
class Published:
    """A release, and what it took: `created` is False where the newest release had this content already."""

    release: Release
    uri: str
    created: bool
    uploaded_bytes: int
    uploaded_files: int


def plan_release(
    repository_dir: Path, store: Store, *, entries: Sequence[str] | None = None, progress: Progress = ignore_progress
) -> Release:
    """Return the release that `publish_release` would make now; writes nothing, asks the store nothing.

    Raises:
        RepositoryError: The repository is not whole; see `scan_repository`.
    """
    return _describe(scan_repository(repository_dir, entries), store, progress)


def publish_release(
    repository_dir: Path, store: Store, *, entries: Sequence[str] | None = None, progress: Progress = ignore_progress
) -> Published:
    """Publish a repository as a release, unless the newest release has the same content.

    What a killed run of the same content left is taken up again. Until ``release.json`` is written, which is the
    last thing done, no reader sees anything.

    Args:
        repository_dir: A model repository that `prep assemble` or `prep run` wrote.
        store: Where to.
        entries: The entries to publish; all that have a manifest where None.
        progress: Hears the share of bytes checked and uploaded.

    Raises:
        RepositoryError: The repository is not whole; see `scan_repository`.
        ReleaseExistsError: Another run published other content under the same id.
        StoreError: The store refused or failed, or holds something else than what was uploaded.
    """
    repository = scan_repository(repository_dir, entries)
    store.check_access()
    newest = latest_release(store)
    if newest and newest.content_digest == repository.content_digest:
        return _found(newest)
    planned = _describe(repository, store, progress)
    planned, present = _choose_id(planned, newest, store)
    folder = folder_of_release(planned.id)
    missing = {name: file for name, file in planned.files.items() if name not in present}
    if present:
        log.info("release %s: %d of %d files are there already", planned.id, len(present), len(planned.files))
    upload_files(store, folder, missing, {name: repository.files[name].path for name in missing}, progress)
    progress("checking the release")
    _check_objects(planned, store)
    release = _seal(planned, store)
    if release != planned:
        return _found(release)
    uploaded_bytes = sum(file.size for file in missing.values())
    return Published(release, release.uri, created=True, uploaded_bytes=uploaded_bytes, uploaded_files=len(missing))


def list_releases(store: Store) -> list[Release]:
    """Return the releases of a store, newest first; what has no ``release.json`` is not a release.

    Raises:
        StoreError: A ``release.json`` is damaged, or was made by a newer prep.
    """
    store.check_access()
    with ThreadPoolExecutor(_READ_THREADS) as pool:
        found = list(pool.map(lambda release_id: _read_release(store, release_id), _list_ids(store)))
    return [release for release in found if release is not None]


def latest_release(store: Store) -> Release | None:
    """Return the newest release of a store, or None; see `list_releases`."""
    found = (_read_release(store, release_id) for release_id in _list_ids(store))
    return next((release for release in found if release is not None), None)


def load_release(store: Store, release_id: str) -> Release:
    """Return one release.

    Raises:
        SpecError: The text is not an id.
        StoreError: There is no such release, or it is damaged, or was made by a newer prep.
    """
    check_release_id(release_id)
    store.check_access()
    release = _read_release(store, release_id)
    if release is None:
        raise StoreError(f"{store.uri} has no release {release_id}", hint=f"list them with prep releases {store.uri}")
    return release


def locate_release(uri: str) -> tuple[str, str | None]:
    """Split the URI of a release into its store's URI and its id; the id is None where the URI is a store's.

    Raises:
        SpecError: What follows ``/releases/`` is not an id.
    """
    head, slash, last = uri.rstrip("/").rpartition("/")
    if last == RELEASES and slash:
        return head, None
    store_uri, _, folder = head.rpartition("/")
    if folder != RELEASES:
        return uri, None
    check_release_id(last)
    return store_uri or ".", last


def fetch_reference_files(
    store: Store, release: Release, target_dir: Path, *, progress: Progress = ignore_progress
) -> Path:
    """Copy what a verifier needs of a release: every file directly in an entry's folder, so no model binaries.

    Returns:
        `target_dir`, which then holds ``<entry>/config.pbtxt``, ``manifest.json``, ``reference.npz`` and perhaps
        ``tokenizer.json`` of each entry.

    Raises:
        StoreError: A file is missing, or is not what the release says.
    """
    files = {name: file for name, file in release.files.items() if name.count("/") == 1}
    try:
        download_files(store, folder_of_release(release.id), files, target_dir, progress)
    except OSError as err:
        raise store_error_from_os(err, str(target_dir)) from err
    return target_dir


def _found(release: Release) -> Published:
    return Published(release, release.uri, created=False, uploaded_bytes=0, uploaded_files=0)


def _describe(repository: LocalRepository, store: Store, progress: Progress) -> Release:
    """Digest every file, compare it with its manifest, and say what the release would be."""
    try:
        files = digest_files({name: file.path for name, file in repository.files.items()}, progress)
    except OSError as err:
        raise store_error_from_os(err, "the repository") from err
    for name, local in repository.files.items():
        if local.sha256 is not None:
            check_digest(local.path, files[name].sha256, local.sha256)
    now = datetime.now(UTC)
    release = Release(
        id=release_id_from_content(now, repository.content_digest),
        created_at=now,
        prep_version=__version__,
        content_digest=repository.content_digest,
        git_revision=find_git_revision(),
        entries=tuple(release_entry_from_artifact(entry) for entry in repository.entries),
        files=files,
    )
    return _with_id(release, release.id, store)


def _with_id(release: Release, release_id: str, store: Store) -> Release:
    uri = f"{store.uri}/{folder_of_release(release_id)}".rstrip("/")
    return release.model_copy(update={"id": release_id, "uri": uri})


def _choose_id(planned: Release, newest: Release | None, store: Store) -> tuple[Release, set[str]]:
    """Take up what a killed run left of the same content, or find an id that nobody has.

    Returns:
        The release with its id, and the names of its files that are there already.
    """
    ids = _list_ids(store)
    for release_id in ids:
        newer = newest is None or release_id > newest.id
        if newer and release_id.endswith(planned.id.partition("-")[2]):
            objects = _list_files(release_id, store)
            expected = planned.files
            if all(name in expected and is_same(found, expected[name]) for name, found in objects.items()):
                return _with_id(planned, release_id, store), set(objects)
    moment = planned.created_at
    if newest and moment_from_release_id(newest.id) >= moment.replace(microsecond=0):
        # The newest release is the one with the greatest id, whatever this machine's clock says.
        moment = moment_from_release_id(newest.id) + timedelta(seconds=1)
    while (release_id := release_id_from_content(moment, planned.content_digest)) in ids:
        moment += timedelta(seconds=1)
    return _with_id(planned, release_id, store), set()


def _check_objects(planned: Release, store: Store) -> None:
    """Compare what the store lists with what was to be uploaded.

    Raises:
        StoreError: An object is missing, damaged, or not part of the release.
    """
    objects = _list_files(planned.id, store)
    for name in sorted(objects.keys() | planned.files.keys()):
        found, expected = objects.get(name), planned.files.get(name)
        if found is None or expected is None or not is_same(found, expected):
            told = f"{found.size} bytes, crc32c {found.crc32c}" if found else "missing"
            wanted = f"{expected.size} bytes, crc32c {expected.crc32c}" if expected else "no such object"
            raise StoreError(f"{planned.uri}/{name} is {told}, expected {wanted}", hint="publish again")


def _seal(planned: Release, store: Store) -> Release:
    """Write ``release.json``; where another run of the same content was first, return that run's release."""
    name = f"{folder_of_release(planned.id)}{RELEASE_NAME}"
    content = render_release(planned)
    try:
        store.write_bytes(name, content)
    except PreconditionError as err:
        there = store.read_bytes(name)
        if there == content:  # our own write, whose answer was lost
            return planned
        found = parse_release(there, uri=planned.uri)
        if found.content_digest != planned.content_digest:
            raise ReleaseExistsError(
                f"{planned.uri} is there already, with other content", hint="publish again"
            ) from err
        return found
    return planned


def _list_ids(store: Store) -> list[str]:
    """Return the ids under which there is anything, newest first."""
    return sorted(filter(is_release_id, store.list_folders(f"{RELEASES}/")), reverse=True)


def _list_files(release_id: str, store: Store) -> dict[str, StoredObject]:
    folder = folder_of_release(release_id)
    objects = {found.name.removeprefix(folder): found for found in store.list_objects(folder)}
    objects.pop(RELEASE_NAME, None)
    return objects


def _read_release(store: Store, release_id: str) -> Release | None:
    folder = folder_of_release(release_id)
    if store.stat(f"{folder}{RELEASE_NAME}") is None:
        return None
    return parse_release(store.read_bytes(f"{folder}{RELEASE_NAME}"), uri=f"{store.uri}/{folder}".rstrip("/"))
