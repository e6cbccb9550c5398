"""A store in a Google Cloud Storage bucket: the only module that imports google.cloud.

Credentials are Application Default Credentials; `STORAGE_EMULATOR_HOST` names an emulator, and only
then are there none. Nothing here writes, logs or keeps a credential.
"""

import io
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from pipeline.errors import (
    BucketMissingError,
    PreconditionError,
    PrepError,
    SpecError,
    StoreAccessError,
    StoreError,
)
from pipeline.publish.store import (
    CREATE_ONLY,
    GcsUri,
    OnBytes,
    StoredObject,
    check_object_name,
    crc32c_of_bytes,
    ignore_bytes,
    store_error_from_os,
)

log = logging.getLogger(__name__)

SCOPES = ("https://www.googleapis.com/auth/devstorage.read_write",)
# An upload holds one chunk in memory, so this times the number of threads is the peak.
CHUNK_BYTES = 16 << 20
# What the library sends in one request; above it, a resumable upload.
_ONE_REQUEST_BYTES = 8 << 20
_TIMEOUT_S = (10.0, 60.0)  # to connect, to hear the next byte
_RETRY_FOR_S = 120.0
_FIRST_RETRY_FOR_S = 10.0
_PERMISSION = re.compile(r"storage\.[a-z]+\.[a-zA-Z]+")
_LOGIN = "run 'gcloud auth application-default login', set GOOGLE_APPLICATION_CREDENTIALS, or use workload identity"
_NETWORK = "check the network and a proxy's settings, then run again: what is already there is not sent twice"


