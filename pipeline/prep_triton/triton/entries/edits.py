"""A config.pbtxt that was edited by hand: not lost to the next assembling."""

import logging
import shutil
from pathlib import Path

from prep_triton.artifact import RepositoryEntry
from prep_triton.errors import RepositoryError
from prep_triton.files import digest_file
from prep_triton.layout import CONFIG_NAME, name_of_backup
from prep_triton.manifest import find_adopt_hint, load_manifest

log = logging.getLogger(__name__)

# The key of a manifest's spec that names the files which were edited by hand and adopted.
EDITED = "edited_by_hand"


def check_edit(final: Path, staging: Path) -> None:
    """Refuse to lose an edit that was not adopted; keep a copy of an adopted one, whose choices are others now.

    Args:
        final: The entry's folder, if there is one.
        staging: What is to take its place.

    Raises:
        RepositoryError: Its config.pbtxt was edited, and is another than the one to be written.
    """
    if not is_edited(final) or (final / CONFIG_NAME).read_bytes() == (staging / CONFIG_NAME).read_bytes():
        return
    if hint := find_adopt_hint(final):
        raise RepositoryError(
            f"{final / CONFIG_NAME} was edited by hand, and would be written again",
            hint=f"{hint}, or write it again all the same: prep assemble --force",
        )
    save_backup(final)


def save_backup(entry_dir: Path) -> None:
    """Copy an entry's config.pbtxt beside the entries, where no server and no release takes it."""
    backup = entry_dir.parent / name_of_backup(entry_dir.name)
    shutil.copyfile(entry_dir / CONFIG_NAME, backup)
    log.warning("%s was edited by hand and is written again; the edit is kept as %s", entry_dir / CONFIG_NAME, backup)


def discard_edit(entry_dir: Path) -> None:
    """Give up an edit, with a copy of it: the entry is assembled again as if there were none."""
    if is_edited(entry_dir):
        save_backup(entry_dir)
        (entry_dir / CONFIG_NAME).unlink()


def is_edited(entry_dir: Path) -> bool:
    """Whether an entry's config.pbtxt is none that prep wrote; False where no manifest says what prep wrote."""
    path = entry_dir / CONFIG_NAME
    try:
        entry = load_manifest(entry_dir, RepositoryEntry)
        recorded = entry.files.get(CONFIG_NAME)
        return (
            path.is_file() and recorded is not None and (EDITED in entry.spec or digest_file(path) != recorded.sha256)
        )
    except (OSError, ValueError):
        return False
