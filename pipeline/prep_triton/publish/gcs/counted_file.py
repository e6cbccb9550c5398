"""Files that tell how much of them was read or written, for the progress of a transfer."""

import io
import os
from pathlib import Path

from typing_extensions import Buffer, override

from prep_triton.publish.store import OnBytes


class CountedFile(io.FileIO):
    """A file that reports how many bytes were read, and how many were taken back."""

    def __init__(self, path: Path, on_bytes: OnBytes) -> None:
        super().__init__(path, "rb")
        self.path, self._on_bytes = path, on_bytes

    @override
    def read(self, size: int | None = -1, /) -> bytes:
        block = super().read(-1 if size is None else size)
        self._on_bytes(len(block))
        return block

    @override
    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        before = self.tell()
        after = super().seek(offset, whence)
        self._on_bytes(after - before)
        return after


class CountedWriter(io.BufferedWriter):
    """A new file that reports how many bytes were written, and how many were taken back."""

    def __init__(self, path: Path, on_bytes: OnBytes) -> None:
        super().__init__(io.FileIO(path, "wb"))
        self._on_bytes = on_bytes

    @override
    def write(self, block: Buffer, /) -> int:
        count = super().write(block)
        self._on_bytes(count)
        return count

    @override
    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        before = self.tell()
        after = super().seek(offset, whence)
        self._on_bytes(after - before)
        return after
