"""A store in which somebody else deletes, replaces or adds an object just after it was written."""

from pathlib import Path

from prep_triton.layout import RELEASES_DIR, folder_of_release
from prep_triton.publish.gcs import GcsStore
from prep_triton.publish.store import CREATE_ONLY, OnBytes, StoredObject, ignore_bytes
from prep_triton.publish.uri import open_store, parse_gcs_uri
from typing_extensions import override

MEDDLINGS = ("delete", "replace", "add")


class MeddledStore(GcsStore):
    """Meddles once, after the file `name` of a release was uploaded or copied.

    Args:
        uri: The store.
        name: The file, relative to its release.
        meddling: One of `MEDDLINGS`; what is replaced keeps its size.
    """

    def __init__(self, uri: str, name: str, meddling: str) -> None:
        super().__init__(parse_gcs_uri(uri))
        self._name, self._meddling, self._other = name, meddling, open_store(uri)
        self.is_done = False

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
        stored = super().upload_file(
            name, path, crc32c=crc32c, if_generation_match=if_generation_match, on_bytes=on_bytes
        )
        self._meddle(stored)
        return stored

    @override
    def copy_object(
        self, source: StoredObject, name: str, *, if_generation_match: int = CREATE_ONLY
    ) -> StoredObject | None:
        stored = super().copy_object(source, name, if_generation_match=if_generation_match)
        if stored:
            self._meddle(stored)
        return stored

    def _meddle(self, stored: StoredObject) -> None:
        release_id, _, name = stored.name.removeprefix(f"{RELEASES_DIR}/").partition("/")
        if name != self._name:
            return
        self.is_done = True
        if self._meddling == "delete":
            self._other.delete_object(stored.name, if_generation_match=stored.generation)
        elif self._meddling == "replace":
            content = self._other.read_bytes(stored.name)
            changed = content[:-1] + bytes([content[-1] ^ 1])
            self._other.write_bytes(stored.name, changed, if_generation_match=stored.generation)
        else:
            self._other.write_bytes(f"{folder_of_release(release_id)}another/config.pbtxt", b"")
