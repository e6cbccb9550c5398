"""Replacing a folder by another in one step, so that a kill leaves the old one or the new one."""

import ctypes
import errno
import os
from pathlib import Path

AT_FDCWD = -100
RENAME_EXCHANGE = 2  # renameat2(2), Linux >= 3.15
_UNSUPPORTED = (errno.ENOSYS, errno.EINVAL)


def swap_folders(new: Path, place: Path) -> None:
    """Put `new` where `place` is; afterwards what was there (a folder, a file, a link) lies where `new` was.

    Raises:
        OSError: The file system refused.
    """
    if not os.path.lexists(place):  # a link that leads nowhere is there too
        new.replace(place)
        return
    if not _exchange(new, place):
        # WAR(file systems without RENAME_EXCHANGE, such as NFS): two steps, with a moment between them
        # in which a kill leaves no entry; the next run writes it again.
        aside = new.with_name(f"{new.name}.old")
        place.replace(aside)
        new.replace(place)
        aside.replace(new)


def _exchange(first: Path, second: Path) -> bool:
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    if renameat2(AT_FDCWD, os.fsencode(first), AT_FDCWD, os.fsencode(second), RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in _UNSUPPORTED:
        return False
    raise OSError(code, os.strerror(code), str(first))
