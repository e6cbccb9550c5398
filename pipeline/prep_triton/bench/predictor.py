"""What the simulation says of serving choices, and how measurements correct it."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from prep_triton.bench.batch_times import batch_seconds
from prep_triton.bench.intervals import percentile
from prep_triton.bench.queue_model import Batcher, Traffic, draw_traffic, find_highest_rate, simulate
from prep_triton.bench.records import Slo
from prep_triton.bench.trials import Trial
from prep_triton.bench.tuning_records import BatchTimes, Choice, Layout
from prep_triton.spec import Padding

if TYPE_CHECKING:
    Array = np.ndarray[Any, Any]

# Enough for a p99 that ranks choices; the figures of a measured one are of more.
_REQUESTS = 2000
_FINE_REQUESTS = 8000
# Between the smallest and the largest correction lies a machine that is busy with something else.
_SCALES = (0.4, 4.0)
_FIT_STEPS = 8
_NUDGES = 6
_NUDGE = 1.04
_QUIET_SHARE = 0.1


@dataclass(frozen=True)
class Mix:
    """The requests of a workload: the tokens that the model computes on, for each and each padding.

    `lengths` has those of the longest row of each request, by padding (None of an entry that takes ids); `rows` are
    those of a request, and `tokens` the real ones of all rows of a request, as a mean; None where nothing tells them.
    """

    lengths: Mapping[Padding | None, tuple[int, ...]]
    rows: int = 1
    tokens: float | None = None

    def padded_tokens(self, padding: Padding | None) -> float:
        """Return the mean tokens that the model computes on for a request."""
        return self.rows * float(np.mean(self.lengths[padding]))


@dataclass(frozen=True)
class Prediction:
    """Simulated figures of one configuration under one load, in ms."""

    mean_ms: float
    p99_ms: float
    share_over: float


class Predictor:
    """Simulates choices on measured batch times.

    Args:
        mix: The requests.
        times: The batch times of each layout; their scales change as measurements come in.
        slo: The level.
        cores: What a layout that leaves its threads to the backend has.
        seed: Decides arrivals.
    """

    def __init__(self, mix: Mix, times: Sequence[BatchTimes], slo: Slo, *, cores: int, seed: int) -> None:
        self.times = {self._key(table.layout, cores): table for table in times}
        self.simulated = 0
        self._mix, self._slo, self._cores, self._seed = mix, slo, cores, seed
        self._traffic = cache(self._draw)
        self._highest: dict[tuple[Choice, float], float] = {}

    @staticmethod
    def _key(layout: Layout, cores: int) -> tuple[int, int]:
        return layout.instances, layout.threads or cores

    def knows(self, layout: Layout) -> bool:
        """Whether batch times of a layout were measured."""
        return self._key(layout, self._cores) in self.times

    def _table(self, choice: Choice) -> BatchTimes:
        return self.times[self._key(choice.layout, self._cores)]

    def _draw(self, padding: Padding | None, count: int) -> Traffic:
        return draw_traffic(self._mix.lengths[padding], count, self._seed)

    def predict(self, choice: Choice, rate: float, *, fine: bool = False) -> Prediction:
        """Simulate a configuration under an open load of so many requests a second."""
        latency_ms = self._simulate(choice, rate, self._table(choice), _FINE_REQUESTS if fine else _REQUESTS)
        over = float((latency_ms > self._slo.bound_ms).mean())
        return Prediction(float(latency_ms.mean()), percentile(latency_ms, 99.0), over)

    def highest_rate(self, choice: Choice) -> float:
        """Return the highest rate at which the simulation holds the level; 0 where there is none."""
        table = self._table(choice)
        key = (choice, table.scale)
        if key not in self._highest:
            capacity = self._capacity(choice, table)
            self._highest[key] = find_highest_rate(lambda rate: self._holds(choice, rate), capacity)
            self.simulated += 1
        return self._highest[key]

    def quiet_rate(self, choice: Choice) -> float:
        """Return a rate at which hardly anything waits."""
        return _QUIET_SHARE * self._capacity(choice, self._table(choice))

    def _holds(self, choice: Choice, rate: float) -> bool:
        allowed = _REQUESTS * (1 - self._slo.percent / 100)
        latency_ms = self._simulate(choice, rate, self._table(choice), _REQUESTS, allowed=allowed)
        return bool((latency_ms > self._slo.bound_ms).sum() <= allowed)

    def _capacity(self, choice: Choice, table: BatchTimes) -> float:
        """Return a rate that the configuration cannot reach: all instances busy with the cheapest batches."""
        service = self._service(table)
        length = max(1, round(float(np.mean(self._mix.lengths[choice.padding]))))
        sizes = range(1, self._requests_of(choice) + 1)
        return 1.1 * choice.layout.instances / min(service(length, size) / size for size in sizes)

    def _requests_of(self, choice: Choice) -> int:
        return max(1, choice.max_batch // self._mix.rows) if choice.merges else 1

    def _service(self, table: BatchTimes) -> Callable[[int, int], float]:
        return cache(lambda length, requests: batch_seconds(table, length, requests * self._mix.rows))

    def _simulate(
        self, choice: Choice, rate: float, table: BatchTimes, count: int, *, allowed: float = math.inf
    ) -> "Array":
        """Return latencies in ms; beyond so many over the level's bound that are allowed, nothing is simulated."""
        batcher = Batcher(
            instances=choice.layout.instances,
            max_batch=self._requests_of(choice),
            delay_s=choice.delay_us / 1e6,
            preferred=tuple(max(1, size // self._mix.rows) for size in choice.preferred),
            merges=choice.merges,
        )
        traffic = self._traffic(choice.padding, count).at_rate(rate)
        overhead_s = table.overhead_s * table.scale
        give_up = (self._slo.bound_ms / 1000 - overhead_s, allowed)
        latency_s = simulate(batcher, traffic, self._service(table), table.contention, give_up=give_up)
        return (np.array(latency_s) + overhead_s) * 1000

    def learn(self, choice: Choice, trial: Trial, *, is_held: bool) -> None:
        """Correct the batch times of a layout by a measurement: its mean where the load was borne, else its verdict."""
        if trial.verdict.state == "not counted":
            return
        if trial.mean_ms > 0 and not trial.ended_early and trial.share_over < 0.5:
            old = self._table(choice).scale
            self._rescale(choice, math.sqrt(old * self._fit(choice, trial)))
        for _ in range(_NUDGES):
            holds = self._holds(choice, trial.rate)
            if is_held and not holds:
                self._rescale(choice, self._table(choice).scale / _NUDGE)
            elif trial.verdict.state == "not met" and holds:
                self._rescale(choice, self._table(choice).scale * _NUDGE)
            else:
                break

    def _rescale(self, choice: Choice, scale: float) -> None:
        table = self._table(choice)
        scale = min(max(scale, _SCALES[0]), _SCALES[1])
        self.times[self._key(table.layout, self._cores)] = table.model_copy(update={"scale": scale})

    def _fit(self, choice: Choice, trial: Trial) -> float:
        """Return the scale at which the simulated mean is the measured one."""
        table, (low, high) = self._table(choice), _SCALES
        for _ in range(_FIT_STEPS):
            middle = math.sqrt(low * high)
            scaled = table.model_copy(update={"scale": middle})
            is_above = self._simulate(choice, trial.rate, scaled, _REQUESTS).mean() > trial.mean_ms
            low, high = (low, middle) if is_above else (middle, high)
        return math.sqrt(low * high)
