"""The local model repository that is published, checked against its manifests.

Only entries with a manifest count, and only the files that it lists: any other file is refused rather than served.
"""

import logging
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from prep_triton.artifact import RepositoryEntry
from prep_triton.errors import RepositoryError, RepositoryMissingError, SpecError, WorkspaceError
from prep_triton.files import check_readable
from prep_triton.layout import CONFIG_NAME, MANIFEST_NAME, walk_entry
from prep_triton.manifest import describe_change, find_adopt_hint, has_only_config, load_artifact
from prep_triton.publish.store import check_object_name

log = logging.getLogger(__name__)

_REBUILD = "write it again with prep assemble, or prep run"


@dataclass(frozen=True)
class LocalFile:
    """A file to publish; `sha256` is what its entry's manifest says, None for the manifest itself."""

    path: Path
    size: int
    sha256: str | None


@dataclass(frozen=True)
class LocalRepository:
    """A checked repository: its entries, and its files by their name in a release."""

    entries: tuple[RepositoryEntry, ...]
    files: Mapping[str, LocalFile]


def scan_repository(folder: Path, names: Sequence[str] | None = None) -> LocalRepository:
    """Read a repository's manifests, and check the files against them.

    Sizes are always compared; digests here only where a file was touched after its manifest was written
    (`publish_release` compares all of them before it uploads).

    Args:
        folder: The model repository.
        names: The entries to take; all that have a manifest where None.

    Raises:
        RepositoryMissingError: The folder or a named entry is missing, or there is no entry.
        RepositoryError: A folder cannot be read, an entry is not what its manifest says, or a link leads out of the
            repository.
    """
    if not folder.is_dir():
        raise RepositoryMissingError(
            f"there is no model repository {folder}", hint="make one with prep assemble or prep run"
        )
    check_readable(folder)
    folders = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    entry_dirs = [
        path for path in folders if (path / MANIFEST_NAME).is_file() and (names is None or path.name in names)
    ]
    for name in sorted(set(names or ()) - {path.name for path in entry_dirs}):
        raise RepositoryMissingError(f"{folder} has no entry '{name}' with a {MANIFEST_NAME}", hint=_REBUILD)
    if names is None:
        for path in sorted(path for path in set(folders) - set(entry_dirs) if not has_only_config(path)):
            log.warning("%s has no %s and is not published", path, MANIFEST_NAME)
    if not entry_dirs:
        raise RepositoryMissingError(
            f"{folder} has no entry to publish", hint="make one with prep assemble or prep run"
        )
    entries: list[RepositoryEntry] = []
    files: dict[str, LocalFile] = {}
    for path in entry_dirs:
        entry = _load_entry(path, folder)
        entries.append(entry)
        files |= _list_files(entry, path)
    _check_composed(entries, folder)
    return LocalRepository(tuple(entries), files)


def _check_composed(entries: Sequence[RepositoryEntry], folder: Path) -> None:
    """Refuse an ensemble without all that it calls: no server would load it."""
    names = {entry.name for entry in entries}
    for entry in entries:
        if missing := sorted(set(entry.composes) - names):
            raise RepositoryError(
                f"{folder / entry.name} calls {', '.join(missing)}, which has no {MANIFEST_NAME} and is not published",
                hint=_REBUILD,
            )


def _load_entry(path: Path, repository_dir: Path) -> RepositoryEntry:
    for link in _walk_links(path):
        _check_link(link, repository_dir)
    try:
        entry = load_artifact(path, RepositoryEntry)
        for name in (path.name, *entry.files):
            check_object_name(name, where=str(path))
    except (WorkspaceError, SpecError) as err:
        raise RepositoryError(err.message, hint=find_adopt_hint(path) or _REBUILD) from err
    if entry.name != path.name:
        raise RepositoryError(
            f"{path} holds the entry '{entry.name}', and Triton expects a folder of the model's name",
            hint=f"rename the folder to {entry.name}",
        )
    return entry


def _list_files(entry: RepositoryEntry, path: Path) -> dict[str, LocalFile]:
    manifest = path / MANIFEST_NAME
    written_ns = manifest.stat().st_mtime_ns
    files = {}
    for file in walk_entry(path):
        relative = file.relative_to(path).as_posix()
        record = entry.files.get(relative)
        if file == manifest:
            files[f"{path.name}/{relative}"] = LocalFile(file, file.stat().st_size, None)
            continue
        if record is None or not file.is_file():
            raise RepositoryError(f"{file} is not in the entry's {MANIFEST_NAME}", hint=f"remove it, or {_REBUILD}")
        if change := describe_change(file, record, written_ns=written_ns):
            hint = find_adopt_hint(path) if relative == CONFIG_NAME else None
            raise RepositoryError(f"{file} {change}: it was changed", hint=hint or _REBUILD)
        files[f"{path.name}/{relative}"] = LocalFile(file, record.size, record.sha256)
    for relative in sorted(set(entry.files) - {name.partition("/")[2] for name in files}):
        raise RepositoryError(
            f"{path / relative} is in the {MANIFEST_NAME} but is not a file to publish", hint=_REBUILD
        )
    return files


def check_digest(path: Path, digest: str, expected: str) -> None:
    """Refuse a file that is not what its manifest says.

    Raises:
        RepositoryError: The SHA-256 differs.
    """
    if digest != expected:
        raise RepositoryError(
            f"{path} has sha256 {digest[:12]}…, its {MANIFEST_NAME} says {expected[:12]}…: it was changed",
            hint=_REBUILD,
        )


def find_git_revision() -> str | None:
    """Return the commit of the folder that prep runs in, with ``-dirty`` where it was changed, or None."""
    git = shutil.which("git")
    if git is None:
        return None
    command = [git, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None if answer.returncode == 0 else None


def _walk_links(folder: Path) -> Iterator[Path]:
    if folder.is_symlink():
        yield folder
        return
    yield from (path for path in walk_entry(folder) if path.is_symlink())


def _check_link(link: Path, repository_dir: Path) -> None:
    try:
        target = link.resolve(strict=True)
    except (OSError, RuntimeError) as err:
        raise RepositoryError(f"{link} is a broken link", hint=_REBUILD) from err
    if not target.is_relative_to(repository_dir.resolve()):
        raise RepositoryError(f"{link} is a link out of the repository, to {target}", hint="replace the link by a copy")
    if target.is_dir():
        raise RepositoryError(f"{link} is a link to a folder", hint="replace the link by a copy")
