"""A store in a local folder, with what GCS gives: whole objects, and writes with a precondition.

An object is staged in ``<root>/.staging/`` and renamed into place under a lock. A generation is the
modification time in nanoseconds, moved on where the clock has not. Names that begin with a dot are
the store's own. A copy is a file of its own, not a hard link: an object edited by hand spoils no other.
"""

import errno
import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

from typing_extensions import override

from prep_triton.errors import PreconditionError, StoreError
from prep_triton.files import hold_lock
from prep_triton.layout import LOCK_NAME, STAGING_DIR
from prep_triton.publish.checksum import crc32c_of_file, crc32c_of_stream
from prep_triton.publish.store import (
    CREATE_ONLY,
    READER_PERMISSIONS,
    WRITER_PERMISSIONS,
    OnBytes,
    Store,
    StoredObject,
    check_object_name,
    ignore_bytes,
    store_error_from_os,
)

LOCK_TIMEOUT_S = 60.0
_STALE_AFTER_S = 3600.0
_BLOCK = 1 << 20


class FolderStore(Store):
    """The `Store` of a local folder; the folder is made by the first write."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    @property
    @override
    def uri(self) -> str:
        return str(self.root)

    @override
    def check_access(self) -> None:
        with _translated(self.root):
            if self.root.exists():
                list(self.root.iterdir())

    @override
    def find_permissions(self) -> frozenset[str] | None:
        place = next((path for path in (self.root, *self.root.parents) if path.exists()), self.root)
        may_read, may_write = os.access(place, os.R_OK | os.X_OK), os.access(place, os.W_OK | os.X_OK)
        written = {"storage.objects.create", "storage.objects.delete"}
        names = {*WRITER_PERMISSIONS, *READER_PERMISSIONS}
        return frozenset(name for name in names if (may_write if name in written else may_read))

    @override
    def list_objects(self, prefix: str) -> list[StoredObject]:
        with _translated(self.root):
            described = (self._describe(path) for path in self._walk(self._folder(prefix)))
            return [stored for stored in described if stored is not None]

    @override
    def list_folders(self, prefix: str) -> list[str]:
        folder = self._folder(prefix)
        with _translated(folder), suppress(FileNotFoundError):
            below = sorted(folder.iterdir())
            return [path.name for path in below if _is_visible(path) and path.is_dir() and any(self._walk(path))]
        return []

    @override
    def stat(self, name: str) -> StoredObject | None:
        path = self._path(name)
        with _translated(path):
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, "it is a folder, expected a file", str(path))
            return self._describe(path) if path.is_file() else None

    @override
    def read_bytes(self, name: str) -> bytes:
        path = self._path(name)
        with _translated(path):
            return path.read_bytes()

    @override
    def download_file(self, name: str, path: Path, *, on_bytes: OnBytes = ignore_bytes) -> None:
        source = self._path(name)
        with _translated(source), source.open("rb") as reader, path.open("wb") as writer:
            _copy_blocks(reader, writer, on_bytes)

    @override
    def upload_file(
        self,
        name: str,
        path: Path,
        *,
        crc32c: str,
        if_generation_match: int = CREATE_ONLY,
        on_bytes: OnBytes = ignore_bytes,
    ) -> StoredObject:
        def write(staging: BinaryIO) -> None:
            with path.open("rb") as reader:
                _copy_blocks(reader, staging, on_bytes)

        return self._write(name, write, if_generation_match, crc32c=crc32c)

    @override
    def write_bytes(self, name: str, content: bytes, *, if_generation_match: int = CREATE_ONLY) -> StoredObject:
        def write(staging: BinaryIO) -> None:
            staging.write(content)

        return self._write(name, write, if_generation_match)

    @override
    def copy_object(
        self, source: StoredObject, name: str, *, if_generation_match: int = CREATE_ONLY
    ) -> StoredObject | None:
        path = self._path(source.name)
        with _translated(path), suppress(FileNotFoundError), path.open("rb") as reader:
            # Of a file that was opened, whatever becomes of its name.
            if os.fstat(reader.fileno()).st_mtime_ns == source.generation:
                return self._write(
                    name,
                    lambda staging: _copy_blocks(reader, staging, ignore_bytes),
                    if_generation_match,
                    crc32c=source.crc32c,
                )
        return None

    @override
    def delete_object(self, name: str, *, if_generation_match: int) -> bool:
        target = self._path(name)
        with _translated(target):
            if not target.is_file():
                return False
            with self._locked():
                if not target.is_file():
                    return False
                self._check_generation(target, if_generation_match)
                target.unlink()
                with suppress(OSError):  # a folder that is not empty
                    for folder in target.parents:
                        if folder == self.root:
                            break
                        folder.rmdir()
        return True

    def _write(
        self, name: str, write: Callable[[BinaryIO], None], if_generation_match: int, *, crc32c: str | None = None
    ) -> StoredObject:
        target = self._path(name)
        with _translated(target):
            self._check_generation(target, if_generation_match)  # before the bytes are copied, as well as after
            staging = self._staging_dir / uuid.uuid4().hex
            try:
                with staging.open("xb") as stream:
                    write(stream)
                    stream.flush()
                    os.fsync(stream.fileno())
                actual = crc32c_of_file(staging)
                if crc32c is not None and actual != crc32c:
                    raise StoreError(
                        f"{self.uri}/{name} would have crc32c {actual}, expected {crc32c}: the file changed on its way",
                        hint="publish again while nothing writes to the repository",
                    )
                size = staging.stat().st_size
                generation = self._place(staging, target, if_generation_match)
            finally:
                staging.unlink(missing_ok=True)
            return StoredObject(name, size, actual, generation, _moment_from_ns(generation))

    def _place(self, staging: Path, target: Path, if_generation_match: int) -> int:
        with self._locked():
            replaced = self._check_generation(target, if_generation_match)
            target.parent.mkdir(parents=True, exist_ok=True)
            generation = max(time.time_ns(), replaced + 1)
            os.utime(staging, ns=(generation, generation))
            generation = staging.stat().st_mtime_ns  # as the file system keeps it
            staging.replace(target)
            return generation

    def _check_generation(self, target: Path, expected: int) -> int:
        generation = target.stat().st_mtime_ns if target.exists() else 0
        if generation != expected:
            raise PreconditionError(
                f"{target} is at generation {generation}, expected {expected} (0: absent)",
                hint="another run wrote it; look at what is there, then run again",
            )
        return generation

    @contextmanager
    def _locked(self) -> Iterator[None]:
        path, hint = self.root / LOCK_NAME, "wait for it, or end it"
        with hold_lock(path, str(self.root), timeout_s=LOCK_TIMEOUT_S, hint=hint, error=StoreError):
            yield

    @cached_property
    def _staging_dir(self) -> Path:
        folder = self.root / STAGING_DIR
        folder.mkdir(parents=True, exist_ok=True)
        for remains in folder.iterdir():  # of runs that were killed
            with suppress(FileNotFoundError):  # another run's, placed in this moment
                if time.time() - remains.stat().st_mtime > _STALE_AFTER_S:
                    remains.unlink()
        return folder

    def _walk(self, folder: Path) -> Iterator[Path]:
        with suppress(FileNotFoundError, NotADirectoryError):  # not there, or pruned in this moment
            for path in sorted(folder.iterdir()):
                if _is_visible(path):
                    if path.is_dir():
                        yield from self._walk(path)
                    elif path.is_file():
                        yield path

    def _describe(self, path: Path) -> StoredObject | None:
        """Describe an object as one file has it, though another may take its name meanwhile; None where it is gone."""
        with suppress(FileNotFoundError), path.open("rb") as stream:
            status = os.fstat(stream.fileno())
            name, crc32c = path.relative_to(self.root).as_posix(), crc32c_of_stream(stream)
            return StoredObject(name, status.st_size, crc32c, status.st_mtime_ns, _moment_from_ns(status.st_mtime_ns))
        return None

    def _path(self, name: str) -> Path:
        check_object_name(name, where=self.uri)
        return self.root / name

    def _folder(self, prefix: str) -> Path:
        return self._path(prefix.removesuffix("/")) if prefix else self.root


def _is_visible(path: Path) -> bool:
    return not path.name.startswith(".")


def _moment_from_ns(moment_ns: int) -> datetime:
    return datetime.fromtimestamp(moment_ns / 1e9, UTC)


def _copy_blocks(reader: BinaryIO, writer: BinaryIO, on_bytes: OnBytes) -> None:
    while block := reader.read(_BLOCK):
        writer.write(block)
        on_bytes(len(block))


@contextmanager
def _translated(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as err:
        raise store_error_from_os(err, str(place)) from err
