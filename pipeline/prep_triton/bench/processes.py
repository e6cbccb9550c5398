"""What processes use of this machine, from /proc: see proc(5)."""

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
# Resets a process's VmHWM, the most memory that it held, to what it holds now (proc(5), clear_refs).
_RESET_PEAK = "5"


@dataclass(frozen=True)
class ProcessTimes:
    """A process: its parent, and the CPU seconds of it and of its children that ended."""

    parent: int
    cpu_s: float


def read_processes(proc: Path = PROC) -> dict[int, ProcessTimes]:
    """Read every process of this machine that can be seen, by its number; none where there is no /proc."""
    with suppress(OSError):
        return read_times([int(name) for name in os.listdir(proc) if name.isdecimal()], proc)  # noqa: PTH208
    return {}


def read_times(pids: Iterable[int], proc: Path = PROC) -> dict[int, ProcessTimes]:
    """Read some processes, by their numbers; those that have ended are left out."""
    times = {}
    for pid in pids:
        with suppress(OSError):
            process = parse_process((proc / str(pid) / "stat").read_text(encoding="utf-8", errors="replace"))
            if process is not None:
                times[pid] = process
    return times


def parse_process(text: str) -> ProcessTimes | None:
    """Return what ``/proc/PID/stat`` says; the name in parentheses may hold anything."""
    fields = text.rpartition(")")[2].split()
    if len(fields) < 15:
        return None
    return ProcessTimes(int(fields[1]), sum(map(int, fields[11:15])) / _TICKS_PER_S)


def list_tree(processes: dict[int, ProcessTimes], root: int, *, without: frozenset[int] = frozenset()) -> set[int]:
    """Return a process and all that descend from it, but for those in `without` and theirs."""
    children: dict[int, list[int]] = {}
    for pid, process in processes.items():
        children.setdefault(process.parent, []).append(pid)
    tree, waiting = set(), [root]
    while waiting:
        pid = waiting.pop()
        if pid in processes and pid not in without and pid not in tree:
            tree.add(pid)
            waiting += children.get(pid, [])
    return tree


def reset_peaks(tree: Iterable[int], proc: Path = PROC) -> None:
    """Have `read_peak_mib` count from now; where that is not allowed it counts since the processes started."""
    for pid in tree:
        with suppress(OSError):
            (proc / str(pid) / "clear_refs").write_text(_RESET_PEAK, encoding="ascii")


def read_peak_mib(tree: Iterable[int], proc: Path = PROC) -> float | None:
    """Return the most memory that processes held together since `reset_peaks`, in MiB; None where nothing says it.

    A page that several of them share is counted once (PSS), what each held more at its own peak is added: the true
    peak is not above it.
    """
    total_kib = 0
    if not (proc / "self" / "smaps_rollup").exists():
        return None
    for pid in tree:
        try:
            status = _read_kib(proc / str(pid) / "status")
            shared = _read_kib(proc / str(pid) / "smaps_rollup") if "VmHWM" in status else {}
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended meanwhile
        except OSError:
            return None
        if "VmHWM" not in status:  # a process that ended, and was not waited for
            continue
        if "Pss" not in shared:
            return None
        total_kib += shared["Pss"] + max(0, status["VmHWM"] - status.get("VmRSS", status["VmHWM"]))
    return total_kib / 1024 if total_kib else None


def _read_kib(path: Path) -> dict[str, int]:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    fields = (line.partition(":") for line in lines if line.endswith(" kB"))
    return {name.strip(): int(value.split()[0]) for name, _, value in fields}
