"""Many files at once, in bounded memory, with progress by the byte; the first failure stops the rest."""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TypeVar

from prep_triton.errors import PreconditionError, ReleaseExistsError, StoreError
from prep_triton.progress import Progress, SizedPhase
from prep_triton.publish.check import is_same
from prep_triton.publish.checksum import digests_of_file
from prep_triton.publish.record import ReleaseFile
from prep_triton.publish.store import Store, StoredObject

# For small files, where each request waits for its answer; `gcs.store` lets fewer large ones go at once.
TRANSFER_THREADS = 6

T = TypeVar("T")

log = logging.getLogger(__name__)


class _StoppedError(Exception):
    """Ends a thread between two blocks after another transfer failed, or Ctrl-C; never leaves this file."""


class _ByteCount:
    """Adds up what all threads move, reports it, and is where they are stopped."""

    def __init__(self, total: int, phase: str, progress: Progress) -> None:
        self._total, self._phase, self._progress = max(total, 1), SizedPhase(phase, total), progress
        self._moved, self._lock, self._stopped = 0, threading.Lock(), False

    def add(self, count: int) -> None:
        if self._stopped:
            raise _StoppedError
        with self._lock:
            self._moved += count
            self._progress(self._phase, min(max(self._moved / self._total, 0.0), 1.0))

    def stop(self) -> None:
        self._stopped = True


def digest_files(paths: Mapping[str, Path], progress: Progress) -> dict[str, ReleaseFile]:
    """Digest files by name.

    Raises:
        OSError: A file cannot be read.
    """
    sizes = {name: path.stat().st_size for name, path in paths.items()}
    count = _ByteCount(sum(sizes.values()), "checking files", progress)

    def digest(name: str) -> ReleaseFile:
        crc32c, sha256 = digests_of_file(paths[name])
        count.add(sizes[name])
        return ReleaseFile(size=sizes[name], crc32c=crc32c, sha256=sha256)

    return dict(zip(paths, _run_in_threads(digest, paths, count), strict=True))


def upload_files(
    store: Store, folder: str, files: Mapping[str, ReleaseFile], paths: Mapping[str, Path], progress: Progress
) -> dict[str, int]:
    """Upload files to objects that are not there yet, largest first.

    Args:
        store: Where to.
        folder: What the objects' names begin with.
        files: What to upload, by name below `folder`.
        paths: Where each lies, by the same names.
        progress: Receives the share of the bytes.

    Returns:
        The generation of each object.

    Raises:
        ReleaseExistsError: An object of that name holds something else.
        StoreError: An upload failed; those under way were stopped.
    """
    count = _ByteCount(sum(file.size for file in files.values()), f"uploading {len(files)} files", progress)

    def upload(name: str) -> int:
        target, file = f"{folder}{name}", files[name]
        try:
            uploaded = store.upload_file(target, paths[name], crc32c=file.crc32c, on_bytes=count.add)
        except PreconditionError as err:
            return _find_same(store, target, file, err).generation
        log.debug("uploaded %s (%d bytes)", target, file.size)
        return uploaded.generation

    names = sorted(files, key=lambda name: -files[name].size)
    return dict(zip(names, _run_in_threads(upload, names, count), strict=True))


def copy_files(
    store: Store, folder: str, files: Mapping[str, ReleaseFile], sources: Mapping[str, StoredObject], progress: Progress
) -> dict[str, int]:
    """Copy objects of earlier releases within the store.

    Args:
        store: Where they are.
        folder: What the new objects' names begin with.
        files: What each of them must hold, by name below `folder`.
        sources: The object to copy, by the same names.
        progress: Receives the share of the bytes.

    Returns:
        The generation of each copy; what could not be copied, because its source is gone, is not in it.

    Raises:
        ReleaseExistsError: An object of that name holds something else.
        StoreError: The store failed.
    """
    count = _ByteCount(sum(files[name].size for name in sources), f"copying {len(sources)} files", progress)

    def copy(name: str) -> int | None:
        target, file = f"{folder}{name}", files[name]
        try:
            copied = store.copy_object(sources[name], target)
        except PreconditionError as err:
            copied = _find_same(store, target, file, err)
        count.add(file.size)
        log.debug("copied %s to %s (%d bytes)", sources[name].name, target, file.size)
        return copied.generation if copied else None

    generations = dict(zip(sources, _run_in_threads(copy, sources, count), strict=True))
    return {name: generation for name, generation in generations.items() if generation is not None}


def _find_same(store: Store, target: str, file: ReleaseFile, err: PreconditionError) -> StoredObject:
    """Find the object of our own write, whose answer was lost, or of another publisher of the same bytes."""
    stored = store.stat(target)
    if stored is None or not is_same(stored, file):
        raise ReleaseExistsError(
            f"{store.uri}/{target} exists already, with other content", hint="publish again"
        ) from err
    return stored


def download_files(
    store: Store, folder: str, files: Mapping[str, ReleaseFile], target_dir: Path, progress: Progress
) -> None:
    """Download objects into a folder and check each before it gets its name.

    Raises:
        StoreError: An object is missing, or is not what `files` says.
    """
    count = _ByteCount(sum(file.size for file in files.values()), f"fetching {len(files)} files", progress)

    def download(name: str) -> None:
        path, file = target_dir / name, files[name]
        path.parent.mkdir(parents=True, exist_ok=True)
        staging = path.with_name(f".{path.name}.part")
        try:
            store.download_file(f"{folder}{name}", staging, on_bytes=count.add)
            crc32c, sha256 = digests_of_file(staging)
            size = staging.stat().st_size
            if (size, crc32c, sha256) != (file.size, file.crc32c, file.sha256):
                raise StoreError(
                    f"{store.uri}/{folder}{name} is not what its release says: "
                    f"{size} bytes, crc32c {crc32c}; expected {file.size}, {file.crc32c}",
                    hint="the release is damaged: publish again, and remove it",
                )
            staging.replace(path)
            log.debug("fetched %s (%d bytes)", name, size)
        finally:
            staging.unlink(missing_ok=True)

    _run_in_threads(download, files, count)


def _run_in_threads(work: Callable[[str], T], names: Iterable[str], count: _ByteCount) -> list[T]:
    with ThreadPoolExecutor(TRANSFER_THREADS, thread_name_prefix="prep-transfer") as pool:
        futures = [pool.submit(work, name) for name in names]
        try:
            for future in as_completed(futures):
                future.result()
        except BaseException:  # Ctrl-C too
            count.stop()
            pool.shutdown(cancel_futures=True)
            raise
    return [future.result() for future in futures]
