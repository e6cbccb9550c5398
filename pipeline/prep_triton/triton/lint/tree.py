"""Rules over names and folders: what belongs, what the server ignores, and what is lost on the way."""

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from prep_triton.files import load_json
from prep_triton.layout import (
    CACHE_DIRS,
    MANIFEST_NAME,
    RELEASE_NAME,
    RUN_ENTRIES_NAME,
    SERVER_ARGUMENTS_NAME,
    STAGING_PREFIX,
    list_names,
    walk_entry,
)
from prep_triton.triton.lint.entry import SERVER_FOLDERS, EntryFolder
from prep_triton.triton.lint.finding import Finding, make_finding

# Beside the entries: server arguments, a release's record, and what people write for people.
_TOP_FILES = (SERVER_ARGUMENTS_NAME, RELEASE_NAME)
_FOR_PEOPLE = (".md", ".txt", ".rst")
_REMAINS = (".tmp", ".temp", ".part", ".partial", ".crdownload", ".bak", ".orig", ".old", ".swp", "~")
_UNUSED = {".engine": "an engine under a name that no backend opens", ".whl": "a wheel, which nothing imports"}


def find_top_problems(repository_dir: Path) -> Iterator[Finding]:
    """Find what does not belong beside the entries."""
    for name in list_names(repository_dir):
        path = repository_dir / name
        if path.is_dir():
            yield from _find_hidden_problems(name)
        elif name.startswith(".") or name in _TOP_FILES or name.lower().endswith(_FOR_PEOPLE) or name == "LICENSE":
            continue
        elif not path.is_symlink():
            message = f"{name} is not an entry: the server looks at folders alone"
            yield make_finding("file-stray", name, message, "move it out of the repository")


def find_unmade_problems(repository_dir: Path, entries: Mapping[str, EntryFolder]) -> Iterator[Finding]:
    """Find assembled entries that the pipeline file of the last run does not make; nothing where none ran."""
    path = repository_dir / RUN_ENTRIES_NAME
    try:
        made = load_json(path)["entries"] if path.is_file() else None
    except (OSError, ValueError, LookupError, TypeError):
        return
    if not isinstance(made, list):
        return
    for name, entry in entries.items():
        if entry.manifest is not None and name not in made and entry.manifest.serves not in made:
            message = f"{name} is not of the pipeline file that was run last, and would be published with the others"
            yield make_finding("entry-unmade", name, message, f"rm -r {repository_dir / name}, if nobody serves it")


def find_case_problems(names: Iterable[str]) -> Iterator[Finding]:
    """Find entries whose names differ in case alone: a file system of macOS or Windows holds one of them."""
    first: dict[str, str] = {}
    for name in names:
        other = first.setdefault(name.casefold(), name)
        if other != name:
            message = f"{name} and {other} differ in upper and lower case alone: some file systems hold one of them"
            yield make_finding("entry-case", name, message, "rename one of them")


def _find_hidden_problems(name: str) -> Iterator[Finding]:
    if name.startswith(STAGING_PREFIX):
        message = (
            f"{name} is what a killed `prep assemble` left, or one that runs now; the server takes it for an entry"
        )
        yield make_finding("entry-leftover", name, message, "let prep assemble finish, or run it again")
    elif name.startswith("."):
        message = f"{name} is a hidden folder, and the server takes every folder for an entry: it would fail to load"
        yield make_finding("entry-hidden", name, message, f"remove {name}, or move it out of the repository")


def is_entry(path: Path) -> bool:
    """Whether a path in the repository is linted as an entry."""
    return path.is_dir() and not path.name.startswith(".")


