"""Are an artifact's files what its manifest says? Digested once; afterwards a `stat` tells, until a file is touched.

What was digested is remembered beside the artifacts, by the inode, the size and both times of each file: a copied
workspace is digested once more. A change that leaves all of these alone (a disk that decays) is not seen.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from prep_triton.artifact import Artifact
from prep_triton.files import digest_file, write_atomically

Marks = Mapping[str, list[int | str]]


def find_damage(artifact: Artifact, marks_path: Path, *, remember: bool = True) -> str | None:
    """Name the first file of an artifact whose digest is not the one in its manifest, or return None.

    Args:
        artifact: The artifact; its files are there.
        marks_path: Where what was digested before is remembered.
        remember: Write that file.
    """
    seen = _load_marks(marks_path)
    marks: dict[str, list[int | str]] = {}
    for relative, expected in artifact.files.items():
        path = artifact.path(relative)
        try:
            # Before the digest: what is written meanwhile is digested again.
            mark = _mark_file(path, expected.sha256)
            if seen.get(relative) != mark and digest_file(path) != expected.sha256:
                return f"{path} is damaged: its digest is not the one in its manifest"
        except OSError as err:
            return f"{path} cannot be read: {err.strerror}"
        marks[relative] = mark
    if remember and marks != seen:
        save_marks(marks, marks_path)
    return None


def mark_files(artifact: Artifact) -> Marks:
    """Return the marks of an artifact whose files were digested just now."""
    return {relative: _mark_file(artifact.path(relative), file.sha256) for relative, file in artifact.files.items()}


def save_marks(marks: Marks, marks_path: Path) -> None:
    """Remember what was digested; where that cannot be written, it is digested again next time."""
    with suppress(OSError):
        write_atomically(marks_path, json.dumps(marks).encode())


def _mark_file(path: Path, sha256: str) -> list[int | str]:
    about = path.stat()
    return [about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns, sha256]


def _load_marks(marks_path: Path) -> Marks:
    try:
        marks = json.loads(marks_path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return marks if isinstance(marks, dict) else {}
