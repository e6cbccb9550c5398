"""Where releases lie: a bucket or a local folder, behind one Protocol that one contract suite tests.

Object names are relative to the store, in POSIX form (``releases/<id>/<entry>/config.pbtxt``).
A `generation` changes with every write of an object and is what a conditional write names, as on GCS
(https://cloud.google.com/storage/docs/request-preconditions): ``if_generation_match=0`` means "only
where there is none".
"""

import errno
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from prep_triton.errors import DiskFullError, SpecError, StoreAccessError, StoreError
from prep_triton.os_errors import file_of

CREATE_ONLY = 0
# Small requests at once: each waits for its answer.
READ_THREADS = 8

# What publishing needs: an object that is replaced, as the pointer is, is deleted as well.
WRITER_PERMISSIONS = ("storage.objects.list", "storage.objects.get", "storage.objects.create", "storage.objects.delete")
# What a Triton server that loads gs://… needs: roles/storage.objectViewer and roles/storage.legacyBucketReader.
READER_PERMISSIONS = ("storage.buckets.get", "storage.objects.list", "storage.objects.get")

# https://cloud.google.com/storage/docs/buckets#naming
# Narrower than GCS: the names are also folders, and Triton and shells read them.
_SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+=@-]*", re.ASCII)

OnBytes = Callable[[int], None]


def ignore_bytes(count: int) -> None:
    """Count nothing: the default of a transfer."""


@dataclass(frozen=True)
class StoredObject:
    """One object: its name in the store, size in bytes, CRC32C as GCS writes it, generation, and last write."""

    name: str
    size: int
    crc32c: str
    generation: int
    updated_at: datetime


class Store(Protocol):
    """Objects by name, written whole or not at all.

    Every method may raise `StoreError`, or `StoreAccessError` where it is a matter of permission.
    """

    @property
    def uri(self) -> str:
        """Where the store is, without a slash at its end."""

    def check_access(self) -> None:
        """Send one small request, so that what is wrong shows within seconds.

        Raises:
            BucketMissingError: There is no such bucket.
            StoreAccessError: There are no credentials, or they may not list.
        """

    def list_objects(self, prefix: str) -> list[StoredObject]:
        """Return every object below a prefix ("releases/x/"; "" for all), by name."""

    def list_folders(self, prefix: str) -> list[str]:
        """Return the names directly below a prefix that hold objects, sorted, without the prefix."""

    def stat(self, name: str) -> StoredObject | None:
        """Return one object, or None where there is none."""

    def read_bytes(self, name: str) -> bytes:
        """Return the content of a small object.

        Raises:
            StoreError: There is no such object.
        """

    def download_file(self, name: str, path: Path, *, on_bytes: OnBytes = ignore_bytes) -> None:
        """Copy an object to a local file (not atomically); the parent folder exists.

        `on_bytes` receives how many bytes came in, negative where a retry repeats some; what it raises ends the copy.
        """

    def upload_file(
        self,
        name: str,
        path: Path,
        *,
        crc32c: str,
        if_generation_match: int = CREATE_ONLY,
        on_bytes: OnBytes = ignore_bytes,
    ) -> StoredObject:
        """Write an object from a file, in bounded memory.

        Args:
            name: The object.
            path: The file.
            crc32c: What the file's CRC32C is known to be; the stored object must have it.
            if_generation_match: The generation to replace; 0 to create only.
            on_bytes: Receives how many bytes went out; negative where a retry repeats some.

        Raises:
            PreconditionError: The object's generation is another one.
            StoreError: What arrived is not what `crc32c` says; it was removed again.
        """

    def write_bytes(self, name: str, content: bytes, *, if_generation_match: int = CREATE_ONLY) -> StoredObject:
        """Write a small object; see `upload_file`."""

    def copy_object(
        self, source: StoredObject, name: str, *, if_generation_match: int = CREATE_ONLY
    ) -> StoredObject | None:
        """Copy an object within the store; its bytes do not leave it.

        Returns:
            The copy, or None where the source is gone or is at another generation.

        Raises:
            PreconditionError: The target's generation is another one than `if_generation_match`.
        """

    def delete_object(self, name: str, *, if_generation_match: int) -> bool:
        """Delete an object; return False where there was none.

        Raises:
            PreconditionError: The object's generation is another one.
        """

    def find_permissions(self) -> frozenset[str] | None:
        """Return which of the writer's and reader's permissions this account has; None where the store does not say."""


@dataclass(frozen=True)
class GcsUri:
    """A bucket and the prefix within it ("" for the whole bucket)."""

    bucket: str
    prefix: str

    def __str__(self) -> str:
        return f"gs://{self.bucket}/{self.prefix}".rstrip("/")


def check_object_name(name: str, *, where: str) -> None:
    """Refuse a name that could mean another place, or that Triton or a shell would trip over.

    Raises:
        SpecError: A segment is empty, is or begins with a dot, begins with a dash, or has other characters
            than ASCII letters, digits and ``._+=@-``; or the name exceeds 1024 bytes (GCS's limit).
    """
    for segment in name.split("/"):
        if not segment:
            raise SpecError(f"{where} has an empty segment in '{name}'", hint="write single slashes between names")
        if not _SEGMENT.fullmatch(segment):
            raise SpecError(
                f"{where} has the segment {segment!r}, which is not allowed",
                hint="ASCII letters, digits and ._+=@- only, beginning with a letter, a digit or '_'",
            )
    if len(name) > 1024:
        raise SpecError(f"{where} has a name of {len(name)} bytes, 1024 at most", hint="shorten the prefix")


def store_error_from_os(err: OSError, place: str) -> StoreError | DiskFullError:
    """Translate an error of the local file system into ours, with a remedy."""
    where, message = file_of(err) or place, err.strerror or str(err)
    if isinstance(err, FileNotFoundError):
        return StoreError(f"there is no {where}", hint="list what is there with prep releases")
    if isinstance(err, IsADirectoryError):
        command = shlex.join(["mv", str(where), f"{where}.old"])
        return StoreError(f"{where} cannot be used: {message}", hint=f"move it away: {command}")
    if isinstance(err, PermissionError):
        return StoreAccessError(f"{where} may not be used: {message}", hint="name a folder that you can write")
    if err.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFullError(f"no space is left on the device of {where}", hint="free some space, or use another disk")
    return StoreError(f"{where} cannot be used: {message}", hint="name a folder that you can write")
