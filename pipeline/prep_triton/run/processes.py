"""Jobs in processes of their own: what they report is relayed, what they return or raise comes back.

A process of its own, because an export holds Python's lock most of the time, gives its memory back only at its
end, and may be killed by the system where memory is short: its neighbours go on.
"""

import logging
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from prep_triton.child_process import end_with_parent
from prep_triton.errors import PrepError
from prep_triton.extras import error_from_import
from prep_triton.os_errors import error_from_os
from prep_triton.progress import Progress, ignore_progress
from prep_triton.run.report import RowCollector, StageRow

log = logging.getLogger(__name__)

_TERMINATED = 143
_GRACE_S = 5.0

T = TypeVar("T")


class EndedError(Exception):
    """A job was ended by `ChildProcesses.end`: not a failure of its own."""


class ChildProcesses:
    """Runs jobs, one a process, from several threads.

    Args:
        rows: Takes the rows of every job.
        progress: Hears what each job is about to do.
    """

    def __init__(self, rows: RowCollector, progress: Progress) -> None:
        self.rows, self.progress = rows, progress
        self.running: list[Any] = []
        self.is_ended = False
        self.lock = threading.Lock()

    def run(self, job: Callable[[RowCollector], T], label: str) -> T:
        """Run a job in a process of its own, and return what it returns.

        Args:
            job: What to run there; it and its result can be pickled.
            label: What is made, for a person.

        Raises:
            PrepError: What the job raised, or that its process ended without a word.
            EndedError: `end` was called.
        """
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe(duplex=False)
        arguments = (job, theirs, os.getpid(), log.getEffectiveLevel())
        child = context.Process(target=_run_job, args=arguments, daemon=True)
        with self.lock:  # so that `end` misses none that is being started
            if self.is_ended:
                raise EndedError
            child.start()
            self.running.append(child)
        theirs.close()
        kind, content = self._relay(ours, label)
        child.join()
        if self.is_ended:
            raise EndedError
        if kind == "returned":
            result: T = content
            return result
        if kind == "failed":
            error_type, message, hint, place = content
            raise error_type(message, hint=hint, place=place)
        raise PrepError(
            f"the process that made {label} ended with status {child.exitcode}",
            hint="where memory is short, lower --jobs or --memory-gib; PREP_DEBUG=1 shows its traceback",
        )

    def _relay(self, connection: Connection, label: str) -> tuple[str, Any]:
        """Relay what a job reports until its last message; ``("", None)`` where its process ended before that."""
        while True:
            try:
                kind, content = connection.recv()
            except (EOFError, OSError, pickle.UnpicklingError):  # it ended, perhaps in the middle of a message
                return "", None
            if kind == "row":
                self.rows.add(content)
            elif kind == "phase":
                self.progress(f"{label}: {content}")
            elif kind == "notice":
                _log_notice(label, *content)
            else:
                return kind, content

    def end(self) -> None:
        """End every process: kindly, and where a library's own code does not let go, at once."""
        with self.lock:
            self.is_ended = True
        for child in self.running:
            child.terminate()
        deadline = time.monotonic() + _GRACE_S
        for child in self.running:
            child.join(max(0.0, deadline - time.monotonic()))
            child.kill()


class _Sender:
    """The listener of a child: sends what it hears to the parent."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def stage(self, label: str) -> Any:
        """Say that a step begins."""
        self.connection.send(("phase", label))
        return nullcontext(ignore_progress)

    def finished(self, row: StageRow) -> None:
        """Say that a step ended."""
        self.connection.send(("row", row))


class _NoticeSender(logging.Handler):
    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self.connection = connection

    def emit(self, record: logging.LogRecord) -> None:
        self.connection.send(("notice", (record.name, record.levelno, str(record.msg), record.getMessage())))


def _log_notice(stage: str, name: str, level: int, template: str, message: str) -> None:
    """Log what a child logged: `template` is the message without its values, which says what kind of notice it is."""
    fields = {"name": name, "levelno": level, "levelname": logging.getLevelName(level), "msg": message}
    logging.getLogger(name).handle(logging.makeLogRecord({**fields, "template": template, "stage": stage}))


def _run_job(job: Callable[[RowCollector], Any], connection: Connection, parent_pid: int, log_level: int) -> None:
    end_with_parent(parent_pid)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C reaches the parent, which ends us:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(_TERMINATED))  # and nothing half-written stays
    logger = logging.getLogger("prep_triton")
    logger.addHandler(_NoticeSender(connection))
    logger.setLevel(log_level)
    try:
        result = job(RowCollector(_Sender(connection)))
    except (PrepError, OSError, ImportError) as err:
        error = _error_from(err)
        if error is None or os.environ.get("PREP_DEBUG"):
            raise
        connection.send(("failed", (type(error), error.message, error.hint, error.place)))
    else:
        connection.send(("returned", result))


def _error_from(err: PrepError | OSError | ImportError) -> PrepError | None:
    if isinstance(err, OSError):
        return error_from_os(err)
    return error_from_import(err) if isinstance(err, ImportError) else err
