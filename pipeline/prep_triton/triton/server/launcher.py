"""Becomes another program, which ends when the program that started it ends, even by ``kill -9``.

Run as ``python -I -S launcher.py PARENT_PID PROGRAM ARGUMENT...``. A `preexec_fn` would do the same
between fork and exec, where a program with threads must run no Python.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # prctl(2); the setting survives execve(2)


def become(parent_pid: int, command: list[str]) -> None:
    """Tie this program's life to its parent's, and replace it by `command`."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent_pid:  # it died before prctl was called
        sys.exit(1)
    os.execv(command[0], command)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    become(int(sys.argv[1]), sys.argv[2:])
