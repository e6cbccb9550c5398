"""Other programs on this machine, which come and go at random: so that a quiet machine can be made busy, repeatably.

Each neighbour computes for a while and rests for a while, both drawn from an exponential distribution; some stay for as
long as a run of a benchmark does, which is what a comparison of two runs must not take for a difference.
"""

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

MEAN_BUSY_S = 6.0
MEAN_IDLE_S = 9.0
_PROGRAM = """
import hashlib, os, random, sys, time
draw, parent, block = random.Random(int(sys.argv[1])), int(sys.argv[4]), bytes(1 << 20)
while os.path.exists(f"/proc/{parent}"):
    until = time.monotonic() + draw.expovariate(1 / float(sys.argv[2]))
    while time.monotonic() < until:
        hashlib.sha256(block)
    time.sleep(draw.expovariate(1 / float(sys.argv[3])))
"""
# A child of a child, whose parent is gone: what a benchmark takes for its own processes are its descendants.
_START_ORPHAN = '"$@" >/dev/null 2>&1 & echo $!'


@contextmanager
def run_neighbours(count: int, seed: int) -> Iterator[tuple[int, ...]]:
    """Run a number of neighbours for as long as the block, which gets their process ids."""
    draw = random.Random(seed)
    pids = tuple(_start_neighbour(draw.randrange(2**32)) for _ in range(count))
    try:
        yield pids
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _start_neighbour(seed: int) -> int:
    arguments = [str(seed), str(MEAN_BUSY_S), str(MEAN_IDLE_S), str(os.getpid())]
    command = ["sh", "-c", _START_ORPHAN, "sh", sys.executable, "-c", _PROGRAM, *arguments]
    return int(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