class GcsStore:
    """The `Store` of a bucket's prefix; connects at the first request."""

    def __init__(self, location: GcsUri) -> None:
        self.location = location

    @property
    def uri(self) -> str:
        """``gs://bucket/prefix``."""
        return str(self.location)

    def check_access(self) -> None:
        """See `Store`; asks for one name, which needs storage.objects.list alone."""
        with self._translated("storage.objects.list"):
            listing = self._client.list_blobs(
                self.location.bucket, prefix=self._full(""), max_results=1, **_patience(_FIRST_RETRY_FOR_S)
            )
            list(listing)

    def list_objects(self, prefix: str) -> list[StoredObject]:
        """See `Store`."""
        with self._translated("storage.objects.list"):
            blobs = self._client.list_blobs(self.location.bucket, prefix=self._full(prefix), **_patience())
            return [self._describe(blob) for blob in blobs]

    def list_folders(self, prefix: str) -> list[str]:
        """See `Store`."""
        full = self._full(prefix)
        with self._translated("storage.objects.list"):
            listing = self._client.list_blobs(
                self.location.bucket, prefix=full, delimiter="/", fields="prefixes,nextPageToken", **_patience()
            )
            list(listing)  # the prefixes are known once every page was read
            return sorted(found.removeprefix(full).removesuffix("/") for found in listing.prefixes)

    def stat(self, name: str) -> StoredObject | None:
        """See `Store`."""
        with self._translated("storage.objects.get", name):
            blob = self._bucket.get_blob(self._object(name), **_patience())
        return None if blob is None else self._describe(blob)

    def read_bytes(self, name: str) -> bytes:
        """See `Store`."""
        with self._translated("storage.objects.get", name):
            blob = self._bucket.blob(self._object(name))
            content: bytes = blob.download_as_bytes(checksum="crc32c", **_patience())
        return content

    def download_file(self, name: str, path: Path) -> None:
        """See `Store`."""
        with self._translated("storage.objects.get", name), path.open("wb") as stream:
            blob = self._bucket.blob(self._object(name))
            blob.download_to_file(stream, checksum="crc32c", **_patience())

    def upload_file(
        self,
        name: str,
        path: Path,
        *,
        crc32c: str,
        if_generation_match: int = CREATE_ONLY,
        on_bytes: OnBytes = ignore_bytes,
    ) -> StoredObject:
        """See `Store`."""
        with self._translated("storage.objects.create", name), _CountedFile(path, on_bytes) as stream:
            size = os.fstat(stream.fileno()).st_size
            if size > _ONE_REQUEST_BYTES:
                # To be refused after half a gigabyte is late. And WAR(fake-gcs-server < 1.55): it does
                # not hold resumable uploads to a precondition.
                self._check_generation(name, if_generation_match)
            return self._upload(name, stream, size, crc32c, if_generation_match)

    def write_bytes(self, name: str, content: bytes, *, if_generation_match: int = CREATE_ONLY) -> StoredObject:
        """See `Store`."""
        with self._translated("storage.objects.create", name):
            return self._upload(name, io.BytesIO(content), len(content), crc32c_of_bytes(content), if_generation_match)

    def _upload(self, name: str, stream: BinaryIO, size: int, crc32c: str, if_generation_match: int) -> StoredObject:
        blob = self._bucket.blob(self._object(name), chunk_size=CHUNK_BYTES)
        blob.upload_from_file(
            stream,
            size=size,
            content_type="application/octet-stream",
            checksum="crc32c",
            if_generation_match=if_generation_match,  # also what makes the library's retries safe
            **_patience(),
        )
        if blob.crc32c != crc32c:
            raise StoreError(
                f"{self.uri}/{name} has crc32c {blob.crc32c}, expected {crc32c}: the file changed on its way",
                hint="publish again while nothing writes to the repository",
            )
        return self._describe(blob)

    def _check_generation(self, name: str, expected: int) -> None:
        found = self.stat(name)
        if (found.generation if found else 0) != expected:
            raise self._precondition_error(name)

    def _precondition_error(self, name: str | None) -> PreconditionError:
        return PreconditionError(
            f"{self.uri}/{name} is not at the generation that was expected",
            hint="another run wrote it; look at what is there, then run again",
        )

    @cached_property
    def _client(self) -> Any:
        # One look for the metadata server (3 s), not three with pauses between: on Google's machines the
        # library also knows it by the BIOS. Read when google.auth is imported.
        os.environ.setdefault("GCE_METADATA_DETECT_RETRIES", "1")
        # WAR(google-cloud-storage 3.17): for traces that nobody collects it reads the bucket's metadata in a
        # background thread, which needs storage.buckets.get and is refused to an account that may only publish.
        os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
        import google.auth
        from google.auth.credentials import AnonymousCredentials
        from google.cloud import storage

        emulator = os.environ.get("STORAGE_EMULATOR_HOST")
        if not emulator:
            credentials, _ = google.auth.default(scopes=SCOPES)
            return storage.Client(project=None, credentials=credentials)
        address = urlsplit(emulator)
        if address.scheme not in ("http", "https") or not address.hostname:
            raise SpecError(
                "STORAGE_EMULATOR_HOST is not a URL",
                hint="export STORAGE_EMULATOR_HOST=http://127.0.0.1:PORT, or unset it",
            )
        log.info("STORAGE_EMULATOR_HOST: gs:// means the emulator on %s, without credentials", address.hostname)
        return storage.Client(project=None, credentials=AnonymousCredentials())

    @cached_property
    def _bucket(self) -> Any:
        return self._client.bucket(self.location.bucket)

    def _full(self, prefix: str) -> str:
        return f"{self.location.prefix}/{prefix}" if self.location.prefix else prefix

    def _object(self, name: str) -> str:
        check_object_name(name, where=self.uri)
        return self._full(name)

    def _describe(self, blob: Any) -> StoredObject:
        name = blob.name.removeprefix(self._full(""))
        return StoredObject(name, size=int(blob.size), crc32c=blob.crc32c, generation=int(blob.generation))

    @contextmanager
    def _translated(self, permission: str, name: str | None = None) -> Iterator[None]:
        """Turn the library's exceptions into ours; `permission` is what the request needs."""
        try:
            yield
        except Exception as err:
            translated = self._error_from_vendor(err, permission, name)
            if translated is None:
                raise
            raise translated from err

    def _error_from_vendor(self, err: Exception, permission: str, name: str | None) -> PrepError | None:
        import requests
        from google.api_core import exceptions as api
        from google.auth import exceptions as auth
        from google.cloud.storage.exceptions import DataCorruption, InvalidResponse

        place = f"{self.uri}/{name}" if name else self.uri
        if isinstance(err, api.ClientError):
            return self._error_from_answer(err, permission, name)
        if isinstance(err, auth.GoogleAuthError) and not isinstance(err, auth.TransportError):
            return StoreAccessError(f"there are no usable credentials for {self.uri}: {_told(err)}", hint=_LOGIN)
        if isinstance(err, DataCorruption):
            return StoreError(f"{place} arrived damaged: {_told(err)}", hint="run again: every object is checked")
        if isinstance(err, auth.TransportError | requests.RequestException | api.GoogleAPIError | InvalidResponse):
            return StoreError(f"{place} cannot be reached: {_told(err)}", hint=_NETWORK)
        return store_error_from_os(err, place) if isinstance(err, OSError) else None

    def _error_from_answer(self, err: Any, permission: str, name: str | None) -> StoreError:
        """Say what a 4xx answer means; https://cloud.google.com/storage/docs/json_api/v1/status-codes."""
        bucket, place = self.location.bucket, f"{self.uri}/{name}" if name else self.uri
        if err.code == 412:
            return self._precondition_error(name)
        if err.code == 404 and permission == "storage.objects.get" and "bucket does not exist" not in str(err):
            return StoreError(f"there is no object {place}", hint="list what is there with prep releases")
        if err.code == 404:
            make = f"gcloud storage buckets create gs://{bucket}"
            return BucketMissingError(f"there is no bucket gs://{bucket}", hint=f"check the name, or make it: {make}")
        if err.code == 401:
            return StoreAccessError(f"GCS did not accept the credentials for gs://{bucket}: {_told(err)}", hint=_LOGIN)
        if err.code == 403:
            named = _PERMISSION.search(str(err))
            roles = "roles/storage.objectAdmin (to publish) or roles/storage.objectViewer (to read)"
            return StoreAccessError(
                f"{named[0] if named else permission} is not allowed on gs://{bucket}: {_told(err)}",
                hint=f"grant {roles} on gs://{bucket}",
            )
        return StoreError(f"GCS refused the request for {place}: {_told(err)}", hint="run again with -v")


