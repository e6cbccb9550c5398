"""The only place that prints.

Data goes to stdout: for people as tables, with ``--json`` as one JSON document. Progress, notices and
errors go to stderr. Colour and bars appear on a terminal only (rich looks, and honours NO_COLOR).
"""

import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeVar

import typer

from prep_triton.cli import interrupts
from prep_triton.cli.codes import USAGE_ERROR
from prep_triton.cli.options import OutputOptions
from prep_triton.errors import PrepError, SpecError
from prep_triton.extras import error_from_import
from prep_triton.os_errors import error_from_os
from prep_triton.progress import Progress
from prep_triton.quoting import clean_message, escape_controls

if TYPE_CHECKING:
    from pydantic import BaseModel

    D = TypeVar("D", bound=BaseModel)

EXIT_FAILED = 1
EXIT_USAGE = 2


class Output:
    """What a command says, in the form that was asked for."""

    def __init__(self, *, as_json: bool, verbose: int) -> None:
        from rich.console import Console

        self.as_json = as_json
        self.verbose = verbose
        self.out = Console(highlight=False, soft_wrap=True)
        self.err = Console(stderr=True, highlight=False, soft_wrap=True)

    def show(self, document: "D", render: "Callable[[Output, D], None]") -> None:
        """Print what a command answers: with ``--json`` the document, else what its renderer makes of it."""
        if self.as_json:
            self.document(document)
        else:
            render(self, document)

    def document(self, document: "BaseModel") -> None:
        """Print the one JSON document of ``--json``; nothing otherwise."""
        if self.as_json:
            with _stdout():
                sys.stdout.write(json.dumps(document.model_dump(mode="json"), indent=2) + "\n")
                sys.stdout.flush()

    def error(self, code: str, message: str, hint: str, **more: Any) -> None:
        """Print the JSON document of a failure; nothing without ``--json``. `more` are keys of `ErrorDetail`."""
        from prep_triton.cli.error_document import ErrorDetail, ErrorDocument

        self.document(ErrorDocument(error=ErrorDetail(code=code, message=message, hint=hint, **more)))

    def line(self, text: str = "", *, style: str | None = None) -> None:
        """Print a line of the human form; nothing with ``--json``."""
        if not self.as_json:
            with _stdout():
                self.out.print(escape_controls(text), style=style, markup=False)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print a table of the human form, as `prep_triton.cli.table` says; nothing with ``--json``."""
        if self.as_json or not rows:
            return
        from prep_triton.cli.table import join_with_tabs, lay_out

        cells = [[escape_controls(cell) for cell in row] for row in rows]
        if title:
            self.line(title, style="bold")
        if not self.out.is_terminal:
            with _stdout():  # past rich, which makes spaces of tabs
                self.out.file.writelines(f"{line}\n" for line in join_with_tabs(columns, cells))
                self.out.file.flush()
            return
        for line in lay_out(columns, cells, self.out.width):
            self.line(line)

    def note(self, text: str) -> None:
        """Print a line of progress on stderr."""
        self.message(text, style="dim")

    def message(self, text: str, *, style: str = "") -> None:
        """Print a line on stderr."""
        from rich.text import Text

        # A Text of its own: a style given to print() would colour the bar below it as well.
        self.err.print(Text(clean_message(text), style=style))

    def annotate(self, level: Literal["error", "warning"], text: str) -> None:
        """Print what GitHub shows beside a workflow's run; nothing elsewhere.

        Source: "Workflow commands for GitHub Actions", which also names the three characters that are escaped.
        """
        if os.environ.get("GITHUB_ACTIONS") == "true":
            from rich.text import Text

            escaped = clean_message(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
            self.err.print(Text(f"::{level} title=prep::{escaped}"))

    @contextmanager
    def progress(self, label: str) -> Iterator[Progress]:
        """Draw a bar on a terminal; elsewhere write one line a phase to stderr."""
        if not self.err.is_terminal:
            yield _PhaseLines(self, label)
            return
        from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bars

        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
        )
        with Bars(*columns, console=self.err, transient=True) as bars:
            task = bars.add_task(clean_message(label), total=None)

            def report(phase: str, fraction: float | None = None) -> None:
                total = None if fraction is None else 1.0
                bars.update(
                    task, description=clean_message(f"{label}: {phase}"), total=total, completed=fraction or 0.0
                )

            yield report


class _PhaseLines:
    """Progress for a log file: one line when the phase changes."""

    def __init__(self, output: Output, label: str) -> None:
        self.output, self.label, self.last = output, label, ""

    def __call__(self, phase: str, fraction: float | None = None) -> None:  # noqa: ARG002 a line shows no fraction
        if phase != self.last:
            self.output.note(f"  {self.label}: {phase}")
        self.last = phase


class _NoticeHandler(logging.Handler):
    """Renders what the stages log, each notice once: a warning stands out, a note does not."""

    def __init__(self, output: Output) -> None:
        super().__init__()
        self.output = output
        self.shown: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        warns = record.levelno >= logging.WARNING
        text = f"{'warning' if warns else 'note'}: {record.getMessage()}"
        if text not in self.shown:
            self.shown.add(text)
            self.output.message(text, style="yellow" if warns else "dim")
            if warns:
                self.output.annotate("warning", record.getMessage())


@contextmanager
def session(options: OutputOptions) -> Iterator[Output]:
    """Run a command's body: render notices, translate errors into a sentence, a hint and an exit code.

    Exit codes: 0; 1 for a failure; 2 for a wrong request; 130 when interrupted.
    """
    output = Output(as_json=options.json, verbose=options.verbose)
    logger = logging.getLogger("prep_triton")
    handler = _NoticeHandler(output)
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG if options.verbose else logging.INFO)
    try:
        # A terminal that closes, and an orchestrator that ends us, clean up as Ctrl-C does.
        with interrupts.translate_signals(signal.SIGTERM, signal.SIGHUP):
            try:
                yield output
            except BaseException as err:
                if interrupts.is_debugged():
                    raise
                _end(output, err)
                raise
    finally:
        logger.removeHandler(handler)


def _end(output: Output, err: BaseException) -> None:
    """Print what a command ended with, and exit; return where it is a bug, which keeps its traceback."""
    if interrupts.was_interrupted(err):
        interrupts.print_interruption(as_json=output.as_json)
        raise typer.Exit(interrupts.EXIT_INTERRUPTED) from None
    known = _error_from(err)
    if isinstance(known, PrepError):
        _fail(output, known)


def _error_from(err: BaseException) -> BaseException | None:
    """Return what the system, or a missing library, is for a person; any other error as it is."""
    if isinstance(err, OSError):
        return error_from_os(err)
    return error_from_import(err) if isinstance(err, ImportError) else err


def _fail(output: Output, err: PrepError) -> NoReturn:
    faults = tuple(asdict(fault) for fault in err.faults) if isinstance(err, SpecError) else ()
    output.error(err.code, err.message, err.hint, place=err.place, faults=faults)
    output.message(f"error: {err.message}", style="red")
    output.message(f"hint: {err.hint}")
    output.annotate("error", f"{err.message}\nhint: {err.hint}")
    raise typer.Exit(EXIT_USAGE if isinstance(err, SpecError) else EXIT_FAILED)


@contextmanager
def _stdout() -> Iterator[None]:
    """Translate what becomes of a full or failing stdout; a reader that went away (``| head``) is no error."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as err:
        raise error_of_stdout(err) from err


