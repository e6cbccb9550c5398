"""The serving file that `prep tune` writes: keys for ``serving:``, below comments that say where they come from."""

from pathlib import Path

import yaml

from prep_triton.bench.tuning_records import TuneReport
from prep_triton.errors import SpecError
from prep_triton.files import write_atomically

_FOLDER = Path("build/serving")


def default_serving_file(entry: str) -> Path:
    """Return where the serving file of an entry is written."""
    return _FOLDER / f"{entry}.yaml"


def check_serving_file(path: Path, *, is_default: bool) -> None:
    """Refuse, before anything is measured, a place that cannot be written to; make the default one's folder.

    Raises:
        SpecError: It is a folder, or in none.
    """
    if is_default:
        path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise SpecError(f"--serving {path} cannot be written", hint="name a file in a folder that is there")


def write_serving_file(report: TuneReport, path: Path) -> None:
    """Write the keys of a report's best choices, with the evidence as comments.

    Raises:
        DiskFullError, WorkspaceError: The file cannot be written.
    """
    write_atomically(path, render_serving_file(report).encode())


def render_serving_file(report: TuneReport) -> str:
    """Return the text of a serving file; of a report that has a best choice."""
    best, conditions = report.best, report.conditions
    assert best is not None
    lines = [
        f"{report.entry} tuned for {report.objective} at {report.slo.describe()}",
        f"{'held' if best.is_shown else 'likely held'} at {best.rate:.4g} requests/s: {best.verdict.describe()}",
        f"mean {best.mean_ms:.2f} ms, p99 {best.p99_ms:.2f} ms; {len(report.measurements)} measurements, "
        f"{report.seconds / 60:.1f} minutes",
    ]
    if conditions:
        lines += [
            f"{conditions.cpu}, {conditions.cores} cores, load {conditions.load_before:.1f} before",
            f"Triton {conditions.triton_version} ({conditions.triton_flavour})",
            f"{conditions.started_at:%Y-%m-%d %H:%M} UTC, prep {conditions.prep_version}",
            f"run again: {conditions.command}",
        ]
    # What the shell or a processor calls itself must not end a comment.
    head = "".join(f"# {' '.join(line.split())}\n" for line in lines)
    return head + yaml.safe_dump(report.serving, sort_keys=True, default_flow_style=None, width=120)
