"""A cache of artifacts in a bucket or a folder that many machines share: `RemoteCache`, on any store of releases.

::

    <prefix>/artifacts/<stage>/<name>/<key>   the manifest below its own digest, written last
    <prefix>/files/<2 digits>/<sha256>        a file of any artifact, once, by its content

Nothing is read that is not what its digest says: a damaged or lost object counts as absent, and whoever makes the
artifact puts a whole one in its place. Writers may meet: a file's name is its content, and of two manifests the first
stays. What a killed writer left is files without a manifest, which the next one uses.
"""

import hashlib
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from typing_extensions import override

from prep_triton.artifact import Artifact, FileRecord
from prep_triton.errors import DiskFullError, PreconditionError, PrepError, StoreAccessError, StoreError
from prep_triton.files import LARGEST_JSON_BYTES, digest_file
from prep_triton.layout import MANIFEST_NAME
from prep_triton.manifest import parse_manifest
from prep_triton.publish.checksum import digests_of_file
from prep_triton.publish.store import CREATE_ONLY, Store, StoredObject
from prep_triton.publish.uri import open_store
from prep_triton.remote_cache import RemoteCache

log = logging.getLogger(__name__)

ARTIFACTS_DIR = "artifacts"
FILES_DIR = "files"
# A cache saves time: what does not answer is given up long before a release would be.
RETRY_FOR_S = 15.0
_SHA256 = re.compile(r"[0-9a-f]{64}")

A = TypeVar("A", bound=Artifact)


class _DamagedError(Exception):
    """An object is not what its digest or its manifest says; never leaves this file."""