def error_of_stdout(err: OSError) -> PrepError:
    """Return the error of a stdout that cannot be written, to which nothing is written any more."""
    with suppress(OSError):  # what lies in its buffer would fail again when Python exits
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return PrepError(f"stdout cannot be written: {err.strerror}", hint="see where it leads: a full disk, a lost mount")


def print_line(text: str) -> None:
    """Print a line of data, outside any session."""
    typer.echo(text)


def fail_outside_session(err: PrepError) -> int:
    """Print an error that no session met; return the exit code."""
    with suppress(typer.Exit):
        _fail(Output(as_json=False, verbose=0), err)
    return EXIT_FAILED


def fail_usage(err: Any, *, as_json: bool) -> int:
    """Print what is wrong with a command line, which names no known command or a wrong flag; return the exit code."""
    err.message = clean_message(err.message)
    err.show()
    Output(as_json=as_json, verbose=0).error(USAGE_ERROR, err.format_message(), "prep --help")
    return EXIT_USAGE


def format_size(size: float) -> str:
    """Render bytes for a person: ``86.7 MiB``."""
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.2f} GiB"


def format_age(age: timedelta) -> str:
    """Render how long ago something was, for a person: ``40 s``, ``3 h``, ``12 d``."""
    seconds = max(age.total_seconds(), 0.0)
    for unit, length, most in (("s", 1, 120), ("min", 60, 120), ("h", 3600, 48)):
        if seconds / length < most:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds / 86400:.0f} d"


def format_seconds(seconds: float) -> str:
    """Render a duration for a person: ``0.4 s``, ``2 min 05 s``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"
