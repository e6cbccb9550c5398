"""Files and folders that several runs may use at once: locks, digests, atomic writes, and what the system refuses."""

import errno
import hashlib
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from prep_triton.errors import DiskFullError, PrepError, WorkspaceBusyError, WorkspaceError

log = logging.getLogger(__name__)

LOCK_TIMEOUT_S = 1800.0
_ANNOUNCE_AFTER_S = 1.0  # two runs that write in turn need not be announced
_REFUSED = (errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG)


@contextmanager
def hold_lock(
    path: Path, what: str, *, timeout_s: float, hint: str, error: type[PrepError] = WorkspaceBusyError
) -> Iterator[None]:
    """Hold a lock file against other runs, and say so where one has to be waited for.

    Args:
        path: The lock file; its folder is made.
        what: What is locked, as a message names it.
        timeout_s: How long to wait for another run.
        hint: What to do where that was not enough.
        error: What to raise then.

    Raises:
        WorkspaceBusyError: Another run holds it and does not finish; or `error`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    announce_after_s = min(_ANNOUNCE_AFTER_S, timeout_s)
    try:
        try:
            lock.acquire(timeout=announce_after_s)
        except Timeout:
            log.warning("another run holds %s; waiting for it", what)
            lock.acquire(timeout=timeout_s - announce_after_s)
    except Timeout as err:
        raise error(f"another run has held {what} for over {timeout_s:g} s", hint=hint) from err
    try:
        yield
    finally:
        lock.release()


def digest_file(path: Path) -> str:
    """Return the lower-case hex SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old content or the whole new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with staging.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        staging.replace(path)
    except BaseException:
        staging.unlink(missing_ok=True)
        raise


def remove_tree(folder: Path) -> None:
    """Remove a folder that may not be there."""
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def translate_os_errors(place: Path, *, setting: str = "--workspace") -> Iterator[None]:
    """Turn a full disk and a refused write into errors with a remedy.

    Args:
        place: Where it is written.
        setting: What names another place: a flag, a key, a variable.

    Raises:
        DiskFullError: No space, or no quota, is left.
        WorkspaceError: The place cannot be written.
    """
    try:
        yield
    except OSError as err:
        if err.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(
                f"no space is left on the device of {place}",
                hint=f"free some space, or name another place with {setting}",
            ) from err
        if err.errno in _REFUSED:
            raise WorkspaceError(
                f"{place} cannot be written: {err.strerror}", hint=f"name a folder that you can write with {setting}"
            ) from err
        raise
