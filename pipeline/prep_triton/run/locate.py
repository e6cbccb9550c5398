"""What a command is pointed at: a repository's folder, a release, or a store of releases."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from prep_triton.errors import SpecError
from prep_triton.layout import RELEASE_NAME, RELEASES_DIR
from prep_triton.progress import Progress, ignore_progress
from prep_triton.scratch import scratch_folder

if TYPE_CHECKING:
    from prep_triton.publish.store import Store


def find_release(target: str, reference: str | None = None) -> "tuple[Store, str] | None":
    """Return the store and the reference of the release that a target means; None for a repository's folder.

    Args:
        target: ``gs://bucket/prefix``, a folder, or either with ``/releases/<id>`` after it.
        reference: Which release of it, see `prep_triton.publish.catalog.resolve`; the current one where None.

    Raises:
        SpecError: The target is no URI, or a release of a repository was asked for.
    """
    from prep_triton.publish.catalog import locate_release
    from prep_triton.publish.uri import parse_folder_uri

    if target.startswith("gs://"):
        return locate_release(target, reference)
    folder = parse_folder_uri(target)
    places = (folder / RELEASES_DIR, *([folder] if folder.name == RELEASES_DIR else ()))
    is_release = folder.parent.name == RELEASES_DIR and (folder / RELEASE_NAME).is_file()
    if is_release or any(any(place.glob(f"*/{RELEASE_NAME}")) for place in places):
        return locate_release(str(folder), reference)
    if reference is not None:
        raise SpecError(
            f"--release {reference} names a release, and {target} holds none",
            hint="name the store: gs://BUCKET/PREFIX or a folder of releases",
        )
    return None


def folder_from_target(target: str) -> Path:
    """Return the folder of a repository that `find_release` takes for none of a store."""
    from prep_triton.publish.uri import parse_folder_uri

    return parse_folder_uri(target) if "://" in target else Path(target)


@contextmanager
def local_repository(
    target: str, reference: str | None = None, *, progress: Progress = ignore_progress
) -> Iterator[tuple[Path, str]]:
    """Yield a folder that holds what a target means, and what to call it; a release on GCS is copied here meanwhile.

    Raises:
        SpecError: See `find_release`.
        StoreError: There is no such release, or the store failed.
    """
    from prep_triton.publish.catalog import resolve
    from prep_triton.publish.fetch import fetch_release

    located = find_release(target, reference)
    if located is None:
        yield folder_from_target(target), target
        return
    store, named = located
    release = resolve(store, named)
    if "://" not in release.uri:
        yield Path(release.uri), release.uri
        return
    with scratch_folder("lint") as scratch:
        fetch_release(store, release.id, scratch / "release", progress=progress)
        yield scratch / "release", release.uri
