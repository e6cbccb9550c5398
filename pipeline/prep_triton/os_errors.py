"""What the operating system answers on its bad days, as our errors."""

import errno
import os
from pathlib import Path

from prep_triton.errors import DiskFullError, PrepError, WorkspaceError

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
# What is about a file that is written, and of a copy never about its source.
_OF_WRITING = (*NO_SPACE, errno.EFBIG)
_HINTS = {
    errno.ENOENT: "something removed it while prep ran, or a link leads nowhere: look there, then run again",
    errno.EACCES: "see who may read and write it: ls -ld, then chmod or chown",
    errno.EPERM: "see who may read and write it: ls -ld, then chmod or chown",
    errno.EROFS: "it lies on a device that is mounted read-only: name another place",
    errno.EIO: "check the disk or the network file system, then run again",
    errno.ESTALE: "check the network file system (a new mount may be needed), then run again",
    errno.ENAMETOOLONG: "use a shorter name",
    errno.ELOOP: "its symbolic links lead in a circle: remove one",
    errno.EMFILE: "allow more open files: ulimit -n 4096",
    errno.EFBIG: "allow larger files (ulimit -f), or name a file system that takes them",
    errno.EISDIR: "name a file",
    errno.ENOTDIR: "name a folder",
}


def error_from_os(err: OSError) -> PrepError | None:
    """Return the error that names the file which an `OSError` is about; None where it is about none.

    The last resort: where it is known what a file is for, the place that opens it says more.
    """
    words = os.strerror(err.errno) if err.errno else ""
    name = file_of(err)
    if err.errno in NO_SPACE:
        message = f"no space is left on the device of {name}" if name else "a device has no space left"
        return DiskFullError(message, hint="df -h shows which: that of the workspace, of the output or of TMPDIR")
    if name and err.errno:
        hint = _HINTS.get(err.errno, "PREP_DEBUG=1 shows where it was needed")
        return WorkspaceError(f"{name} cannot be read or written: {words}", hint=hint)
    if err.errno == errno.ENOENT and is_working_directory_gone():
        return WorkspaceError(
            "the working directory does not exist any more", hint="change to a folder that does: cd /path"
        )
    if err.errno in (errno.EIO, errno.ESTALE):
        return WorkspaceError(f"the file system failed: {words}", hint=_HINTS[err.errno])
    return None


def file_of(err: OSError) -> str | None:
    """Return the file that an error is about: of a copy that found no space, the one that is written."""
    name = err.filename2 if err.errno in _OF_WRITING and err.filename2 else err.filename
    return os.fsdecode(name) if isinstance(name, str | bytes) else None


def is_working_directory_gone() -> bool:
    """Whether the folder that the process works in was deleted."""
    try:
        Path.cwd()
    except OSError:
        return True
    return False
