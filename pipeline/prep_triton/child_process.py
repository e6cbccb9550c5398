"""What a child process of ours does first."""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # prctl(2)


def end_with_parent(parent_pid: int) -> None:
    """Make the kernel end this process when its parent dies, however it dies (prctl(2), PR_SET_PDEATHSIG).

    Strictly, when the parent's thread that started it ends: one that waits for it.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:  # it died before the line above
        os._exit(1)
