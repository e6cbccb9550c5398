"""Points of a machine that other programs use too, without a server."""

from collections.abc import Sequence

import numpy as np
from prep_triton.bench.intervals import cut_blocks
from prep_triton.bench.records import Load, Point, RepeatResources

from tests.fakes.benched import CLOSED, draw_window, make_points


def make_point(
    shares: Sequence[float], *, slowdown: float = 1.0, noise: float = 0.05, seed: int = 0, load: Load = CLOSED
) -> Point:
    """Return a point of 10 ms with a repeat for each share of two cores that others take: they slow it down.

    Its figures are another point's: comparisons read blocks and resources.
    """
    rng = np.random.default_rng(seed)
    blocks, uses = [], []
    for repeat, share in enumerate(shares):
        latency_ms = 10 * slowdown * float(np.exp(rng.normal(0, noise))) / (1 - share)
        rate = load.value if load.kind == "open" else 1000 * load.value / latency_ms
        blocks += cut_blocks(draw_window(repeat, rate, latency_ms, rng))
        uses.append(RepeatResources(repeat=repeat, seconds=2.0, server_cpu_s=1.0, others_cpu_s=4.0 * share))
    (point,) = make_points([load], repeats=1)
    return point.model_copy(update={"blocks": tuple(blocks), "repeat_resources": tuple(uses)})
