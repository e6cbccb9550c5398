"""The search: screen by simulation, halve by measurement, bisect on the rate, confirm, all within a budget."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from prep_triton.bench.candidates import Space, list_candidates, with_delays, with_preferred
from prep_triton.bench.predictor import Prediction, Predictor
from prep_triton.bench.records import Slo, Verdict
from prep_triton.bench.slo import judge_slo, requests_needed
from prep_triton.bench.trials import Trial
from prep_triton.bench.tuning_records import Choice, Objective, Purpose

# Measures a choice at a rate, in requests a second.
Measure = Callable[[Choice, float, Purpose], Trial]

_SHORTLIST = 6
_DELAYED = 6
# What is measured first: below where the simulation sees the best fall over.
_CAUTION = 0.85
# Two rates closer than this are one: measurements do not agree on more.
_NEAR = 1.03
_GAIN = 1.02
# Measurements that are kept for a look at preferred sizes, and for the last word on the winner.
_KEPT_FOR_PREFERRED = 1
_KEPT_FOR_CONFIRMING = 1
# What a generator in one process sends beside the server, and how far below what it did send a load is sure to be.
MOST_RATE = 2500.0
_SURELY_SENT = 0.6


@dataclass(frozen=True)
class Goal:
    """What is searched for: the level, the objective, and for the latency the rate at which it counts.

    `current` is what the entry is served with now, which is measured among the first.
    """

    slo: Slo
    objective: Objective
    budget: int
    rate: float | None = None
    current: Choice | None = None


@dataclass(frozen=True)
class Measured:
    """A measurement, and what the simulation had said."""

    choice: Choice
    purpose: Purpose
    trial: Trial
    prediction: Prediction


@dataclass
class Search:
    """Searches; `measured` has what was measured, also where an exception ends it."""

    predictor: Predictor
    space: Space
    goal: Goal
    measure: Measure
    measured: list[Measured] = field(default_factory=list)

    @property
    def left(self) -> int:
        """How many measurements the budget still allows."""
        return self.goal.budget - len(self.measured)

    def run(self) -> None:
        """Spend the budget, or less where nothing is left to find."""
        shortlist = self._shortlist()
        if self.goal.objective == "latency":
            self._compare_at_rate(shortlist)
            return
        self._screen(shortlist)
        survivors = self._rank(shortlist)[: max(1, len(shortlist) // 2)]
        for choice in survivors:
            self._raise_rate(choice, "halve")
        self._bisect(self._rank(survivors)[:2])
        self._try_preferred()
        self._confirm()

    # What is known of a choice

    def verdict(self, choice: Choice, rate: float) -> Verdict:
        """Return the verdict of all that was measured of a choice at a rate, together."""
        verdicts = [row.trial.verdict for row in self.measured if (row.choice, row.trial.rate) == (choice, rate)]
        if any(verdict.state == "not counted" for verdict in verdicts):
            return verdicts[-1]
        return judge_slo(self.goal.slo, sum(v.requests for v in verdicts), sum(v.over for v in verdicts))

    def holds(self, choice: Choice, rate: float) -> bool:
        """Whether a choice held the level at a rate: shown, or likely where the requests could not have shown it."""
        verdict = self.verdict(choice, rate)
        if verdict.state != "not shown":
            return verdict.state == "met"
        slo = self.goal.slo
        is_few = verdict.requests < requests_needed(0, slo.percent)
        return is_few and verdict.over <= verdict.requests * (1 - slo.percent / 100)

    @property
    def ceiling(self) -> float:
        """The highest rate worth trying: where the generator fell behind, below what came back."""
        lost = [row.trial for row in self.measured if row.trial.verdict.state == "not counted"]
        return min([MOST_RATE, *(_SURELY_SENT * trial.answered_per_s for trial in lost if trial.answered_per_s)])

    def rates(self, choice: Choice) -> list[float]:
        """Return the rates at which a choice was measured, ascending."""
        return sorted({row.trial.rate for row in self.measured if row.choice == choice})

    def bracket(self, choice: Choice) -> tuple[float, float | None]:
        """Return the highest rate that a choice held, 0 where none, and the lowest above it that it did not."""
        rates = self.rates(choice)
        low = max((rate for rate in rates if self.holds(choice, rate)), default=0.0)
        return low, min((rate for rate in rates if rate > low and not self.holds(choice, rate)), default=None)

    def best(self, choices: Sequence[Choice] | None = None) -> tuple[Choice, float] | None:
        """Return what held the level, of some choices or all, at the highest rate; with the lowest p99 of one rate."""
        held = [
            (choice, low)
            for choice in dict.fromkeys(row.choice for row in self.measured)
            if (choices is None or choice in choices) and (low := self.bracket(choice)[0])
        ]
        if self.goal.objective == "latency":
            return min(held, key=lambda pair: self.p99_ms(*pair), default=None)
        return max(held, key=lambda pair: (pair[1], -self.p99_ms(*pair)), default=None)

    def p99_ms(self, choice: Choice, rate: float) -> float:
        """Return the mean of the p99 of what was measured of a choice at a rate."""
        values = [row.trial.p99_ms for row in self.measured if (row.choice, row.trial.rate) == (choice, rate)]
        return sum(values) / len(values)

    # Steps

    def _measure(self, choice: Choice, rate: float, purpose: Purpose) -> None:
        prediction = self.predictor.predict(choice, rate, fine=True)
        trial = self.measure(choice, rate, purpose)
        self.measured.append(Measured(choice, purpose, trial, prediction))
        self.predictor.learn(choice, trial, is_held=self.holds(choice, trial.rate))

    def _score(self, choice: Choice) -> float:
        """Return how good a choice may be: its rate, of the simulation within what was measured; or minus its p99."""
        if self.goal.rate is not None and self.goal.objective == "latency":
            return -self.predictor.predict(choice, self.goal.rate).p99_ms
        low, high = self.bracket(choice)
        predicted = self.predictor.highest_rate(choice)
        # A delay that gains less than the simulation can tell is none: it costs latency where nothing waits.
        predicted /= _GAIN if choice.delay_us and choice != self.goal.current else 1.0
        return max(low, min(predicted, (high or math.inf) / _NEAR))

    def _rank(self, choices: Sequence[Choice]) -> list[Choice]:
        return sorted(choices, key=lambda choice: (self._score(choice), self.bracket(choice)[0]), reverse=True)

    def _shortlist(self) -> list[Choice]:
        """Return what to measure: what is served now, the best of each layout and padding, then the best of all."""
        ranked = self._rank(list_candidates(self.space))
        ranked = self._rank([*ranked, *(more for best in ranked[:_DELAYED] for more in self._delayed(best))])
        first = [self.goal.current] if self.goal.current and self.predictor.knows(self.goal.current.layout) else []
        for key in ("layout", "padding"):
            heads = {getattr(choice, key): choice for choice in reversed(ranked)}
            first += sorted(heads.values(), key=ranked.index)
        size = max(1, min(_SHORTLIST, self.goal.budget // 3))
        return self._rank(list(dict.fromkeys([*ranked[:1], *first, *ranked]))[:size])

    def _delayed(self, choice: Choice) -> list[Choice]:
        return with_delays(choice, self.goal.slo.bound_ms)

    def _screen(self, shortlist: Sequence[Choice]) -> None:
        """Measure each once: below the rate at which the simulation sees the best of them, as it learns, fall over."""
        for number, choice in enumerate(shortlist):
            rest = shortlist[number:]
            rate = _CAUTION * max(self.predictor.highest_rate(other) for other in rest)
            rate = min(max(rate, (self.best() or (choice, 0.0))[1]), self.ceiling)
            if self.left > 0:  # where the simulation sees no rate, a quiet one shows whether it is right
                self._measure(choice, rate or self.predictor.quiet_rate(choice), "screen")

    def _next_rate(self, choice: Choice, floor: float) -> float | None:
        """Return the rate at which a choice is measured next; None where it cannot become the best."""
        low, high = self.bracket(choice)
        predicted = self.predictor.highest_rate(choice)
        if high is None:
            rate = max(low * 1.06, min(predicted * 0.98, low * 1.5)) if low else predicted * _CAUTION
        elif not low:
            rate = min(predicted * 0.95, high * _CAUTION, *self._answered(choice, high))
        else:
            rate = math.sqrt(low * high) if high > low * _NEAR else 0.0
        rate = min(max(rate, floor * _GAIN), self.ceiling) if rate else 0.0
        return None if rate <= low or (high is not None and rate * 1.005 >= high) else rate

    def _answered(self, choice: Choice, rate: float) -> list[float]:
        """Return what came back a second, less a little, where a choice did not hold a rate."""
        trials = [row.trial for row in self.measured if (row.choice, row.trial.rate) == (choice, rate)]
        return [trial.answered_per_s * _CAUTION for trial in trials if trial.answered_per_s]

    def _raise_rate(self, choice: Choice, purpose: Purpose) -> bool:
        """Measure a choice where it could beat the best; False where it could not."""
        best = self.best()
        floor = best[1] if best and best[0] != choice else 0.0
        rate = self._next_rate(choice, floor)
        if rate is None or self.left <= 0:
            return False
        self._measure(choice, rate, purpose)
        return True

    def _bisect(self, finalists: Sequence[Choice]) -> None:
        while self.left > _KEPT_FOR_PREFERRED + _KEPT_FOR_CONFIRMING:
            if not any(self._raise_rate(choice, "bisect") for choice in self._rank(finalists)):
                return

    def _try_preferred(self) -> None:
        """Measure preferred sizes on the winner, where the simulation sees a gain: they are the last to matter."""
        best = self.best()
        if best is None or self.left <= _KEPT_FOR_CONFIRMING:
            return
        choice, rate = best
        options = sorted(with_preferred(choice), key=self.predictor.highest_rate)
        if options and self.predictor.highest_rate(options[-1]) > self.predictor.highest_rate(choice) * _GAIN:
            self._measure(options[-1], rate * _NEAR, "bisect")

    def _confirm(self) -> None:
        """Measure the winner again: the highest of many is also the luckiest. Where it fails, the next one is it."""
        while self.left > 0:
            best = self.best()
            if best is None:
                fallback = self._rank(list(dict.fromkeys(row.choice for row in self.measured)))
                if not any(self._raise_rate(choice, "bisect") for choice in fallback[:2]):
                    return
                continue
            seen = [row for row in self.measured if (row.choice, row.trial.rate) == best]
            if len(seen) > 1:
                return
            self._measure(*best, "confirm")

    def _compare_at_rate(self, shortlist: list[Choice]) -> None:
        """Measure all at the one rate, the better half again, the best two once more."""
        rate, rivals = self.goal.rate or 0.0, shortlist
        purposes: tuple[Purpose, ...] = ("screen", "halve", "confirm")
        for purpose in purposes:
            for choice in rivals[: max(0, self.left)]:
                self._measure(choice, rate, purpose)
            held = [choice for choice in rivals if self.bracket(choice)[0]]
            rivals = sorted(held, key=lambda choice: self.p99_ms(choice, rate))[: max(2, len(rivals) // 2)]