class StoredCache(RemoteCache):
    """The `RemoteCache` of a store; connects at the first request, once in each process.

    Args:
        uri: ``gs://bucket/prefix`` or a folder.

    Raises:
        SpecError: It is not the URI of a store.
    """

    def __init__(self, uri: str) -> None:
        self._uri = open_store(uri).uri
        self._is_gone = self._is_read_only = False
        self._damaged: set[str] = set()

    @property
    @override
    def uri(self) -> str:
        return self._uri

    @cached_property
    def store(self) -> Store:
        """The store behind it."""
        return open_store(self._uri, retry_for_s=RETRY_FOR_S)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the connection out: another process makes its own."""
        return {name: value for name, value in vars(self).items() if name != "store"}

    def check_access(self) -> None:
        """Refuse a cache that is not there, or may not be read, before anything is made.

        Raises:
            StoreError: It is.
        """
        self.store.check_access()

    @override
    def fetch(self, stage: str, name: str, key: str, artifact_type: type[A], folder: Path) -> A | None:
        place = _name_of_manifest(stage, name, key)
        with self._bounded(place):
            stored = None if self._is_gone else self.store.stat(place)
            if stored is None:
                return None
            text = self._read_manifest(stored)
            artifact = _parse(text, folder, name, key, artifact_type)
            for relative, file in artifact.files.items():
                self._download(file, folder / relative)
            (folder / MANIFEST_NAME).write_bytes(text)
            size_mib = sum(file.size for file in artifact.files.values()) / 2**20
            log.info("%s %s was fetched from %s (%.1f MiB)", stage, name, self.uri, size_mib)
            return artifact
        return None

    @override
    def save(self, stage: str, artifact: Artifact) -> None:
        if self._is_gone or self._is_read_only:
            return
        place = _name_of_manifest(stage, artifact.name, artifact.key)
        with self._bounded(place, writes=True):
            stored = self.store.stat(place)
            if stored is not None and place not in self._damaged:
                return
            for relative, file in artifact.files.items():
                self._upload(file, artifact.path(relative))
            text = artifact.path(MANIFEST_NAME).read_bytes()
            content = hashlib.sha256(text).hexdigest().encode() + b"\n" + text
            self.store.write_bytes(place, content, if_generation_match=_generation_of(stored))
            self._damaged.discard(place)

    @override
    def list_names(self, stage: str) -> list[str]:
        with self._bounded(stage):
            return [] if self._is_gone else self.store.list_folders(f"{ARTIFACTS_DIR}/{stage}/")
        return []

    @override
    def list_kept(self, stage: str, name: str, artifact_type: type[A]) -> Iterator[A]:
        objects: list[StoredObject] = []
        with self._bounded(name):
            objects = [] if self._is_gone else self.store.list_objects(f"{ARTIFACTS_DIR}/{stage}/{name}/")
        for stored in sorted(objects, key=lambda stored: stored.updated_at, reverse=True):
            artifact: A | None = None
            with self._bounded(stored.name):
                key = stored.name.rpartition("/")[2]
                artifact = _parse(self._read_manifest(stored), Path(), name, key, artifact_type)
            if artifact is not None:
                yield artifact

    @contextmanager
    def _bounded(self, place: str, *, writes: bool = False) -> Iterator[None]:
        """End a block quietly where the cache is at fault: a warning, and the run goes on without it."""
        try:
            yield
        except _DamagedError as err:
            self._damaged.add(place)
            log.warning("%s/%s is damaged: %s; it counts as absent", self.uri, place, err)
        except PreconditionError:
            log.debug("another run wrote %s/%s first", self.uri, place)
        except StoreAccessError as err:
            self._is_read_only = True
            self._is_gone = self._is_gone or not writes
            log.warning("%s: what is made here is not shared", err.message)
        except (StoreError, DiskFullError, OSError) as err:
            if not isinstance(err, StoreError) and not writes:  # of this machine's own disk
                raise
            self._is_gone = True
            reason = err.message if isinstance(err, PrepError) else str(err)
            log.warning("%s is used no more in this run, which goes on without it: %s", self.uri, reason)

    def _read_manifest(self, stored: StoredObject) -> bytes:
        if stored.size > LARGEST_JSON_BYTES:
            raise _DamagedError(f"it has {stored.size} bytes")
        digest, _, text = self.store.read_bytes(stored.name).partition(b"\n")
        if hashlib.sha256(text).hexdigest().encode() != digest:
            raise _DamagedError("its digest is not the one in its first line")
        return text

    def _download(self, file: FileRecord, path: Path) -> None:
        """Download a file and hold it against its digest."""
        name = _name_of_file(file)
        stored = self.store.stat(name)
        if stored is None:
            raise _DamagedError(f"{name} is missing")
        if stored.size != file.size:
            raise _DamagedError(f"{name} has {stored.size} bytes, the manifest says {file.size}")
        path.parent.mkdir(parents=True, exist_ok=True)
        self.store.download_file(name, path)
        if (path.stat().st_size, digest_file(path)) != (file.size, file.sha256):
            raise _DamagedError(f"the content of {name} has another digest")

    def _upload(self, file: FileRecord, path: Path) -> None:
        """Upload a file, unless its content is there; what is there damaged is replaced."""
        name = _name_of_file(file)
        crc32c, sha256 = digests_of_file(path)
        if sha256 != file.sha256:
            raise _DamagedError(f"{path} changed on its way")
        stored = self.store.stat(name)
        if stored is not None and stored.size == file.size and stored.crc32c in (crc32c, ""):
            return
        try:
            self.store.upload_file(name, path, crc32c=crc32c, if_generation_match=_generation_of(stored))
        except PreconditionError:
            log.debug("another run wrote %s/%s first, which is the same", self.uri, name)


def _name_of_manifest(stage: str, name: str, key: str) -> str:
    return f"{ARTIFACTS_DIR}/{stage}/{name}/{key}"


def _name_of_file(file: FileRecord) -> str:
    return f"{FILES_DIR}/{file.sha256[:2]}/{file.sha256}"


def _generation_of(stored: StoredObject | None) -> int:
    return CREATE_ONLY if stored is None else stored.generation


def _parse(text: bytes, folder: Path, name: str, key: str, artifact_type: type[A]) -> A:
    """Parse a manifest that others wrote: its files may have no name that leads elsewhere."""
    try:
        artifact = parse_manifest(text, folder, artifact_type)
    except ValueError as err:
        raise _DamagedError(str(err)) from err
    if (artifact.name, artifact.key) != (name, key):
        raise _DamagedError(f"it is the manifest of {artifact.name} {artifact.key}")
    for relative, file in artifact.files.items():
        path = PurePosixPath(relative)
        if path.is_absolute() or ".." in path.parts or path.name in ("", MANIFEST_NAME) or "\0" in relative:
            raise _DamagedError(f"{relative!r} is not the name of one of its files")
        if not _SHA256.fullmatch(file.sha256):
            raise _DamagedError(f"{file.sha256!r} is not a digest")
    return artifact
