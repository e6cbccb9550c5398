"""The plan of a publish: which bytes go up, which are copied in the store, which are there already."""

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from pathlib import Path

from prep_triton import __version__
from prep_triton.artifact import RepositoryEntry
from prep_triton.errors import ReleaseDamagedError, RepositoryError, SpecError, StoreError
from prep_triton.layout import RELEASE_NAME, folder_of_release
from prep_triton.progress import Progress, ignore_progress
from prep_triton.publish.catalog import (
    PointerState,
    find_newest,
    find_release,
    iterate_releases,
    list_ids,
    read_pointer,
)
from prep_triton.publish.check import find_faults, is_same
from prep_triton.publish.record import (
    Release,
    ReleaseFile,
    artifact_from_release_entry,
    digest_content,
    is_id_of_content,
    moment_from_release_id,
    release_entry_from_artifact,
    release_id_from_content,
)
from prep_triton.publish.reports import is_unfit, load_report
from prep_triton.publish.repository import (
    LocalRepository,
    check_digest,
    find_git_revision,
    scan_repository,
)
from prep_triton.publish.store import READ_THREADS, Store, StoredObject, store_error_from_os
from prep_triton.publish.transfer import digest_files
from prep_triton.server_arguments import merge_server_arguments
from prep_triton.target import DOUBTS, Target, find_misfits

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Kept:
    """Entries of the current release that go into the next one as they are: their manifests and files."""

    entries: Sequence[RepositoryEntry] = ()
    files: Mapping[str, ReleaseFile] = field(default_factory=dict)


@dataclass(frozen=True)
class _Content:
    """What a release would hold: a repository, what is kept from the current release, and the server it is for."""

    repository: LocalRepository
    kept: _Kept
    target: Target | None

    @property
    def entries(self) -> list[RepositoryEntry]:
        """All entries, by name."""
        return sorted((*self.repository.entries, *self.kept.entries), key=lambda entry: entry.name)

    @cached_property
    def digest(self) -> str:
        """The hex SHA-256 of the entries and of the server."""
        return digest_content((entry.model_dump(mode="json") for entry in self.entries), self.target)


@dataclass(frozen=True)
class ReleasePlan:
    """What publishing would do.

    `release` is what would be made or, where `is_published`, what holds the same content already. Of its files
    `paths` says where each lies here, `present` which are there already (with their generation), left by a run that
    was killed, and `copies` which object of an earlier release each of the others can be copied from.

    `state` is the pointer before anything was done, and `current` the release that it names, None where there is none
    that can be read. `kept` are the names of the entries that are taken from it.
    """

    release: Release
    state: PointerState
    current: Release | None = None
    kept: tuple[str, ...] = ()
    is_published: bool = False
    paths: Mapping[str, Path] = field(default_factory=dict)
    present: Mapping[str, int] = field(default_factory=dict)
    copies: Mapping[str, StoredObject] = field(default_factory=dict)

    @property
    def uploads(self) -> list[str]:
        """The names of the files whose bytes go up."""
        return [name for name in self.paths if name not in self.present and name not in self.copies]

    def size_of(self, names: Iterable[str]) -> int:
        """Return the bytes of some of the release's files."""
        return sum(self.release.files[name].size for name in names)


def _check_apart(repository_dir: Path, store: Store) -> None:
    """Refuse a store within the repository: a server would take its folders for entries, and so would the next run.

    Raises:
        SpecError: It lies there.
    """
    if not store.uri.startswith("gs://") and Path(store.uri).resolve().is_relative_to(repository_dir.resolve()):
        raise SpecError(f"{store.uri} lies within the repository {repository_dir}", hint="name a folder outside of it")


