"""Ctrl-C, SIGTERM and a closed terminal: answered from the first moment of a command to its last.

The first one ends a command, which then removes what it half wrote. A second one, as of somebody who sees nothing
happen or of a shell that passes on what the terminal sent already, does not interrupt that; a third ends it at once.

Libraries turn a KeyboardInterrupt that meets them in an import into errors of their own. It is remembered here, so
that whatever a command ends with after it is an interruption.
"""

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from prep_triton.cli.codes import INTERRUPTED

CTRL_C = signal.SIGINT
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
EXIT_INTERRUPTED = 130
MESSAGE = "interrupted: nothing half-written was kept"
HINT = "run the same command again"
CLEANING = "cleaning up after the first signal; a third one ends it at once"
CUT_SHORT = "interrupted in the clean-up: something half-written may be left"
CUT_SHORT_HINT = "run the same command again: it removes that"

_seen: list[int] = []


def raise_interrupt(signum: int, frame: FrameType | None) -> None:
    """Handle a signal: end the command as Ctrl-C does, and let it clean up."""
    del frame
    _seen.append(signum)
    if len(_seen) == 1:
        raise KeyboardInterrupt
    if len(_seen) == 2:
        _write(2, f"{CLEANING}\n")
        return
    if "--json" in sys.argv:
        _write(1, _render_error(CUT_SHORT, CUT_SHORT_HINT))
    _write(2, f"{CUT_SHORT}; {CUT_SHORT_HINT}\n")
    os._exit(EXIT_INTERRUPTED)


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
    """Say that a command was interrupted; imports nothing, since an import may be what was interrupted.

    It is the command's last word: what is signalled from here on is ignored.
    """
    for number in SIGNALS:
        if signal.getsignal(number) is raise_interrupt:
            signal.signal(number, signal.SIG_IGN)
    if as_json:
        sys.stdout.write(_render_error(MESSAGE, HINT))
    sys.stderr.write(f"{MESSAGE}; {HINT}\n")
    _seen.clear()


def take_interruption() -> None:
    """Forget an interruption that was answered: it was how a command is meant to end."""
    _seen.clear()


def ignore_signals() -> None:
    """Let nothing change the exit code any more: Python's own end takes a moment."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _render_error(message: str, hint: str) -> str:
    error: dict[str, object] = {"code": INTERRUPTED, "message": message, "hint": hint, "place": None, "faults": []}
    return json.dumps({"error": error}, indent=2) + "\n"


def _write(descriptor: int, text: str) -> None:
    """Write past Python's streams, which a signal may have met in the middle of a write."""
    with suppress(OSError):
        os.write(descriptor, text.encode())


def is_debugged() -> bool:
    """Whether errors keep their tracebacks: ``PREP_DEBUG=1``."""
    return bool(os.environ.get("PREP_DEBUG"))
