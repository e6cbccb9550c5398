"""Which releases a store holds, and the one way to find one of them by name: `resolve`."""

import logging
import re
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import NoReturn

from prep_triton.errors import ReleaseDamagedError, ReleaseMissingError, SpecError, StoreError
from prep_triton.layout import POINTER_NAME, RELEASE_NAME, RELEASES_DIR, folder_of_release
from prep_triton.publish.record import (
    TOMBSTONE,
    Pointer,
    Release,
    check_release_id,
    is_release_id,
    parse_pointer,
    parse_release,
)
from prep_triton.publish.reports import find_unfit
from prep_triton.publish.store import CREATE_ONLY, READ_THREADS, Store
from prep_triton.publish.uri import open_store

log = logging.getLogger(__name__)

CURRENT, PREVIOUS, NEWEST = "current", "previous", "newest"

# The beginning of an id that is worth a search: a day at least.
_BEGINNING = re.compile(r"[0-9]{8}[0-9TZa-f-]*")


@dataclass(frozen=True)
class PointerState:
    """What ``current.json`` held when it was read: `pointer` is None where there was none, or a damaged one.

    `generation` is the one that a move must replace; `damage` says what is wrong with a damaged pointer.
    """

    pointer: Pointer | None
    generation: int
    damage: ReleaseDamagedError | None = None


def resolve(store: Store, reference: str = CURRENT) -> Release:
    """Return the release that a reference names.

    ``current`` is the release that the pointer names or, where nothing was made current yet, the newest one that did
    not fail its verification, and a notice says so. ``previous`` is what was current before it, ``newest`` the one
    with the greatest id. Anything else is an id, the beginning of one, from its day on (``20260131``), or the URI of a
    release of this store.

    Raises:
        SpecError: The reference is none of these, or several releases begin with it.
        ReleaseMissingError: There is no such release.
        ReleaseDamagedError: The release is damaged, or the pointer is, or what it names is gone.
        StoreError: The store refused or failed, or a newer prep wrote what is there.
    """
    store.check_access()
    reference = _id_from_uri(store, reference)
    if reference == CURRENT:
        return _resolve_current(store)
    if reference == NEWEST:
        return find_newest(store) or _refuse_empty(store)
    release_id = _find_previous_id(store) if reference == PREVIOUS else _complete_id(store, reference)
    release = read_release(store, release_id)
    if release is None:
        raise ReleaseMissingError(f"{store.uri} has no release {release_id}", hint=f"prep releases {store.uri}")
    return release


def locate_release(uri: str, reference: str | None = None) -> tuple[Store, str]:
    """Open the store of a URI, which names a store or one of its releases (``<store>/releases/<id>``).

    Args:
        uri: ``gs://bucket/prefix``, a folder, or either with ``/releases`` or ``/releases/<id>`` after it.
        reference: The release in that store; ``current`` where neither it nor the URI names one.

    Returns:
        The store, and the reference for `resolve`.

    Raises:
        SpecError: The URI is not one, what follows ``/releases/`` is not an id, or the two name different releases.
    """
    head, _, last = uri.rstrip("/").rpartition("/")
    parent, _, folder = head.rpartition("/")
    if folder == RELEASES_DIR and last != RELEASES_DIR:
        check_release_id(last)
        if reference not in (None, last, uri.rstrip("/")):
            raise SpecError(f"{uri} is one release and --release names another", hint="leave --release out")
        return open_store(parent or "."), last
    store = open_store(uri)
    if last == RELEASES_DIR and head and not list_ids(store):  # else the store itself is called so
        store = open_store(head)
    return store, reference or CURRENT


def list_releases(store: Store) -> list[Release]:
    """Return the releases of a store, newest first; what has no ``release.json`` is not a release.

    One whose ``release.json`` is damaged is left out, with a warning.

    Raises:
        StoreError: A ``release.json`` was made by a newer prep.
    """
    store.check_access()
    return list(iterate_releases(store, list_ids(store)))


def iterate_releases(store: Store, ids: list[str]) -> Iterator[Release]:
    """Read the releases of some ids in their order, a few ahead at once; see `list_releases`."""
    with ThreadPoolExecutor(READ_THREADS) as pool:
        for first in range(0, len(ids), READ_THREADS):
            yield from filter(None, pool.map(partial(find_release, store), ids[first : first + READ_THREADS]))


def list_ids(store: Store) -> list[str]:
    """Return the ids under which there is anything, newest first."""
    return sorted(filter(is_release_id, store.list_folders(f"{RELEASES_DIR}/")), reverse=True)


