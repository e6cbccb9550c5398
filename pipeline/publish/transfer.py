"""Many files at once, in bounded memory, with progress by the byte; the first failure stops the rest."""

import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TypeVar

from pipeline.errors import PreconditionError, ReleaseExistsError, StoreError
from pipeline.progress import Progress
from pipeline.publish.record import ReleaseFile
from pipeline.publish.store import Store, StoredObject, digests_of_file

# Each holds one chunk (`gcs.CHUNK_BYTES`) in memory.
TRANSFER_THREADS = 4

T = TypeVar("T")


class _StoppedError(Exception):
    """Another transfer failed, or Ctrl-C: leaves a thread between two blocks, and is never seen outside."""


class _ByteCount:
    """Adds up what all threads move, and reports it; the place where they are stopped."""

    def __init__(self, total: int, phase: str, progress: Progress) -> None:
        self._total, self._phase, self._progress = max(total, 1), phase, progress
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
        crc32c, sha256 = digests_of_file(paths[name], with_sha256=True)
        count.add(sizes[name])
        return ReleaseFile(size=sizes[name], crc32c=crc32c, sha256=sha256)

    return dict(zip(paths, _run_in_threads(digest, paths, count), strict=True))


def upload_files(
    store: Store, folder: str, files: Mapping[str, ReleaseFile], paths: Mapping[str, Path], progress: Progress
) -> None:
    """Upload files to objects that are not there yet, largest first.

    Args:
        store: Where to.
        folder: What the objects' names begin with.
        files: What to upload, by name below `folder`.
        paths: Where each lies, by the same names.
        progress: Hears the share of the bytes.

    Raises:
        ReleaseExistsError: An object of that name holds something else.
        StoreError: An upload failed; those under way were stopped.
    """
    count = _ByteCount(sum(file.size for file in files.values()), f"uploading {len(files)} files", progress)

    def upload(name: str) -> None:
        target, file = f"{folder}{name}", files[name]
        try:
            store.upload_file(target, paths[name], crc32c=file.crc32c, on_bytes=count.add)
        except PreconditionError as err:
            # The library's retry of an upload whose answer was lost, or another publisher of the same bytes.
            found = store.stat(target)
            if found is None or not is_same(found, file):
                raise ReleaseExistsError(
                    f"{store.uri}/{target} is there already and holds something else", hint="publish again"
                ) from err

    _run_in_threads(upload, sorted(files, key=lambda name: -files[name].size), count)


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
            store.download_file(f"{folder}{name}", staging)
            crc32c, sha256 = digests_of_file(staging, with_sha256=True)
            size = staging.stat().st_size
            if (size, crc32c, sha256) != (file.size, file.crc32c, file.sha256):
                raise StoreError(
                    f"{store.uri}/{folder}{name} is not what its release says: "
                    f"{size} bytes, crc32c {crc32c}; expected {file.size}, {file.crc32c}",
                    hint="the release is damaged: publish again, and remove it",
                )
            staging.replace(path)
        finally:
            staging.unlink(missing_ok=True)
        count.add(file.size)

    _run_in_threads(download, files, count)


def is_same(found: StoredObject, file: ReleaseFile) -> bool:
    """Tell whether an object holds what a release says, by size and CRC32C."""
    return (found.size, found.crc32c) == (file.size, file.crc32c)


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
