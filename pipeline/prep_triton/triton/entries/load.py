"""Finds the entries of a Triton model repository, and keeps other runs from writing it meanwhile."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prep_triton.artifact import RepositoryEntry
from prep_triton.errors import RepositoryError, RepositoryMissingError, WorkspaceError
from prep_triton.files import LOCK_TIMEOUT_S, check_readable, hold_lock, remove_tree
from prep_triton.layout import CONFIG_NAME, LOCK_NAME, MANIFEST_NAME, STAGING_PREFIX
from prep_triton.manifest import (
    describe_change,
    find_adopt_hint,
    find_artifact,
    has_only_config,
    load_artifact,
    load_manifest,
)
from prep_triton.triton.entries.edits import EDITED
from prep_triton.triton.vendored.compare import find_edited_code
from prep_triton.workspace import Recipe

log = logging.getLogger(__name__)


def load_repository(repository_dir: Path, *, reference_only: bool = False) -> list[RepositoryEntry]:
    """Load every entry of a repository, by name. Folders without a manifest are left out with a warning.

    Args:
        repository_dir: The repository.
        reference_only: It is a copy of the files directly in the entries' folders (of a release that
            lies elsewhere, to verify it): do not ask for the models.

    Raises:
        RepositoryMissingError: The folder is missing or holds no entry.
        RepositoryError: A folder cannot be read, or a manifest or a file is damaged.
    """
    if not repository_dir.is_dir():
        raise RepositoryMissingError(f"{repository_dir} is not a folder", hint="make a repository with `prep assemble`")
    check_readable(repository_dir)
    entries = []
    for folder in sorted(repository_dir.iterdir()):
        if not folder.is_dir() or folder.name.startswith(".") or has_only_config(folder):
            continue
        if not (folder / MANIFEST_NAME).is_file():
            log.warning("%s has no %s and is left out; `prep assemble` writes it", folder, MANIFEST_NAME)
            continue
        entries.append(_load_entry(folder, reference_only=reference_only))
    if not entries:
        raise RepositoryMissingError(
            f"{repository_dir} holds no entry with a {MANIFEST_NAME}", hint="make one with `prep assemble`"
        )
    return entries


def _load_entry(folder: Path, *, reference_only: bool) -> RepositoryEntry:
    try:
        entry = _load_reference_copy(folder) if reference_only else load_artifact(folder, RepositoryEntry)
    except WorkspaceError as err:
        hint = find_adopt_hint(folder) or "write the entry again with `prep assemble`"
        raise RepositoryError(err.message, hint=hint) from err
    except (OSError, ValueError) as err:
        raise RepositoryError(
            f"{folder} does not hold a complete copy of an entry: {err}", hint="publish the repository again"
        ) from err
    edited = None if reference_only else find_adopt_hint(folder)  # an edit that left the size as it was
    if edited:
        raise RepositoryError(f"{folder / CONFIG_NAME} was edited by hand", hint=edited)
    if entry.name != folder.name:
        raise RepositoryError(
            f"{folder} holds the entry {entry.name}; Triton needs both names to be the same",
            hint=f"name the folder as the entry, or write it again with `prep assemble --name {folder.name}`",
        )
    return entry


def _load_reference_copy(folder: Path) -> RepositoryEntry:
    entry = load_manifest(folder, RepositoryEntry)
    missing = [name for name in entry.files if "/" not in name and not (folder / name).is_file()]
    if missing:
        raise ValueError(f"{', '.join(missing)} is missing")
    return entry


def list_entries(repository_dir: Path) -> list[RepositoryEntry]:
    """Return the whole entries of a repository by name, whatever else is in it."""
    entries = (
        find_artifact(folder, RepositoryEntry)
        for folder in sorted(repository_dir.iterdir())
        if folder.is_dir() and not folder.name.startswith(".")
    )
    return [entry for entry in entries if entry is not None]


def find_unchanged(final: Path, recipe: Recipe) -> RepositoryEntry | None:
    """Return the entry of a folder where it is the one of a recipe, and every file is what was written."""
    entry = find_artifact(final, RepositoryEntry)
    if entry is None or (entry.key, entry.name) != (recipe.key, final.name):
        return None
    written_ns = (final / MANIFEST_NAME).stat().st_mtime_ns
    for relative, expected in entry.files.items():
        if change := describe_change(final / relative, expected, written_ns=written_ns):
            log.info("%s %s; %s is written again", final / relative, change, entry.name)
            return None
    for relative, change in find_edited_code(entry):  # and the manifest with it
        log.info("%s %s; %s is written again", final / relative, change, entry.name)
        return None
    if EDITED in entry.spec:
        log.warning("%s keeps the config.pbtxt that was edited by hand; remove %s to undo it", entry.name, final)
    return entry


@contextmanager
def lock_repository(repository_dir: Path) -> Iterator[None]:
    """Keep other runs from writing a repository; the remains of a killed run are removed.

    Raises:
        WorkspaceBusyError: Another run holds it and does not finish.
    """
    hint = "wait for it, end it, or use another repository folder"
    with hold_lock(repository_dir / LOCK_NAME, str(repository_dir), timeout_s=LOCK_TIMEOUT_S, hint=hint):
        for leftover in repository_dir.glob(f"{STAGING_PREFIX}*"):  # of a killed run: the lock is ours
            remove_tree(leftover)
        yield
