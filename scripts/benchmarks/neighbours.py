"""Other programs on this machine, which come and go at random: so that a quiet machine can be made busy, repeatably.

Each neighbour computes for a while and rests for a while, both drawn from an exponential distribution; some stay for as
long as a run of a benchmark does, which is what a comparison of two runs must not take for a difference.
"""

import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

MEAN_BUSY_S = 6.0
MEAN_IDLE_S = 9.0
_PROGRAM = """
import hashlib, os, random, sys, time
draw, parent, block = random.Random(int(sys.argv[1])), os.getppid(), bytes(1 << 20)
while os.getppid() == parent:
    until = time.monotonic() + draw.expovariate(1 / float(sys.argv[2]))
    while time.monotonic() < until:
        hashlib.sha256(block)
    time.sleep(draw.expovariate(1 / float(sys.argv[3])))
"""


@contextmanager
def run_neighbours(count: int, seed: int) -> Iterator[None]:
    """Run a number of neighbours for as long as the block; they end with this process too."""
    draw = random.Random(seed)
    means = [str(MEAN_BUSY_S), str(MEAN_IDLE_S)]
    started = [
        subprocess.Popen([sys.executable, "-c", _PROGRAM, str(draw.randrange(2**32)), *means]) for _ in range(count)
    ]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()
