"""The store of a bucket's prefix."""

import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, BinaryIO

from typing_extensions import override

from prep_triton.errors import StoreError
from prep_triton.publish.checksum import crc32c_of_bytes, crc32c_of_file
from prep_triton.publish.gcs.answers import error_from_vendor, malformed_error, precondition_error
from prep_triton.publish.gcs.counted_file import CountedFile, CountedWriter
from prep_triton.publish.gcs.session import GcsSession
from prep_triton.publish.store import (
    CREATE_ONLY,
    READER_PERMISSIONS,
    WRITER_PERMISSIONS,
    GcsUri,
    OnBytes,
    Store,
    StoredObject,
    check_object_name,
    ignore_bytes,
)

# What one upload may hold in memory; together with how many large ones there are at once, it is what publishing
# adds to the process.
UPLOAD_MEMORY_BYTES = 48 << 20
LARGE_UPLOADS_AT_ONCE = 3
# What the library sends in one request; above it, a resumable upload.
_ONE_REQUEST_BYTES = 8 << 20
_SENDINGS = 3


class GcsStore(Store):
    """The `Store` of a bucket's prefix; connects at the first request."""

    def __init__(self, location: GcsUri, session: GcsSession | None = None) -> None:
        self.location = location
        self._session = session or GcsSession(location.bucket)
        self._large = threading.BoundedSemaphore(LARGE_UPLOADS_AT_ONCE)

    @property
    @override
    def uri(self) -> str:
        return str(self.location)

    @override
    def check_access(self) -> None:
        with self._translated("storage.objects.list"):  # one name, which needs no other permission
            bucket = self._session.bucket
            listing = self._session.client.list_blobs(
                bucket, prefix=self._full(""), max_results=1, **self._requests(is_first=True)
            )
            list(self._read_pages(listing))

    @override
    def find_permissions(self) -> frozenset[str] | None:
        from google.api_core.exceptions import ClientError

        permissions = sorted({*WRITER_PERMISSIONS, *READER_PERMISSIONS})
        with self._translated("storage.buckets.get"):
            try:
                granted = self._session.bucket.test_iam_permissions(permissions, **self._requests(is_first=True))
            except ClientError:  # an emulator that does not know the request, or a proxy that blocks it
                return None
        is_list = isinstance(granted, list) and all(isinstance(permission, str) for permission in granted)
        return frozenset(granted) if is_list else None

    @override
    def list_objects(self, prefix: str) -> list[StoredObject]:
        with self._translated("storage.objects.list"):
            listing = self._session.client.list_blobs(
                self._session.bucket, prefix=self._full(prefix), **self._requests()
            )
            blobs = self._read_pages(listing)
            described = (self._describe(blob) if blob.crc32c else self._stat_keyed(blob) for blob in blobs)
            return [stored for stored in described if stored is not None]

    @override
    def list_folders(self, prefix: str) -> list[str]:
        full = self._full(prefix)
        with self._translated("storage.objects.list"):
            listing = self._session.client.list_blobs(
                self._session.bucket, prefix=full, delimiter="/", fields="prefixes,nextPageToken", **self._requests()
            )
            list(self._read_pages(listing))  # the prefixes are known once every page was read
        if other := [folder for folder in listing.prefixes if not str(folder).startswith(full)]:
            raise malformed_error(self.uri, f"{other[0]!r:.100} is not a folder below {full or 'it'}")
        return sorted(str(folder).removeprefix(full).removesuffix("/") for folder in listing.prefixes)

    @override
    def stat(self, name: str) -> StoredObject | None:
        with self._translated("storage.objects.get", name):
            blob = self._session.bucket.get_blob(
                self._object(name), encryption_key=self._session.options.encryption_key, **self._requests()
            )
        return None if blob is None else self._describe(blob)

    @override
    def read_bytes(self, name: str) -> bytes:
        with self._translated("storage.objects.get", name):
            blob = self._session.blob(self._object(name))
            content: bytes = blob.download_as_bytes(checksum="crc32c", **self._requests())
        return content

    @override
    def download_file(self, name: str, path: Path, *, on_bytes: OnBytes = ignore_bytes) -> None:
        with self._translated("storage.objects.get", name), _naming(path), CountedWriter(path, on_bytes) as stream:
            blob = self._session.blob(self._object(name))
            blob.download_to_file(stream, checksum="crc32c", **self._requests())

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
        with self._translated("storage.objects.create", name):
            size = path.stat().st_size
            is_large = size > _ONE_REQUEST_BYTES
            if is_large:
                # To be refused after half a gigabyte is late. And WAR(fake-gcs-server < 1.55): it does
                # not hold resumable uploads to a precondition.
                self._check_generation(name, if_generation_match)
            with self._large if is_large else nullcontext():
                return self._send(name, lambda: CountedFile(path, on_bytes), size, crc32c, if_generation_match)

    @override
    def write_bytes(self, name: str, content: bytes, *, if_generation_match: int = CREATE_ONLY) -> StoredObject:
        with self._translated("storage.objects.create", name):
            crc32c = crc32c_of_bytes(content)
            return self._send(name, lambda: io.BytesIO(content), len(content), crc32c, if_generation_match)

    @override
    def copy_object(
        self, source: StoredObject, name: str, *, if_generation_match: int = CREATE_ONLY
    ) -> StoredObject | None:
        target = self._session.blob(self._object(name))
        with self._translated("storage.objects.create", name):
            if self._session.is_emulated:  # WAR(fake-gcs-server < 1.55): it takes no precondition of a rewrite
                self._check_generation(name, if_generation_match)
                if self._generation_of(source.name) != source.generation:
                    return None
            copied = self._rewrite(source, target, if_generation_match)
            if not copied and self._generation_of(name) != if_generation_match:
                raise precondition_error(f"{self.uri}/{name}")
            return self._describe(target) if copied else None

    @override
    def delete_object(self, name: str, *, if_generation_match: int) -> bool:
        from google.api_core.exceptions import NotFound

        with self._translated("storage.objects.delete", name):
            # WAR(fake-gcs-server < 1.55): it takes no precondition of a deletion
            if self._session.is_emulated and self._generation_of(name) not in (0, if_generation_match):
                raise precondition_error(f"{self.uri}/{name}")
            try:
                blob = self._session.bucket.blob(self._object(name))
                blob.delete(if_generation_match=if_generation_match, **self._requests())
            except NotFound:
                return False
        return True

    def _rewrite(self, source: StoredObject, target: Any, if_generation_match: int) -> bool:
        """Copy within the bucket, in as many steps as GCS wants; False where a precondition failed."""
        from google.api_core.exceptions import NotFound, PreconditionFailed

        token = None
        try:
            while True:
                token, _, _ = target.rewrite(
                    self._session.blob(self._object(source.name)),
                    token=token,
                    if_generation_match=if_generation_match,
                    if_source_generation_match=source.generation,
                    **self._requests(),
                )
                if token is None:
                    return True
        except (NotFound, PreconditionFailed):
            return False

    def _send(
        self, name: str, opened: Callable[[], BinaryIO], size: int, crc32c: str, if_generation_match: int
    ) -> StoredObject:
        """Upload; what arrived damaged is sent again in its place, and removed where it stays damaged."""
        expected, how = if_generation_match, f"it was damaged on its way {_SENDINGS} times"
        for _ in range(_SENDINGS):
            with opened() as stream:
                stored = self._send_once(name, stream, size, crc32c, expected)
                if stored.crc32c == crc32c:
                    return stored
                expected = stored.generation
                stream.seek(0)  # takes the bytes back
            if isinstance(stream, CountedFile) and crc32c_of_file(stream.path) != crc32c:
                how = "the file changed on its way"
                break
        self._discard(stored)
        raise StoreError(
            f"{self.uri}/{name} has crc32c {stored.crc32c}, expected {crc32c}: {how}",
            hint="publish again while nothing writes to the repository",
        )

    def _discard(self, stored: StoredObject) -> None:
        with suppress(StoreError):  # another error is about to be raised
            self.delete_object(stored.name, if_generation_match=stored.generation)

    def _send_once(self, name: str, stream: BinaryIO, size: int, crc32c: str, if_generation_match: int) -> StoredObject:
        # The fewer requests the faster; but of several, the library reads the next chunk while it holds the last two.
        chunk = UPLOAD_MEMORY_BYTES if size <= UPLOAD_MEMORY_BYTES else UPLOAD_MEMORY_BYTES // 3
        blob = self._session.blob(self._object(name), chunk_size=chunk)
        blob.crc32c = crc32c  # GCS refuses what it is not: the library need not digest the file once more
        blob.upload_from_file(
            stream,
            size=size,
            content_type="application/octet-stream",
            checksum=None,
            if_generation_match=if_generation_match,  # also what makes the library's retries safe
            **self._requests(),
        )
        return self._describe(blob)

    def _check_generation(self, name: str, expected: int) -> None:
        if self._generation_of(name) != expected:
            raise precondition_error(f"{self.uri}/{name}")

    def _generation_of(self, name: str) -> int:
        stored = self.stat(name)
        return stored.generation if stored else 0

    def _requests(self, *, is_first: bool = False) -> dict[str, Any]:
        return self._session.patience.request_arguments(is_first=is_first)

    def _full(self, prefix: str) -> str:
        return f"{self.location.prefix}/{prefix}" if self.location.prefix else prefix

    def _object(self, name: str) -> str:
        check_object_name(name, where=self.uri)
        return self._full(name)

    def _read_pages(self, listing: Any) -> Iterator[Any]:
        """Yield the objects of a listing; the library would follow a page that names itself as the next for ever."""
        tokens = set()
        for page in listing.pages:
            yield from page
            token = listing.next_page_token
            if token is not None and (not isinstance(token, str) or token in tokens):
                raise malformed_error(self.uri, f"its listing goes on at {token!r:.100}, which is not another page")
            tokens.add(token)

    def _stat_keyed(self, blob: Any) -> StoredObject | None:
        """Request an object whose checksum a listing does not show: one under a customer-supplied key."""
        return self.stat(blob.name.removeprefix(self._full("")))

    def _describe(self, blob: Any) -> StoredObject:
        name = str(blob.name).removeprefix(self._full(""))
        try:
            crc32c = "" if blob.crc32c is None else blob.crc32c  # under another's key, GCS shows none
            stored = StoredObject(name, int(blob.size), crc32c, int(blob.generation), blob.updated)
            is_it = str(blob.id).startswith(f"{self.location.bucket}/{blob.name}") and stored.updated_at is not None
            is_it = is_it and isinstance(crc32c, str) and stored.size >= 0 and stored.generation > 0
        except (AttributeError, TypeError, ValueError):
            is_it = False
        if not is_it:  # another form, or a bit flipped on the way, there or back
            raise StoreError(
                f"the answer about {self.uri}/{name} is not about that object",
                hint="run again: what is in the store already is not sent twice",
            )
        return stored

    @contextmanager
    def _translated(self, permission: str, name: str | None = None) -> Iterator[None]:
        """Translate the library's exceptions; `permission` is what the request needs."""
        try:
            yield
        except Exception as err:
            translated = error_from_vendor(err, self.location, permission, name)
            if translated is None:
                raise
            raise translated from err


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Name the file that the system refuses to write (a full disk), which such an error does not: it is no store's."""
    try:
        yield
    except OSError as err:
        if type(err) is OSError and err.filename is None:
            err.filename = str(path)
        raise