class _CountedFile(io.FileIO):
    """A file opened for reading that tells how far it was read, and how far it went back."""

    def __init__(self, path: Path, on_bytes: OnBytes) -> None:
        super().__init__(path, "rb")
        self._on_bytes = on_bytes

    def read(self, size: int | None = -1, /) -> bytes:
        block = super().read(-1 if size is None else size)
        self._on_bytes(len(block))
        return block

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        before = self.tell()
        after = super().seek(offset, whence)
        self._on_bytes(after - before)
        return after


def _patience(retry_for_s: float = _RETRY_FOR_S) -> dict[str, Any]:
    """Return how long a request may take, and for how long the library tries again (its own rules)."""
    from google.cloud.storage.retry import DEFAULT_RETRY

    return {"timeout": _TIMEOUT_S, "retry": DEFAULT_RETRY.with_timeout(retry_for_s)}


def _told(err: BaseException) -> str:
    """Return the vendor's own words, short and on one line: of an error around another one, the inner one's."""
    inner = (getattr(err, "cause", None), getattr(err, "reason", None), *err.args[:1])
    for candidate in inner:
        if isinstance(candidate, BaseException):
            return _told(candidate)
    words = getattr(err, "message", None) or (
        err.args[0] if len(err.args) > 1 and not isinstance(err, OSError) else err
    )
    return " ".join(str(words).split())[:300]
