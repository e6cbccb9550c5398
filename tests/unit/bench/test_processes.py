"""What /proc says of processes: real ones, and files as Linux writes them."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from prep_triton.bench.processes import (
    list_tree,
    parse_process,
    read_peak_mib,
    read_processes,
    read_times,
    reset_peaks,
)

BUSY = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
while time.process_time() < 0.2: pass
held = bytearray(64 * 2**20); del held
print("ready", flush=True); sys.stdin.readline()
held = bytearray(48 * 2**20); del held
print("again", flush=True); sys.stdin.readline()
child.communicate()
"""


@pytest.fixture
def process() -> Iterator["subprocess.Popen[str]"]:
    """A process with a child, that worked for 0.2 s and held 64 MiB for a moment, and later 48."""
    command = [sys.executable, "-c", BUSY]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as started:
        assert started.stdout.readline() == "ready\n"
        yield started
        started.communicate("\n\n")


def test_a_tree_is_what_psutil_sees(process: "subprocess.Popen[str]"):
    known = psutil.Process(process.pid)
    tree = list_tree(read_processes(), process.pid)
    assert tree == {process.pid, *(child.pid for child in known.children(recursive=True))}
    assert len(tree) == 2
    assert read_times(tree)[process.pid].parent == os.getpid()
    times = known.cpu_times()
    assert read_times([process.pid])[process.pid].cpu_s == pytest.approx(times.user + times.system, abs=0.011)
    assert read_times([process.pid])[process.pid].cpu_s >= 0.19
    own = list_tree(read_processes(), os.getpid(), without=frozenset(tree))
    assert os.getpid() in own
    assert not tree & own


def test_the_peak_is_that_since_it_was_reset(process: "subprocess.Popen[str]"):
    tree = list_tree(read_processes(), process.pid)
    if not Path("/proc/self/smaps_rollup").exists():
        pytest.skip("this system does not tell the memory of processes")
    resident = psutil.Process(process.pid).memory_full_info().pss / 2**20
    assert (read_peak_mib([process.pid]) or 0) >= 64
    reset_peaks(tree)
    quiet = read_peak_mib([process.pid]) or 0
    assert quiet == pytest.approx(resident, abs=8)
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == "again\n"
    again = read_peak_mib([process.pid]) or 0
    assert again - quiet == pytest.approx(48, abs=4)
    assert (read_peak_mib(tree) or 0) > again


def test_a_name_may_hold_anything():
    fields = "S 7 1 1 0 -1 4194304 1 2 3 4 150 50 20 10 20 0 1 0 5 6 7"
    process = parse_process(f"42 (a ) (b) {fields}")
    assert process.parent == 7
    assert process.cpu_s * os.sysconf("SC_CLK_TCK") == pytest.approx(230)
    assert parse_process("") is None
    assert parse_process("42 (a) S 7") is None


def test_what_has_ended_is_left_out(tmp_path: Path):
    assert read_processes(tmp_path / "none") == {}
    assert read_times([2**22 + 1]) == {}
    assert list_tree({}, 1) == set()
    assert read_peak_mib([2**22 + 1]) is None
    assert read_peak_mib([1], tmp_path) is None
