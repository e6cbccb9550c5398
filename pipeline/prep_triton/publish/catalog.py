"""Which releases a store holds, and finding one of them."""

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from prep_triton.errors import ReleaseDamagedError, StoreError
from prep_triton.layout import RELEASE_NAME, RELEASES_DIR, folder_of_release
from prep_triton.publish.pointer import load_current
from prep_triton.publish.record import TOMBSTONE, Release, check_release_id, is_release_id, parse_release
from prep_triton.publish.store import Store

log = logging.getLogger(__name__)

READ_THREADS = 8


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

    def read(release_id: str) -> Release | None:
        try:
            return read_release(store, release_id)
        except ReleaseDamagedError as err:
            log.warning("%s; %s", err.message, err.hint)
            return None

    with ThreadPoolExecutor(READ_THREADS) as pool:
        for first in range(0, len(ids), READ_THREADS):
            yield from filter(None, pool.map(read, ids[first : first + READ_THREADS]))


def newest_release(store: Store) -> Release | None:
    """Return the release with the greatest id, current or not; None where there is none."""
    return next(iterate_releases(store, list_ids(store)), None)


def latest_release(store: Store) -> Release | None:
    """Return the release that a store's readers should load: the current one; None where there is none.

    Where nothing was made current yet it is the newest one that did not fail its verification, and a notice says so.

    Raises:
        ReleaseDamagedError: The pointer, or the release that it names, is damaged or gone.
        StoreError: It was made by a newer prep.
    """
    pointer = load_current(store)
    if pointer is None:
        from prep_triton.publish.reports import find_unfit

        unfit = find_unfit(store)
        fit = [release_id for release_id in list_ids(store) if release_id not in unfit]
        newest = next(iterate_releases(store, fit), None)
        if newest:
            log.info("nothing under %s was made current yet: the newest release, %s, is taken", store.uri, newest.id)
        return newest
    release = read_release(store, pointer.release)
    if release is None:
        raise ReleaseDamagedError(
            f"current points at {pointer.release}, which is gone from {store.uri}",
            hint=f"name another release: prep rollback {store.uri} ID, or publish again",
        )
    return release


def load_release(store: Store, release_id: str) -> Release:
    """Return one release.

    Raises:
        SpecError: The text is not an id.
        StoreError: There is no such release, or it was made by a newer prep.
        ReleaseDamagedError: Its ``release.json`` is damaged.
    """
    check_release_id(release_id)
    store.check_access()
    release = read_release(store, release_id)
    if release is None:
        raise StoreError(f"{store.uri} has no release {release_id}", hint=f"list them with prep releases {store.uri}")
    return release


def load_or_latest(store: Store, release_id: str | None) -> Release:
    """Return the release of an id, or where it is None the one that `latest_release` finds.

    Raises:
        StoreError: There is none; see also `load_release` and `latest_release`.
    """
    release = load_release(store, release_id) if release_id else latest_release(store)
    if release is None:
        raise StoreError(f"there is no release under {store.uri}", hint=f"prep publish model_repository {store.uri}")
    return release


def find_release(store: Store, which: str) -> Release:
    """Return a release by its id, or by the words ``current`` and ``previous``.

    Raises:
        SpecError: The text is neither.
        StoreError: There is none; see also `load_release` and `latest_release`.
    """
    if which == "current":
        return load_or_latest(store, None)
    if which != "previous":
        return load_release(store, which)
    pointer = load_current(store)
    if pointer is None or pointer.previous is None:
        raise StoreError(f"no release of {store.uri} was current before", hint=f"prep releases {store.uri}")
    return load_release(store, pointer.previous)


def locate_release(uri: str) -> tuple[str, str | None]:
    """Split the URI of a release into its store's URI and its id; the id is None where the URI is a store's.

    Raises:
        SpecError: What follows ``/releases/`` is not an id.
    """
    head, slash, last = uri.rstrip("/").rpartition("/")
    if last == RELEASES_DIR and slash:
        return head, None
    store_uri, _, folder = head.rpartition("/")
    if folder != RELEASES_DIR:
        return uri, None
    check_release_id(last)
    return store_uri or ".", last


def list_ids(store: Store) -> list[str]:
    """Return the ids under which there is anything, newest first."""
    return sorted(filter(is_release_id, store.list_folders(f"{RELEASES_DIR}/")), reverse=True)


def read_release(store: Store, release_id: str) -> Release | None:
    """Return the release of an id, or None where nothing was finished under it, or it is being removed."""
    folder = folder_of_release(release_id)
    if store.stat(f"{folder}{RELEASE_NAME}") is None:
        return None
    try:
        content = store.read_bytes(f"{folder}{RELEASE_NAME}")
    except StoreError:
        if store.stat(f"{folder}{RELEASE_NAME}") is None:  # removed between the two requests
            return None
        raise
    return None if content == TOMBSTONE else parse_release(content, uri=f"{store.uri}/{folder}".rstrip("/"))
