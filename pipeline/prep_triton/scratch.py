"""Folders that live as long as a `with` block, and what a killed run left of its own.

Each is locked by its owner for as long as it lives, so that the next run of the same kind knows the folder of a run
that was killed (``kill -9``, a crash, no memory) from that of one that is at work, and removes it.
"""

import fcntl
import logging
import os
import secrets
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from prep_triton.files import remove_tree

log = logging.getLogger(__name__)

# Where the file system has no locks (NFS), what was not written to for so long is nobody's.
_STALE_AFTER_S = 24 * 3600.0


def _ignore(_: Path) -> None:
    pass


@contextmanager
def scratch_folder(kind: str, *, also_remove: Callable[[Path], None] = _ignore) -> Iterator[Path]:
    """Make a folder in TMPDIR, and remove it after the block; first, those of the same kind whose owner is dead.

    Args:
        kind: What it is for, within its name.
        also_remove: Is called with each such folder, this one too, to remove what belongs to it elsewhere.
    """
    parent, prefix = Path(tempfile.gettempdir()), f"prep-scratch-{kind}-"
    with locked_folder(parent, prefix, mode=0o700, also_remove=also_remove) as folder:
        yield folder


@contextmanager
def locked_folder(
    parent: Path, prefix: str, *, mode: int = 0o777, also_remove: Callable[[Path], None] = _ignore
) -> Iterator[Path]:
    """Make a folder of a prefix somewhere; see `scratch_folder`. A block may move it away.

    Raises:
        OSError: It cannot be made.
    """
    _remove_abandoned(parent, prefix, also_remove)
    folder, descriptor = _make_locked(parent, prefix, mode)
    try:
        yield folder
    finally:
        remove_tree(folder)
        also_remove(folder)
        os.close(descriptor)


def _make_locked(parent: Path, prefix: str, mode: int) -> tuple[Path, int]:
    while True:
        folder = parent / f"{prefix}{secrets.token_hex(6)}"
        folder.mkdir(mode)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        with suppress(OSError):  # no locks here
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        # Another run may have taken it for abandoned before it was locked.
        if folder.is_dir():
            return folder, descriptor
        os.close(descriptor)


def _remove_abandoned(parent: Path, prefix: str, also_remove: Callable[[Path], None]) -> None:
    for folder in sorted(parent.glob(f"{prefix}*")):
        with suppress(OSError):  # another run is removing it, or it may not be touched
            _remove_if_abandoned(folder, also_remove)


def _remove_if_abandoned(folder: Path, also_remove: Callable[[Path], None]) -> None:
    about = folder.lstat()
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.geteuid():
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # its owner lives
            return
        except OSError:
            if time.time() - about.st_mtime < _STALE_AFTER_S:
                return
        log.debug("%s is of a run that was killed, and is removed", folder)
        remove_tree(folder)
        also_remove(folder)
    finally:
        os.close(descriptor)