def plan_release(
    repository_dir: Path,
    store: Store,
    *,
    entries: Sequence[str] | None = None,
    kept: Collection[str] = (),
    target: Target | None = None,
    progress: Progress = ignore_progress,
) -> ReleasePlan:
    """Return what `publish_release` would do now; writes nothing.

    Args:
        repository_dir: A model repository that `prep assemble` or `prep run` wrote.
        store: Where to.
        entries: The entries to publish; all that have a manifest where None.
        kept: Entries of the current release to keep as they are, as far as it has them, with those that serve them.
        target: The server that the release is for; nothing is checked against one where None.
        progress: Receives the share of bytes checked.

    Raises:
        SpecError: The store lies within the repository.
        RepositoryError: The repository is not whole (see `scan_repository`), or does not fit the target.
        StoreError: The store refused or failed.
    """
    _check_apart(repository_dir, store)
    repository = scan_repository(repository_dir, entries)
    check_target(repository.entries, target)
    store.check_access()
    state = read_pointer(store)
    if state.damage:
        log.warning("%s; it is replaced", state.damage.message)
    current = find_release(store, state.pointer.release) if state.pointer else None
    content = _Content(repository, _find_kept(store, current, kept, target), target)
    newest = find_newest(store)
    plan = partial(ReleasePlan, state=state, current=current, kept=tuple(entry.name for entry in content.kept.entries))
    for release in (current, newest, *_find_refused(store, content.digest)):
        if release and release.content_digest == content.digest and _is_whole(store, release):
            return plan(release, is_published=True)
    planned = _describe(content, progress)
    finished, planned, present = _choose_id(planned, newest, store)
    if finished:
        return plan(finished, is_published=True)
    missing = {name: file for name, file in planned.files.items() if name not in present}
    paths = {name: file.path for name, file in repository.files.items()}
    return plan(planned, paths=paths, present=present, copies=find_copies(store, missing))


def check_target(entries: Iterable[RepositoryEntry], target: Target | None) -> None:
    """Refuse entries that the server of the release would not load; warn of what is in doubt.

    Raises:
        RepositoryError: One does not fit: the sentence has both versions, the hint the command that rebuilds.
    """
    if target is None:
        return
    misfits = []
    for misfit in (misfit for entry in entries for misfit in find_misfits(entry, target)):
        if misfit.code in DOUBTS:
            log.warning("%s; %s", misfit.message, misfit.hint)
        else:
            misfits.append(misfit)
    if misfits:
        more = f" (and {len(misfits) - 1} more)" if len(misfits) > 1 else ""
        raise RepositoryError(f"{misfits[0].message}{more}", hint=misfits[0].hint)


def find_copies(store: Store, files: Mapping[str, ReleaseFile]) -> dict[str, StoredObject]:
    """Find objects of earlier releases, the newest first, that hold the content of files.

    Content is the same where size, SHA-256 and CRC32C are; and the object must still have that size and CRC32C.
    """
    remaining, copies = dict(files), dict[str, StoredObject]()
    if not remaining:
        return copies
    with ThreadPoolExecutor(READ_THREADS) as pool:
        for release in iterate_releases(store, list_ids(store)):
            folder = folder_of_release(release.id)
            by_content = {file: f"{folder}{name}" for name, file in release.files.items()}
            sources = {name: by_content[file] for name, file in remaining.items() if file in by_content}
            for name, source in zip(sources, pool.map(store.stat, sources.values()), strict=True):
                if source and is_same(source, remaining[name]):
                    copies[name] = source
                    del remaining[name]
            if not remaining:
                break
    return copies


def _find_refused(store: Store, content_digest: str) -> Iterator[Release]:
    """Find older releases of some content that did not become current because they were worse, or failed.

    A nightly in which the same model fails again publishes the same again: it is not stored once for each night.
    """
    for release_id in list_ids(store):
        if is_id_of_content(release_id, content_digest) and is_unfit(load_report(store, release_id)):
            release = find_release(store, release_id)
            if release:
                yield release


def _is_whole(store: Store, release: Release) -> bool:
    """Return whether a release's objects are what it says: one of the same content that is not is made anew."""
    faults = find_faults(store, release)
    if faults:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        log.warning("%s is damaged: %s%s; its content is published anew", release.id, faults[0], more)
    return not faults


