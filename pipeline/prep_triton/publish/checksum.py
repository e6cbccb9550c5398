"""CRC32C as GCS writes it, and SHA-256, of bytes and files in bounded memory."""

import base64
import hashlib
from pathlib import Path
from typing import BinaryIO

_BLOCK = 1 << 20


def crc32c_of_bytes(content: bytes) -> str:
    """Return the CRC32C of bytes as GCS writes it: base64 of its four big-endian bytes."""
    import google_crc32c

    return _render_crc32c(google_crc32c.value(content))


def crc32c_of_stream(stream: BinaryIO) -> str:
    """Return the CRC32C of what is left of a stream, as GCS writes it."""
    return _digest(stream, with_sha256=False)[0]


def crc32c_of_file(path: Path) -> str:
    """Return the CRC32C of a file as GCS writes it."""
    with path.open("rb") as stream:
        return crc32c_of_stream(stream)


def digests_of_file(path: Path) -> tuple[str, str]:
    """Return the CRC32C of a file as GCS writes it, and its lower-case hex SHA-256."""
    with path.open("rb") as stream:
        return _digest(stream, with_sha256=True)


def _digest(stream: BinaryIO, *, with_sha256: bool) -> tuple[str, str]:
    import google_crc32c

    crc, sha256 = 0, hashlib.sha256()
    while block := stream.read(_BLOCK):
        crc = google_crc32c.extend(crc, block)
        if with_sha256:
            sha256.update(block)
    return _render_crc32c(crc), sha256.hexdigest()


def _render_crc32c(crc: int) -> str:
    return base64.b64encode(crc.to_bytes(4, "big")).decode("ascii")
