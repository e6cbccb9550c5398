"""Files and folders that several runs may use at once: locks, digests, atomic writes, and what the system refuses."""

import errno
import fcntl
import hashlib
import json
import logging
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from prep_triton.errors import DiskFullError, PrepError, RepositoryError, WorkspaceBusyError, WorkspaceError
from prep_triton.os_errors import NO_SPACE, error_from_os, file_of

log = logging.getLogger(__name__)

LOCK_TIMEOUT_S = 1800.0
# A tokenizer.json of a large vocabulary has 20 MB; what is larger was not written by the library it claims.
LARGEST_JSON_BYTES = 128 << 20
_ANNOUNCE_AFTER_S = 1.0  # two runs that write in turn need not be announced
# NFS without its lock service, FUSE and other file systems.
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
_REFUSED = (
    *(errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG),
    *(errno.EIO, errno.ESTALE, errno.EFBIG),
)


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
        WorkspaceError: The file system fails to lock it. One that has no locks is a warning.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if (refusal := _find_refusal(path)) is not None:
        if refusal.errno not in _NO_LOCKS:
            message = f"{path.parent} cannot be locked: {refusal.strerror}"
            raise WorkspaceError(message, hint="check the network file system it lies on, then run again") from refusal
        log.warning("the file system of %s has no locks: run one prep at a time on it", path.parent)
        yield
        return
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


@contextmanager
def try_lock(path: Path) -> Iterator[bool]:
    """Hold a lock file without waiting; yield False where another run holds it.

    Where the file system has no locks there is nothing to hold, and True is yielded, as `hold_lock` goes on.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if (refusal := _find_refusal(path)) is not None and refusal.errno in _NO_LOCKS:
        yield True
        return
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def is_locked(path: Path) -> bool:
    """Whether another run holds a lock file, or may hold it; writes nothing."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as err:
        return err.errno not in _NO_LOCKS
    finally:
        os.close(descriptor)
    return False


def _find_refusal(path: Path) -> OSError | None:
    """Return why the file system does not lock a file, which it makes; None where it does."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:  # another run holds it
        return None
    except OSError as err:
        return None if err.errno == errno.EACCES else err  # some file systems say so of a lock that is held
    finally:
        os.close(descriptor)
    return None


def load_json(path: Path) -> Any:
    """Load a JSON file that others wrote.

    Raises:
        OSError: It cannot be read.
        ValueError: It is not a file (a pipe, a device), has more than `LARGEST_JSON_BYTES`, or is not JSON.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise ValueError("it is a pipe or a device, not a file")
    with path.open("rb") as stream:
        content = stream.read(LARGEST_JSON_BYTES + 1)
    if len(content) > LARGEST_JSON_BYTES:
        raise ValueError(f"it has more than {LARGEST_JSON_BYTES >> 20} MiB")
    try:
        return json.loads(content)
    except RecursionError as err:
        raise ValueError("it is nested too deeply") from err


def digest_file(path: Path) -> str:
    """Return the lower-case hex SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old content or the whole new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}")
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
    """Remove a folder, or a file or link in its place, that may not be there; what a link leads to stays.

    A signal that would interrupt it is heard after it: what is removed after an error is removed whole.
    """
    with _signals_deferred():
        if folder.is_symlink() or folder.is_file():
            folder.unlink(missing_ok=True)
            return
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _signals_deferred() -> Iterator[None]:
    pending: list[int] = []
    replaced = {}
    if threading.current_thread() is threading.main_thread():  # no other one hears signals
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        replaced = {number: handler for number, handler in handlers.items() if callable(handler)}
    try:
        for number in replaced:
            signal.signal(number, lambda signum, _frame: pending.append(signum))
        yield
    finally:
        for number, handler in replaced.items():
            signal.signal(number, handler)
        for signum in pending:
            signal.raise_signal(signum)


@contextmanager
def translate_os_errors(place: Path, *, setting: str = "--workspace") -> Iterator[None]:
    """Turn a full disk and a refused write into errors with a remedy; a file elsewhere is named itself.

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
        if _is_elsewhere(file_of(err), place) and (known := error_from_os(err)):
            raise known from err
        if err.errno in NO_SPACE:
            raise DiskFullError(
                f"no space is left on the device of {place}",
                hint=f"free some space, or name another place with {setting}",
            ) from err
        if err.errno == errno.ENOTDIR and place.is_dir() and (known := error_from_os(err)):  # of a path below it
            raise known from err
        if err.errno in _REFUSED:
            raise WorkspaceError(
                f"{place} cannot be written: {err.strerror}", hint=f"name a folder that you can write with {setting}"
            ) from err
        raise


def _is_elsewhere(filename: str | None, place: Path) -> bool:
    """Whether an `OSError` is about a file that lies neither in a folder nor above it: one that is read, say."""
    if filename is None:
        return False
    try:
        path, place = Path(filename).absolute(), place.absolute()
    except OSError:  # there is no working directory any more
        return False
    return not path.is_relative_to(place) and not place.is_relative_to(path)


def check_readable(folder: Path) -> None:
    """Refuse a model repository, or an entry, with a folder that the user may not read.

    Raises:
        RepositoryError: Names the folder.
    """
    closed = find_unreadable_folder(folder)
    if closed is not None:
        raise RepositoryError(f"the folder {closed} cannot be read: permission denied", hint=f"chmod u+rx {closed}")


def find_unreadable_folder(folder: Path) -> Path | None:
    """Return the first folder, this or one below it, that the user may not list or enter; None where all are open.

    Links to folders are not followed.
    """
    if not os.access(folder, os.R_OK | os.X_OK):
        return folder
    below = sorted(entry.path for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False))
    return next((path for path in map(find_unreadable_folder, map(Path, below)) if path is not None), None)
