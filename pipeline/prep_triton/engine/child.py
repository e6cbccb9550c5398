"""Runs the worker: one process for one TensorRT flavour, and a wall against its crashes."""

import json
import logging
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import prep_triton
from prep_triton.errors import EngineError

log = logging.getLogger(__name__)

_TAIL_LINES = 8
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
# Polygraphy marks a line with its severity: [E]rror, [W]arning, [!] critical.
_TROUBLE = re.compile(r"^\[[EW!]\]|error|fail", re.IGNORECASE)
# Said of every BERT, and of nothing that a user could change.
_NOISE = re.compile(r"Make sure input \S+ has Int64 binding|A GPU is not available")


def run_worker(request: Mapping[str, Any], *, on_progress: Callable[[float], None]) -> dict[str, Any]:
    """Build, describe, execute or measure engines in a child process.

    The child ends with this process, however this process ends.

    Args:
        request: `prep_triton.engine.worker.Request` or `prep_triton.engine.device.EngineRequest`, without `parent_pid`.
        on_progress: Hears the fraction of a build that is done, 0..1.

    Returns:
        What the worker returns: of a build, the engine's inputs, outputs and proof.

    Raises:
        EngineError: TensorRT refused, failed or crashed; the last lines of its log are in the message.
        OSError: The child could not write (no space left, for one).
    """
    with tempfile.TemporaryFile() as log_file:
        event, returncode = _run_child({**request, "parent_pid": os.getpid()}, log_file, on_progress)
        lines = _read_log(log_file)
    for line in lines:
        log.debug("builder: %s", line)
    if "os_error" in event:
        number, text = event["os_error"]
        raise OSError(number, text)
    if "done" not in event:
        raise _error_from_event(request, event, lines, returncode)
    return dict(event["done"])


def _run_child(
    request: Mapping[str, Any], log_file: IO[bytes], on_progress: Callable[[float], None]
) -> tuple[dict[str, Any], int]:
    """Run the child to its end, however that comes; return its last event, and its exit code."""
    # -P keeps the current folder off sys.path: a folder named prep_triton there must not be imported.
    command = [sys.executable, "-P", "-m", "prep_triton.engine.worker"]
    package_root = str(Path(prep_triton.__file__).parent.parent)
    search_path = os.pathsep.join(filter(None, (package_root, os.environ.get("PYTHONPATH"))))
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log_file,
        env={**os.environ, "PYTHONPATH": search_path},
        text=True,
        start_new_session=True,  # Ctrl-C reaches this process, which ends the child
    ) as child:
        try:
            event = _converse(child, request, on_progress)
            return event, child.wait()
        finally:
            if child.poll() is None:
                child.kill()


def _converse(
    child: "subprocess.Popen[str]", request: Mapping[str, Any], on_progress: Callable[[float], None]
) -> dict[str, Any]:
    if child.stdin is None or child.stdout is None:
        raise RuntimeError("the worker was started without pipes")
    try:
        with child.stdin as stream:
            json.dump(request, stream)
    except BrokenPipeError:
        return {}  # it died at once; its log says why
    last: dict[str, Any] = {}
    for line in child.stdout:
        event = json.loads(line)
        if "progress" in event:
            on_progress(event["progress"])
        else:
            last = event
    return last


def _read_log(log_file: IO[bytes]) -> list[str]:
    log_file.seek(0)
    text = _ANSI.sub("", log_file.read().decode(errors="replace"))
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not _NOISE.search(line)]


def _error_from_event(
    request: Mapping[str, Any], event: Mapping[str, Any], lines: list[str], returncode: int
) -> EngineError:
    builder = request["builder"]
    if "failed" in event:
        message = f"{builder} failed: {event['failed']}"
    elif returncode < 0:
        message = f"{builder} crashed: its process died of {_name_signal(-returncode)}"
    else:
        message = f"{builder} returned nothing: its process ended with exit code {returncode}"
    trouble = [line for line in lines if _TROUBLE.search(line)] or lines
    tail = "\n  ".join(dict.fromkeys(trouble[-_TAIL_LINES:]))
    hint = (
        "the kernel may have ended it for lack of memory: free some, or build one engine at a time"
        if returncode == -signal.SIGKILL
        else "run again with -v for the builder's whole log"
    )
    return EngineError(f"{message}\n  {tail}" if tail else message, hint=hint)


def _name_signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
