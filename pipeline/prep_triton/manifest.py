"""Manifests: the `manifest.json` of an artifact, written last, and how a folder's files are held against it."""

import json
import os
import shlex
import stat
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from prep_triton.artifact import MANIFEST_SCHEMA, Artifact, FileRecord
from prep_triton.errors import WorkspaceError
from prep_triton.files import digest_file, write_atomically
from prep_triton.layout import CONFIG_NAME, MANIFEST_NAME, list_names

# A file up to this size is always held against its digest; a larger one where it is newer than the manifest.
DIGEST_LIMIT_BYTES = 1 << 20
# Of a manifest: a plan's has some ten levels.
_DEEPEST = 100

A = TypeVar("A", bound=Artifact)


def save_manifest(artifact: Artifact, folder: Path) -> None:
    """Write an artifact's manifest: the last file of its folder."""
    text = json.dumps({"schema": MANIFEST_SCHEMA, **artifact.model_dump(mode="json")}, indent=2, sort_keys=True)
    write_atomically(folder / MANIFEST_NAME, f"{text}\n".encode())


def load_manifest(folder: Path, artifact_type: type[A]) -> A:
    """Load the manifest of a folder; the files that it names are not looked at.

    Args:
        folder: The folder that holds the manifest.
        artifact_type: The record that the manifest must hold.

    Raises:
        OSError: The manifest cannot be read.
        ValueError: It is not such a manifest, or of another version of prep; the reason is one line.
    """
    path = folder / MANIFEST_NAME
    if not stat.S_ISREG(path.stat().st_mode):  # a pipe would never end
        raise ValueError(f"{MANIFEST_NAME} is not a file")
    return parse_manifest(path.read_bytes(), folder, artifact_type)


def parse_manifest(text: bytes, folder: Path, artifact_type: type[A]) -> A:
    """Parse the text of a manifest; see `load_manifest`.

    Raises:
        ValueError: It is not such a manifest, or of another version of prep; the reason is one line.
    """
    try:
        content = json.loads(text.decode("utf-8"))
        schema = content.pop("schema", None) if isinstance(content, dict) else None
        if schema != MANIFEST_SCHEMA:
            message = f"its schema is {schema!r}, expected {MANIFEST_SCHEMA}: written by another version of prep"
            raise ValueError(f"{MANIFEST_NAME}: {message}")
        _check_depth(content)
        artifact = artifact_type.model_validate({**content, "folder": folder})
    except ValidationError as err:
        first = err.errors()[0]
        raise ValueError(f"{MANIFEST_NAME}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from err
    except RecursionError as err:
        raise ValueError(f"{MANIFEST_NAME} is nested too deeply") from err
    if missing := [name for name in artifact_type.always if name not in artifact.files]:
        raise ValueError(f"{MANIFEST_NAME} does not list {', '.join(missing)}")
    return artifact


def _check_depth(content: Any) -> None:
    """Refuse what can be parsed and not be written again: pydantic follows values some hundred levels down."""
    level = [content]
    for _ in range(_DEEPEST):
        values = (value.values() if isinstance(value, dict) else value for value in level)
        level = [inner for outer in values for inner in outer if isinstance(inner, dict | list)]
        if not level:
            return
    raise ValueError(f"{MANIFEST_NAME} is nested too deeply")


def load_artifact(folder: Path, artifact_type: type[A]) -> A:
    """Load an artifact from its folder: its manifest, and the files that it names with the sizes that it says.

    Raises:
        WorkspaceError: The manifest or a file of it is missing or damaged.
    """
    try:
        artifact = load_manifest(folder, artifact_type)
        for relative, expected in artifact.files.items():
            about = (folder / relative).stat()
            if not stat.S_ISREG(about.st_mode):
                raise ValueError(f"{relative} is not a file")
            if about.st_size != expected.size:
                raise ValueError(f"{relative} has {about.st_size} bytes, the manifest says {expected.size}")
    except (OSError, ValueError) as err:
        reason = _describe_error(err, folder) if isinstance(err, OSError) else str(err)
        raise WorkspaceError(
            f"{folder} does not hold a complete {artifact_type.noun}: {reason}", hint="make it again with prep"
        ) from err
    return artifact


def _describe_error(err: OSError, folder: Path) -> str:
    name = os.path.relpath(os.fsdecode(err.filename), folder) if err.filename else MANIFEST_NAME
    return f"{name} is missing" if isinstance(err, FileNotFoundError) else f"{name}: {err.strerror}"


def find_artifact(folder: Path, artifact_type: type[A]) -> A | None:
    """Return the artifact of a folder, or None where there is none or it is damaged."""
    try:
        return load_artifact(folder, artifact_type)
    except WorkspaceError:
        return None


def has_only_config(folder: Path) -> bool:
    """Whether a folder of a repository holds a tracked ``config.pbtxt`` and nothing else: not assembled here."""
    return list_names(folder) == [CONFIG_NAME]


def record_files(folder: Path) -> dict[str, FileRecord]:
    """Digest every file below a folder, by its path relative to it (POSIX separators)."""
    return {
        path.relative_to(folder).as_posix(): FileRecord(size=path.stat().st_size, sha256=digest_file(path))
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST_NAME
    }


def find_adopt_hint(folder: Path) -> str | None:
    """Return how to keep the config.pbtxt of an entry that was edited by hand; None where it was not."""
    path = folder / CONFIG_NAME
    if not path.is_file():
        return None
    try:
        recorded = json.loads((folder / MANIFEST_NAME).read_text(encoding="utf-8"))["files"][CONFIG_NAME]["sha256"]
        if digest_file(path) == recorded:
            return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    command = f"prep assemble --adopt {shlex.quote(folder.name)} -o {shlex.quote(str(folder.parent))}"
    return f"keep the edit with `{command}`, or undo it: remove {folder} and assemble the entry again"


def describe_change(path: Path, expected: FileRecord, *, written_ns: int, digest_all: bool = False) -> str | None:
    """Say how a file is not what its manifest recorded, or return None.

    Args:
        path: The file; it can be read.
        expected: What the manifest says of it.
        written_ns: When the manifest was written, nanoseconds since the epoch.
        digest_all: Digest a large file too that was not touched since.

    Raises:
        OSError: The file cannot be read.
    """
    about = path.stat()
    if about.st_size != expected.size:
        return f"has {about.st_size} bytes, the manifest says {expected.size}"
    if about.st_size > DIGEST_LIMIT_BYTES and about.st_mtime_ns <= written_ns and not digest_all:
        return None
    digest = digest_file(path)
    if digest != expected.sha256:
        return f"has sha256 {digest[:12]}…, the manifest says {expected.sha256[:12]}…"
    return None
