"""How many bytes files take, and how many their removal frees: artifacts share files by hard links."""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class FileName:
    """One name of a file: which file it is, and its size in bytes."""

    file_id: tuple[int, int]
    size: int


def list_files(path: Path) -> Iterator[FileName]:
    """Yield the name of each file at or below a path; what is gone meanwhile is left out, links are not followed."""
    is_folder = path.is_dir() and not path.is_symlink()
    paths = (Path(folder) / name for folder, _, names in os.walk(path) for name in names) if is_folder else [path]
    for file in paths:
        with suppress(OSError):
            about = file.lstat()
            yield FileName((about.st_dev, about.st_ino), about.st_size)


def measure_size(*paths: Path) -> int:
    """Return the bytes of all files at or below paths; what several names share counts once."""
    return sum({name.file_id: name.size for path in paths for name in list_files(path)}.values())


class DiskUse:
    """The bytes below a folder, and what is left of them as names go.

    `total` is what the files take that have a name left.
    """

    def __init__(self, root: Path) -> None:
        self.total = 0
        self._names_of: dict[tuple[int, int], int] = {}
        for name in list_files(root):
            self.total += 0 if name.file_id in self._names_of else name.size
            self._names_of[name.file_id] = self._names_of.get(name.file_id, 0) + 1

    def forget(self, names: Sequence[FileName]) -> int:
        """Take names away, and return the bytes of the files that lost their last one."""
        freed = 0
        for name in names:
            left = self._names_of.get(name.file_id, 0) - 1
            self._names_of[name.file_id] = left
            freed += name.size if left == 0 else 0
        self.total -= freed
        return freed
