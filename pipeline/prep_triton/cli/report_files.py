"""Files of a report, as `prep report` and `prep bench --report` write them."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prep_triton.cli.output import Output
    from prep_triton.run.benching import BenchOutcome
    from prep_triton.run.reporting import Report


def check_report_path(flag: str, path: Path) -> None:
    """Raise where a report could not be written.

    Raises:
        SpecError: Its folder is not there, or it is one.
    """
    from prep_triton.errors import SpecError

    if path.is_dir() or not path.absolute().parent.is_dir():
        raise SpecError(f"{flag} {path} cannot be written", hint="name a file in a folder that is there")


def write_report(made: "Report", path: Path) -> int:
    """Write a report's HTML, and return its size in bytes."""
    from prep_triton.files import write_atomically

    content = made.html().encode()
    write_atomically(path, content)
    return len(content)


def write_report_of_run(
    out: "Output", outcome: "BenchOutcome", path: Path, run_file: Path | None, place: str | None
) -> None:
    """Write the report of what was just measured, whose document is in a file and whose entries are of a place."""
    from prep_triton.run.reporting import report_of_run

    if not outcome.report.points:
        out.note(f"{path} was not written: nothing was measured")
        return
    name = run_file.name if run_file else "This run"
    write_report(report_of_run(outcome.report, name, outcome.entries, place), path)
    out.note(f"the report is {path}")
