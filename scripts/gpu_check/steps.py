"""Named steps: what each does, what it waits for, and how it ended. None is left out without a word."""

import logging
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from prep_triton.errors import PrepError

log = logging.getLogger(__name__)

Status = Literal["done", "rehearsed", "skipped", "failed"]
# Of `scripts/gpu-check`; 2 is a wrong argument.
EXIT_FAILED, EXIT_CANNOT = 1, 3


class CannotError(Exception):
    """A step cannot be taken on this machine, for the reason that its message says."""


@dataclass(frozen=True)
class Step:
    """A step.

    `take` does it and returns a line on what came out. `needs` are the steps without which there is nothing to do.
    `rehearsal` says what stands in for the GPU's part in a rehearsal; it is empty where the step is the same there.
    `needs_gpu`: a rehearsal cannot take it at all.
    """

    name: str
    what: str
    take: Callable[[], str]
    needs: tuple[str, ...] = ()
    rehearsal: str = ""
    needs_gpu: bool = False


@dataclass(frozen=True)
class Row:
    """How a step ended."""

    name: str
    what: str
    status: Status
    note: str


def take_steps(steps: Sequence[Step], logs_dir: Path, *, rehearse: bool) -> list[Row]:
    """Take steps in their order; what fails keeps those from being taken that need it, and no other."""
    rows: list[Row] = []
    for step in steps:
        log.info("%s: %s", step.name, step.what)
        status, note = _take(step, rows, logs_dir, rehearse=rehearse)
        log.info("%s: %s%s", step.name, status, f" ({note})" if note else "")
        rows.append(Row(step.name, step.what, status, note))
    return rows


def _take(step: Step, earlier: Iterable[Row], logs_dir: Path, *, rehearse: bool) -> tuple[Status, str]:
    if rehearse and step.needs_gpu:
        return "skipped", "it needs a GPU"
    missing = [f"{row.name} {row.status}" for row in earlier if row.name in step.needs and not is_taken(row)]
    if missing:
        return "skipped", ", ".join(missing)
    try:
        note = step.take()
    except CannotError as err:
        return "skipped", str(err)
    except Exception as err:  # what the other steps found must not be lost by a fault of this one, or of ours
        return "failed", _describe_error(step, err, logs_dir)
    return ("rehearsed", f"{step.rehearsal}; {note}") if rehearse and step.rehearsal else ("done", note)


def _describe_error(step: Step, err: Exception, logs_dir: Path) -> str:
    """Return an error in one line; one that is a fault of ours leaves its traceback among the logs."""
    if isinstance(err, PrepError):
        return f"{err.message}; {err.hint}"
    logs_dir.mkdir(parents=True, exist_ok=True)
    (logs_dir / f"{step.name}-traceback.txt").write_text(traceback.format_exc(), encoding="utf-8")
    return f"{type(err).__name__}: {err}"


def is_taken(row: Row) -> bool:
    """Whether what comes after a step has something to work with."""
    return row.status in ("done", "rehearsed")


def choose_exit_code(rows: Sequence[Row], *, rehearse: bool) -> int:
    """Return 0 where every step was taken, 1 where one failed, 3 where this machine could not take one.

    A rehearsal may leave out what needs a GPU: its 0 is a pass of the other steps.
    """
    if any(row.status == "failed" for row in rows):
        return EXIT_FAILED
    if not rehearse and any(row.status == "skipped" for row in rows):
        return EXIT_CANNOT
    return 0


def render_rows(rows: Sequence[Row]) -> str:
    """Return the table of steps, in Markdown."""
    cells = ((row.name, row.what, row.status, " ".join(row.note.replace("|", "\\|").split())) for row in rows)
    lines = ["| step | what it does | status | |", "|---|---|---|---|", *(f"| {' | '.join(row)} |" for row in cells)]
    return "\n".join(lines) + "\n"
