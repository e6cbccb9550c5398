"""Puts an entry of any kind into a repository, whole or not at all."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from prep_triton.artifact import RepositoryEntry
from prep_triton.files import remove_tree, translate_os_errors
from prep_triton.layout import STAGING_PREFIX
from prep_triton.manifest import record_files, save_manifest
from prep_triton.progress import Progress, ignore_progress
from prep_triton.triton.config.traps import find_ensemble_traps
from prep_triton.triton.entries.edits import check_edit
from prep_triton.triton.entries.exchange import swap_folders
from prep_triton.triton.entries.load import find_unchanged, list_entries, lock_repository
from prep_triton.triton.entries.server_arguments import write_server_arguments
from prep_triton.workspace import Produced, Recipe

log = logging.getLogger(__name__)


def place_entry(
    recipe: Recipe,
    repository_dir: Path,
    make: Callable[[Path], Mapping[str, Any]],
    *,
    progress: Progress = ignore_progress,
) -> Produced[RepositoryEntry]:
    """Put an entry of any kind into a repository, unless it is there as it would be written.

    Args:
        recipe: What decides its bytes; its name is the folder's.
        repository_dir: The repository; made if it is not there.
        make: Writes the files into the empty folder it is given, and returns the record's own fields.
        progress: Is called with what is being written.

    Raises:
        RepositoryError: Its config.pbtxt was edited by hand, and would be lost.
        WorkspaceBusyError: Another run writes this repository and does not finish.
        DiskFullError, WorkspaceError: The repository cannot be written; the old entry is still whole.
    """
    final = repository_dir / recipe.name
    with translate_os_errors(repository_dir, setting="--output"), lock_repository(repository_dir):
        unchanged = find_unchanged(final, recipe)
        log.debug("%s is %s", final, "as it would be written" if unchanged else "to be written")
        if unchanged is None:
            progress(f"writing {recipe.name}")
            entry = _place(recipe, repository_dir / f"{STAGING_PREFIX}{recipe.name}", final, make)
            others = list_entries(repository_dir) if entry.composes else []
            for name, trap in find_ensemble_traps(entry, others):
                log.warning("%s, in %s: %s", name, entry.name, trap.sentence)
        write_server_arguments(repository_dir)
    return Produced(unchanged or entry, reused=unchanged is not None)


def _place(recipe: Recipe, staging: Path, final: Path, make: Callable[[Path], Mapping[str, Any]]) -> RepositoryEntry:
    try:
        remove_tree(staging)
        staging.mkdir(parents=True)
        fields = make(staging)
        check_edit(final, staging)
        entry = RepositoryEntry(
            name=recipe.name,
            key=recipe.key,
            folder=staging,
            files=record_files(staging),
            spec=dict(recipe.spec),
            inputs=dict(recipe.inputs),
            tools=dict(recipe.tools),
            **fields,
        )
        save_manifest(entry, staging)
        swap_folders(staging, final)
    finally:  # Ctrl-C too; after the swap the old entry lies here
        remove_tree(staging)
    return entry.model_copy(update={"folder": final})
