"""The only place that prints.

Data goes to stdout: for people as tables, with ``--json`` as one JSON document. Progress, notices and
errors go to stderr. Colour and bars appear on a terminal only (rich looks, and honours NO_COLOR).
"""

import json
import logging
import os
import resource
import shlex
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeVar

import typer

from prep_triton import __version__
from prep_triton.cli import interrupts
from prep_triton.cli.codes import USAGE_ERROR
from prep_triton.cli.options import OutputOptions
from prep_triton.cli.units import format_seconds, format_size
from prep_triton.errors import EXIT_USAGE, PrepError, SpecError
from prep_triton.extras import error_from_import
from prep_triton.os_errors import error_from_os
from prep_triton.progress import Progress
from prep_triton.quoting import clean_message, escape_controls

if TYPE_CHECKING:
    from pydantic import BaseModel

    from prep_triton.cli.log_file import LogFile

    D = TypeVar("D", bound=BaseModel)

log = logging.getLogger(__name__)


class Output:
    """What a command says, in the form that was asked for."""

    def __init__(self, *, as_json: bool, verbose: int, quiet: bool = False, log_file: "LogFile | None" = None) -> None:
        from rich.console import Console

        self.as_json = as_json
        self.verbose = verbose
        self.quiet = quiet
        self.log_file = log_file
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
            if sys.stdout is None:
                return  # closed before the command began: nobody reads it
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

        columns = list(map(escape_controls, columns))
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
        """Print a line of progress on stderr; nothing with ``--quiet``."""
        self.log(logging.INFO, text.strip())
        if not self.quiet:
            self.print_message(text, style="dim")

    def message(self, text: str, *, style: str = "", level: int = logging.INFO) -> None:
        """Print a line on stderr, also with ``--quiet``."""
        self.log(level, text)
        self.print_message(text, style=style)

    def print_message(self, text: str, *, style: str = "") -> None:
        """Print a line on stderr that is logged elsewhere."""
        from rich.text import Text

        # A Text of its own: a style given to print() would colour the bar below it as well.
        with suppress(OSError):  # a full or closed stderr must not end what the command does
            self.err.print(Text(clean_message(text), style=style))

    def log(self, level: int, text: str) -> None:
        """Write a line to the log file alone, where there is one."""
        if self.log_file:
            fields = {"name": "prep_triton.cli", "levelno": level, "levelname": logging.getLevelName(level)}
            self.log_file.handle(logging.makeLogRecord({**fields, "msg": text}))

    def annotate(self, level: Literal["error", "warning"], text: str) -> None:
        """Print what GitHub shows beside a workflow's run; nothing elsewhere.

        Source: "Workflow commands for GitHub Actions", which also names the three characters that are escaped.
        """
        if os.environ.get("GITHUB_ACTIONS") == "true":
            from rich.text import Text

            escaped = clean_message(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
            with suppress(OSError):
                self.err.print(Text(f"::{level} title=prep::{escaped}"))

    @contextmanager
    def progress(self, label: str) -> Iterator[Progress]:
        """Draw a bar on a terminal; elsewhere write a few lines to stderr."""
        from prep_triton.cli.bars import PhaseLines, draw_bar

        before = self.log_file.stage if self.log_file else ""
        self._set_stage(label)
        try:
            if not self.err.is_terminal or self.quiet:
                yield PhaseLines(self.note, label)
            else:
                with draw_bar(self.err, label) as report:
                    lines = PhaseLines(lambda text: self.log(logging.INFO, text.strip()), label)

                    def report_both(phase: str, fraction: float | None = None) -> None:
                        report(phase, fraction)
                        lines(phase, fraction)

                    yield report_both
        finally:
            self._set_stage(before)

    def _set_stage(self, label: str) -> None:
        if self.log_file:
            self.log_file.stage = label

    def show_notice(self, text: str, level: int) -> None:
        """Print what a stage logged: a warning stands out, a note does not."""
        warns = level >= logging.WARNING
        self.print_message(text, style="yellow" if warns else "dim")
        if warns:
            self.annotate("warning", text.removeprefix("warning: "))


@contextmanager
def session(options: OutputOptions) -> Iterator[Output]:
    """Run a command's body: render notices, translate errors into a sentence, a hint and an exit code.

    Exit codes: 0; 1 for a failure; 2 for a wrong request; 130 when interrupted.
    """
    output = Output(as_json=options.json, verbose=options.verbose, quiet=options.quiet)
    try:
        # A terminal that closes, and an orchestrator that ends us, clean up as Ctrl-C does.
        with interrupts.translate_signals(signal.SIGTERM, signal.SIGHUP):
            try:
                with _listening(output, options):
                    yield output
            except BaseException as err:
                if interrupts.is_debugged():
                    raise
                _end(output, err)
                raise
    finally:
        if output.log_file:
            output.log_file.close()


@contextmanager
def _listening(output: Output, options: OutputOptions) -> Iterator[None]:
    """Show and keep what the stages log meanwhile.

    Raises:
        SpecError: Both more and less is asked for.
        WorkspaceError: The log file cannot be written.
    """
    if options.quiet and options.verbose:
        raise SpecError("--quiet and --verbose exclude each other", hint="leave one of them out")
    from prep_triton.cli.notices import NoticeHandler

    level = logging.WARNING if options.quiet else logging.DEBUG if options.verbose else logging.INFO
    handlers: list[logging.Handler] = [NoticeHandler(output.show_notice, level=level, is_verbose=bool(options.verbose))]
    if options.log_file:
        from prep_triton.cli.log_file import LogFile

        output.log_file = LogFile(options.log_file)
        handlers.append(output.log_file)
    logger = logging.getLogger("prep_triton")
    for handler in handlers:
        logger.addHandler(handler)
    logger.setLevel(min(handler.level for handler in handlers))
    began = time.monotonic()
    log.debug("prep %s: %s", __version__, shlex.join(["prep", *sys.argv[1:]]))
    try:
        yield
    finally:
        handlers[0].flush()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        log.debug("it took %s and at most %s", format_seconds(time.monotonic() - began), format_size(peak))
        for handler in handlers:
            logger.removeHandler(handler)


def _end(output: Output, err: BaseException) -> None:
    """Print what a command ended with, and exit; return where it is a bug, which keeps its traceback."""
    if interrupts.was_interrupted(err):
        output.log(logging.ERROR, interrupts.MESSAGE)
        interrupts.print_interruption(as_json=output.as_json)
        raise typer.Exit(interrupts.EXIT_INTERRUPTED) from None
    known = _error_from(err)
    if isinstance(known, PrepError):
        _fail(output, known)
    if not isinstance(err, typer.Exit):
        output.log(logging.ERROR, "".join(traceback.format_exception(err)))


def _error_from(err: BaseException) -> BaseException | None:
    """Return what the system, or a missing library, is for a person; any other error as it is."""
    if isinstance(err, OSError):
        return error_from_os(err)
    return error_from_import(err) if isinstance(err, ImportError) else err


def _fail(output: Output, err: PrepError) -> NoReturn:
    faults = tuple(asdict(fault) for fault in err.faults) if isinstance(err, SpecError) else ()
    output.error(err.code, err.message, err.hint, place=err.place, faults=faults)
    output.message(f"error: {err.message}", style="red", level=logging.ERROR)
    output.message(f"hint: {err.hint}", level=logging.ERROR)
    output.annotate("error", f"{err.message}\nhint: {err.hint}")
    raise typer.Exit(err.exit_code)


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
    return err.exit_code


def fail_usage(err: Any, *, as_json: bool) -> int:
    """Print what is wrong with a command line, which names no known command or a wrong flag; return the exit code."""
    err.message = clean_message(err.message)
    err.show()
    Output(as_json=as_json, verbose=0).error(USAGE_ERROR, err.format_message(), "prep --help")
    return EXIT_USAGE
