"""Ctrl-C, SIGTERM and a closed terminal: answered from the first moment of a command to its last.

Libraries turn a KeyboardInterrupt that meets them in an import into errors of their own. It is remembered here, so
that whatever a command ends with after it is an interruption.
"""

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from prep_triton.cli.codes import INTERRUPTED

CTRL_C = signal.SIGINT
EXIT_INTERRUPTED = 130
MESSAGE = "interrupted: nothing half-written was kept"
HINT = "run the same command again"

_seen: list[int] = []


def raise_interrupt(signum: int, frame: FrameType | None) -> NoReturn:
    """Handle a signal: end the command as Ctrl-C does."""
    del frame
    _seen.append(signum)
    raise KeyboardInterrupt


def was_interrupted(err: BaseException | None = None) -> bool:
    """Whether a command, which may end with `err`, was interrupted, and did not say so yet."""
    while err is not None:
        if isinstance(err, KeyboardInterrupt):
            return True
        err = err.__cause__  # Python 3.11 makes a RuntimeError of what meets a class that is being made
    return bool(_seen)


@contextmanager
def translate_signals(*numbers: signal.Signals) -> Iterator[None]:
    """Let signals interrupt as Ctrl-C does, unless the shell chose otherwise (nohup, a background job)."""
    handled = {number: signal.getsignal(number) for number in numbers}
    replaced = [n for n, handler in handled.items() if handler in (signal.SIG_DFL, signal.default_int_handler)]
    for number in replaced:
        signal.signal(number, raise_interrupt)
    try:
        yield
    finally:
        for number in replaced:
            signal.signal(number, handled[number])


def print_interruption(*, as_json: bool) -> None:
    """Say that a command was interrupted; imports nothing, since an import may be what was interrupted."""
    if as_json:
        error: dict[str, object] = {"code": INTERRUPTED, "message": MESSAGE, "hint": HINT, "place": None, "faults": []}
        sys.stdout.write(json.dumps({"error": error}, indent=2) + "\n")
    sys.stderr.write(f"{MESSAGE}; {HINT}\n")
    _seen.clear()


def is_debugged() -> bool:
    """Whether errors keep their tracebacks: ``PREP_DEBUG=1``."""
    return bool(os.environ.get("PREP_DEBUG"))