def _find_kept(store: Store, current: Release | None, names: Collection[str], target: Target | None) -> _Kept:
    """Return what can be kept; an entry that is lost, cannot be read or does not fit holds up no other."""
    if current is None or not names:
        return _Kept()
    entries = []
    for record in current.entries:
        if record.name not in names and record.serves not in names:
            continue
        try:
            entry = artifact_from_release_entry(record)
            check_target([entry], target)
            _check_kept_files(store, current, entry.name)
        except (StoreError, RepositoryError) as err:
            log.warning("%s of the current release is not kept: %s", record.name, err.message)
        else:
            entries.append(entry)
    kept = {entry.name for entry in entries}
    return _Kept(entries, {name: file for name, file in current.files.items() if name.partition("/")[0] in kept})


def _check_kept_files(store: Store, current: Release, entry_name: str) -> None:
    """Refuse an entry of which a file can be copied from no release: there is no other place to take it from."""
    files = {name: file for name, file in current.files.items() if name.partition("/")[0] == entry_name}
    lost = sorted(files.keys() - find_copies(store, files).keys())
    if lost:
        raise ReleaseDamagedError(f"{current.uri}/{lost[0]} is missing or damaged", hint="make its model again")


def _describe(content: _Content, progress: Progress) -> Release:
    """Digest every file, compare it with its manifest, and return the planned release."""
    local_files = content.repository.files
    try:
        files = digest_files({name: file.path for name, file in local_files.items()}, progress)
    except OSError as err:
        raise store_error_from_os(err, "the repository") from err
    for name, local in local_files.items():
        if local.sha256 is not None:
            check_digest(local.path, files[name].sha256, local.sha256)
    now = datetime.now(UTC)
    entries = content.entries
    return Release(
        id=release_id_from_content(now, content.digest),
        created_at=now,
        prep_version=__version__,
        content_digest=content.digest,
        git_revision=find_git_revision(),
        target=content.target,
        server_arguments=merge_server_arguments(argument for entry in entries for argument in entry.server_arguments),
        entries=tuple(release_entry_from_artifact(entry) for entry in entries),
        files={**files, **content.kept.files},
    )


def _choose_id(
    planned: Release, newest: Release | None, store: Store
) -> tuple[Release | None, Release, dict[str, int]]:
    """Choose the id that a killed run of the same content left, or a new one.

    Returns:
        A release of the same content that somebody finished meanwhile, or None; the planned release with its id; and
        the generations of its files that are there already.
    """
    ids = list_ids(store)
    for release_id in ids:
        newer = newest is None or release_id > newest.id
        if newer and is_id_of_content(release_id, planned.content_digest):
            folder = folder_of_release(release_id)
            objects = {stored.name.removeprefix(folder): stored for stored in store.list_objects(folder)}
            if RELEASE_NAME in objects:  # finished in this moment, or damaged, or being removed
                finished = find_release(store, release_id)
                if finished and finished.content_digest == planned.content_digest and _is_whole(store, finished):
                    return finished, planned, {}
            elif all(name in planned.files and is_same(file, planned.files[name]) for name, file in objects.items()):
                present = {name: stored.generation for name, stored in objects.items()}
                return None, _with_id(planned, release_id, store), present
    moment = planned.created_at
    if newest and moment_from_release_id(newest.id) >= moment.replace(microsecond=0):
        # The newest release is the one with the greatest id, whatever this machine's clock says.
        moment = moment_from_release_id(newest.id) + timedelta(seconds=1)
    while (release_id := release_id_from_content(moment, planned.content_digest)) in ids:
        moment += timedelta(seconds=1)
    return None, _with_id(planned, release_id, store), {}


def _with_id(release: Release, release_id: str, store: Store) -> Release:
    uri = f"{store.uri}/{folder_of_release(release_id)}".rstrip("/")
    return release.model_copy(update={"id": release_id, "uri": uri})