def find_version_problems(entry: EntryFolder) -> Iterator[Finding]:
    """Find what is wrong with the version folders (core, model_lifecycle.cc, VersionsToLoad)."""
    misread = entry.misread_versions
    for name in entry.subfolders:
        if name in misread:
            message = f"the version folder '{name}' is not a version number, and the server reads a number in it"
            yield entry.on("version-name", name, message, "name version folders 1, 2, 3, …")
        elif not (_is_server_folder(name) or _is_version(entry, name) or _is_used(entry, name)):
            message = f"the folder '{name}' is not a version: the server ignores it"
            yield entry.on("version-ignored", name, message, "name version folders 1, 2, 3, …, or move it elsewhere")
    yield from _find_policy_problems(entry)
    for version in entry.versions:
        if not list_names(entry.folder / str(version)):
            message = f"the version folder {version} is empty: git and object stores such as gs:// keep no empty folder"
            yield entry.on("version-empty", str(version), message, "put a file into it, or remove it")


def _is_server_folder(name: str) -> bool:
    return name in SERVER_FOLDERS or name in CACHE_DIRS or name.startswith(".")


def _is_version(entry: EntryFolder, name: str) -> bool:
    return name in map(str, entry.versions)


def _is_used(entry: EntryFolder, name: str) -> bool:
    """Whether the configuration names a folder, or something in it, or the manifest does."""
    files = (*entry.named_files, *(entry.manifest.files if entry.manifest else ()))
    return any(relative.partition("/")[0] == name for relative in files)


def _find_policy_problems(entry: EntryFolder) -> Iterator[Finding]:
    have = ", ".join(map(str, entry.versions)) or "none"
    if not entry.served_versions and not entry.misread_versions:
        message = f"no version would be served: the version folders are {have}"
        yield entry.at(
            "version-none", "version_policy", message, "add the folder 1 with the model, or correct version_policy"
        )
        return
    if entry.config is None:
        return
    for version in sorted(set(entry.config.version_policy.specific.versions) - set(entry.versions)):
        message = f"version_policy names version {version}, and the version folders are {have}"
        yield entry.at("version-absent", "version_policy.specific.versions", message, f"add the folder {version}")


def find_file_problems(entry: EntryFolder, repository_dir: Path) -> Iterator[Finding]:
    """Find the files of an entry that do not belong there, by their names and kinds."""
    root = repository_dir.resolve()
    for path in walk_entry(entry.folder):
        relative = path.relative_to(entry.folder).as_posix()
        if path.is_symlink():
            yield from _find_link_problems(entry, path, relative, root)
            continue
        if not stat.S_ISREG(path.lstat().st_mode):
            yield entry.on("file-stray", relative, f"{relative} is neither a file nor a folder", "remove it")
        elif path.name.endswith(_REMAINS):
            yield entry.on("file-stray", relative, f"{relative} looks like a leftover", "remove it")
        elif path.suffix in _UNUSED:
            message = f"{relative} is {_UNUSED[path.suffix]}"
            yield entry.on("file-stray", relative, message, "remove it, or put what it is for in its place")
        elif not _is_expected(entry, relative):
            message = f"{relative} is not in the entry's {MANIFEST_NAME}, so prep publish refuses it"
            yield entry.on("file-stray", relative, message, "remove it, or assemble the entry again")


def _is_expected(entry: EntryFolder, relative: str) -> bool:
    if entry.manifest is None:
        return True
    return relative in entry.manifest.files or relative == MANIFEST_NAME


def _find_link_problems(entry: EntryFolder, path: Path, relative: str, root: Path) -> Iterator[Finding]:
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError):
        yield entry.on("link-broken", relative, f"{relative} is a link that leads nowhere", "put the file there")
        return
    if not target.is_relative_to(root):
        message = f"{relative} is a link out of the repository, to {target}"
        yield entry.on("link-outside", relative, message, "put a copy there instead of the link")


def is_readable_file(path: Path) -> bool:
    """Whether a path is a plain file that can be opened; a pipe would never end."""
    try:
        return stat.S_ISREG(path.stat().st_mode) and os.access(path, os.R_OK)
    except (OSError, ValueError):  # a name with a NUL
        return False


def is_within(name: str) -> bool:
    """Whether a file name of a configuration stays in the folder that it is looked for in."""
    return "\0" not in name and not name.startswith("/") and ".." not in name.split("/")
