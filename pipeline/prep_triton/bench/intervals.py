"""Percentiles and their intervals: blocks of the measured time, drawn anew.

Latencies of one queue hang together, so single requests must not be drawn: the measured time of each repeat is cut
into blocks, and a draw takes repeats first and then blocks of each. A block holds its latencies as a histogram with
buckets of half a percent, so that a document can carry it and a later run compare with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from prep_triton.bench.records import Block, Figure

if TYPE_CHECKING:
    Array = np.ndarray[Any, Any]

BLOCKS_PER_REPEAT = 10
DRAWS = 1000
# Two neighbouring buckets differ by so much: finer than what repeats of a measurement agree on.
BUCKET_RATIO = 1.005
SHORTEST_S = 1e-6


@dataclass(frozen=True)
class Window:
    """The measured time of one repeat.

    `latency_s` has a value for each answer, in seconds; `moment_s` says where in the window it belongs, and `error_s`
    where each request without an answer does. `completed_s` are the ends of all answers that came in the window, also
    of requests of the warm-up. Of each request `lateness_s` says how late the generator sent it; `unsent` counts those
    that it had not sent by the end, and `sent` all that it sent meanwhile.
    """

    repeat: int
    seconds: float
    completed_s: "Array"
    moment_s: "Array"
    latency_s: "Array"
    error_s: "Array"
    lateness_s: "Array"
    sent: int
    unsent: int
    error_messages: dict[str, int]


def percentile(values: "Array", percent: float) -> float:
    """Return the smallest value that `percent` of all do not exceed; 0 where there is none."""
    return float(np.percentile(values, percent, method="inverted_cdf")) if values.size else 0.0


def buckets_from_latency(latency_s: "Array") -> "Array":
    """Return the bucket of each latency, in seconds."""
    logs = np.log(np.maximum(latency_s, SHORTEST_S) / SHORTEST_S) / np.log(BUCKET_RATIO)
    return np.asarray(np.rint(logs), dtype=np.int64)


def latency_from_bucket(bucket: "Array") -> "Array":
    """Return the latency that each bucket stands for, in ms."""
    return np.asarray(SHORTEST_S * 1000 * BUCKET_RATIO ** np.asarray(bucket, dtype=np.float64))


def cut_blocks(window: Window, count: int = BLOCKS_PER_REPEAT) -> list[Block]:
    """Cut a window into blocks of the same time."""
    length = window.seconds / count

    def place(moments_s: "Array") -> "Array":
        return np.clip((np.asarray(moments_s) / length).astype(np.int64), 0, count - 1)

    completed, answered, failed = place(window.completed_s), place(window.moment_s), place(window.error_s)
    buckets = buckets_from_latency(window.latency_s)
    blocks = []
    for index in range(count):
        sizes, counts = np.unique(buckets[answered == index], return_counts=True)
        blocks.append(
            Block(
                repeat=window.repeat,
                seconds=length,
                requests=int((completed == index).sum()),
                errors=int((failed == index).sum()),
                latency=dict(zip(sizes.tolist(), counts.tolist(), strict=True)),
            )
        )
    return blocks


@dataclass(frozen=True)
class BlockTable:
    """Blocks as arrays: `seconds` and `requests` [blocks], `counts` [blocks, buckets], `latency_ms` [buckets]."""

    seconds: "Array"
    requests: "Array"
    counts: "Array"
    latency_ms: "Array"
    repeats: tuple[int, ...]

    @classmethod
    def from_blocks(cls, blocks: Sequence[Block]) -> "BlockTable":
        """Build it of a point's blocks."""
        buckets = sorted({bucket for block in blocks for bucket in block.latency})
        places = {bucket: place for place, bucket in enumerate(buckets)}
        counts = np.zeros((len(blocks), len(buckets)))
        for row, block in enumerate(blocks):
            for bucket, count in block.latency.items():
                counts[row, places[bucket]] = count
        return cls(
            seconds=np.array([block.seconds for block in blocks]),
            requests=np.array([block.requests for block in blocks], dtype=np.float64),
            counts=counts,
            latency_ms=latency_from_bucket(np.array(buckets)),
            repeats=tuple(block.repeat for block in blocks),
        )

    def rates(self, weights: "Array") -> "Array":
        """Return the requests a second of each draw; `weights` [draws, blocks] says how often it has each block."""
        return np.asarray((weights @ self.requests) / (weights @ self.seconds))

    def percentiles(self, weights: "Array", percent: float) -> "Array":
        """Return a percentile of each draw, in ms; 0 where a draw has no answer."""
        totals = np.cumsum(weights @ self.counts, axis=1)
        if not totals.size:
            return np.zeros(len(weights))
        # What rounding leaves of a whole number must not move it past its bucket.
        places = (totals >= totals[:, -1:] * percent / 100 - 1e-9).argmax(axis=1)
        return np.where(totals[:, -1] > 0, self.latency_ms[places], 0.0)

    def by_repeat(self) -> "Array":
        """Return the weights [repeats, blocks] that make each repeat a draw of its own."""
        return np.array([[float(repeat == other) for other in self.repeats] for repeat in sorted(set(self.repeats))])


def draw_blocks(repeats: Sequence[int], seed: int, draws: int = DRAWS) -> "Array":
    """Draw repeats, and of each blocks, with replacement; return how often each draw has each block [draws, blocks]."""
    rng = np.random.default_rng(seed)
    own = [np.flatnonzero(np.array(repeats) == repeat) for repeat in sorted(set(repeats))]
    sizes = np.array(list(map(len, own)))
    table = np.array([np.resize(places, sizes.max()) for places in own])
    chosen = rng.integers(0, len(own), (draws, len(own)))
    places = (rng.random((draws, len(own), sizes.max())) * sizes[chosen][..., None]).astype(np.int64)
    drawn = np.take_along_axis(table[chosen], places, axis=2)
    # A repeat with fewer blocks is drawn from as often as it has blocks.
    is_used = np.arange(sizes.max()) < sizes[chosen][..., None]
    weights = np.zeros((draws, len(repeats)))
    np.add.at(weights, (np.nonzero(is_used)[0], drawn[is_used]), 1.0)
    return weights


def figure_from_draws(value: float, draws: "Array", confidence: float = 0.95) -> Figure:
    """Return a value with the interval that its draws span; the interval holds the value."""
    low, high = np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2]) if draws.size else (value, value)
    return Figure(value=value, low=min(value, float(low)), high=max(value, float(high)))


@lru_cache(maxsize=256)
def t_quantile(probability: float, degrees: float) -> float:
    """Return the quantile of Student's t distribution, to about four digits.

    With t = sqrt(degrees) tan(a) its density is proportional to cos(a) ** (degrees - 1), which is summed up.
    """
    angles = np.linspace(-np.pi / 2, np.pi / 2, 200_001)
    density = np.cos(angles) ** (degrees - 1)
    sums = np.cumsum((density[1:] + density[:-1]) / 2)
    place = np.interp(probability, sums / sums[-1], angles[1:])
    return float(np.sqrt(degrees) * np.tan(place))