def find_newest(store: Store, *, excluded: Collection[str] = ()) -> Release | None:
    """Return the release with the greatest id that is not excluded; None where there is none."""
    ids = [release_id for release_id in list_ids(store) if release_id not in excluded]
    return next(iterate_releases(store, ids), None)


def find_release(store: Store, release_id: str) -> Release | None:
    """Return the release of an id; None where there is none, or, with a warning, where it is damaged."""
    try:
        return read_release(store, release_id)
    except ReleaseDamagedError as err:
        log.warning("%s; %s", err.message, err.hint)
        return None


def read_release(store: Store, release_id: str) -> Release | None:
    """Return the release of an id, or None where nothing was finished under it, or it is being removed.

    Raises:
        ReleaseDamagedError: Its ``release.json`` is damaged.
        StoreError: It was made by a newer prep.
    """
    folder = folder_of_release(release_id)
    if store.stat(f"{folder}{RELEASE_NAME}") is None:
        return None
    try:
        content = store.read_bytes(f"{folder}{RELEASE_NAME}")
    except StoreError:
        if store.stat(f"{folder}{RELEASE_NAME}") is None:  # removed between the two requests
            return None
        raise
    log.debug("read %s/%s%s", store.uri, folder, RELEASE_NAME)
    return None if content == TOMBSTONE else parse_release(content, uri=f"{store.uri}/{folder}".rstrip("/"))


def load_pointer(store: Store) -> Pointer | None:
    """Return a store's pointer, or None where nothing was made current yet.

    Raises:
        ReleaseDamagedError: It cannot be read.
        StoreError: It was written by a newer prep.
    """
    state = read_pointer(store)
    if state.damage:
        raise state.damage
    return state.pointer


def read_pointer(store: Store) -> PointerState:
    """Return the pointer with the generation that its content has, so that a damaged one can be replaced.

    Raises:
        StoreError: It was written by a newer prep.
    """
    stored = store.stat(POINTER_NAME)
    while stored is not None:
        content = store.read_bytes(POINTER_NAME)
        again = store.stat(POINTER_NAME)
        if again and again.generation == stored.generation:  # not moved between the two requests
            log.debug("read %s/%s", store.uri, POINTER_NAME)
            try:
                return PointerState(parse_pointer(content, stored.generation, uri=store.uri), stored.generation)
            except ReleaseDamagedError as err:
                return PointerState(None, stored.generation, err)
        stored = again
    return PointerState(None, CREATE_ONLY)


def _resolve_current(store: Store) -> Release:
    pointer = load_pointer(store)
    if pointer is None:
        newest = find_newest(store, excluded=find_unfit(store)) or _refuse_empty(store)
        log.info("nothing under %s was made current yet: the newest release, %s, is taken", store.uri, newest.id)
        return newest
    release = read_release(store, pointer.release)
    if release is None:
        raise ReleaseDamagedError(
            f"current points at {pointer.release}, which is gone from {store.uri}",
            hint=f"name another release: prep rollback {store.uri} ID, or publish again",
        )
    return release


def _id_from_uri(store: Store, reference: str) -> str:
    """Return the id in the URI of a release of a store; anything else as it is."""
    parent, _, release_id = reference.rstrip("/").rpartition(f"/{RELEASES_DIR}/")
    if not parent or not is_release_id(release_id):
        return reference
    if open_store(parent).uri != store.uri:
        raise SpecError(f"{reference} is not a release of {store.uri}", hint=f"prep releases {store.uri}")
    return release_id


def _find_previous_id(store: Store) -> str:
    pointer = load_pointer(store)
    if pointer is None or pointer.previous is None:
        raise ReleaseMissingError(f"no release of {store.uri} was current before", hint=f"prep releases {store.uri}")
    return pointer.previous


def _complete_id(store: Store, reference: str) -> str:
    if is_release_id(reference) or not _BEGINNING.fullmatch(reference):
        check_release_id(reference)
        return reference
    ids = [release_id for release_id in list_ids(store) if release_id.startswith(reference)]
    if not ids:
        raise ReleaseMissingError(f"{store.uri} has no release {reference}…", hint=f"prep releases {store.uri}")
    if len(ids) > 1:
        raise SpecError(
            f"{len(ids)} releases of {store.uri} begin with '{reference}': {', '.join(ids[:3])}",
            hint="name one of them in full",
        )
    return ids[0]


def _refuse_empty(store: Store) -> NoReturn:
    raise ReleaseMissingError(f"there is no release under {store.uri}", hint=f"prep publish {store.uri}")
