"""One open load on one configuration, ended early where the binomial rule has seen enough."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from prep_triton.bench.generator import OpenLoop, Sample
from prep_triton.bench.intervals import percentile
from prep_triton.bench.points import is_sustained
from prep_triton.bench.records import Slo, Verdict
from prep_triton.bench.slo import at_most, judge_slo
from prep_triton.errors import ServerError
from prep_triton.triton.server.client import TritonClient
from prep_triton.triton.server.load import CANCELLED, OUT_OF_TIME, LoadConnection

if TYPE_CHECKING:
    Array = np.ndarray[Any, Any]

# Looked at many times, a rule of 99 % would end some that hold the level: so the looks are stricter than the verdict.
EARLY_DOUBT = 1e-4
_FEWEST_REQUESTS = 50
# Late requests come in a row, behind one stall: so much of a load has to be seen before it is given up.
_FEWEST_SHARE = 0.3
_LOOK_S = 0.1


@dataclass(frozen=True)
class Trial:
    """What one load on one configuration showed. Latencies are in ms, of the requests that were answered.

    `answered_per_s` is what came back a second, from the first counted answer to the last.
    """

    rate: float
    seconds: float
    requests: int
    verdict: Verdict
    ended_early: bool
    mean_ms: float
    p50_ms: float
    p99_ms: float
    answered_per_s: float = 0.0

    @property
    def share_over(self) -> float:
        """The share of the requests that took longer than the level allows, or failed."""
        return self.verdict.over / self.verdict.requests if self.verdict.requests else 1.0


@dataclass(frozen=True)
class TrialPlan:
    """How a load is sent: the moments of all requests in seconds from its start, and from which of them it counts."""

    moments_s: "Array"
    warmup_s: float
    rate: float
    timeout_s: float


def judge_early(slo: Slo, due: int, over: int) -> bool:
    """Whether so many late ones of so many that are due leave no doubt that the level is not held."""
    if due < _FEWEST_REQUESTS or not over:
        return False
    return 1 - at_most(over - 1, due, 1 - slo.percent / 100) <= EARLY_DOUBT


def measure_trial(client: TritonClient, requests: Sequence[bytes], plan: TrialPlan, slo: Slo) -> Trial:
    """Send a load, and judge it by a service level.

    A request that is not answered by the end and the level's bound counts as late; nothing waits for it.

    Raises:
        ServerError: The server died, or answered nothing.
    """
    with LoadConnection(client.address, timeout_s=plan.timeout_s) as sender:
        loop = OpenLoop(sender, requests, plan.moments_s)
        began = loop.start()
        try:
            ended_early, now = _watch(client, loop, began, plan, slo)
        finally:
            sender.close()
            loop.finish()
    trial = _trial_from_samples(loop.samples, (began, now if ended_early else float("inf")), plan, slo)
    return replace(trial, seconds=time.perf_counter() - began, ended_early=ended_early)


def _watch(client: TritonClient, loop: OpenLoop, began: float, plan: TrialPlan, slo: Slo) -> tuple[bool, float]:
    """Wait for the end, or for certainty; return whether it was that, and the moment of the last look."""
    last = float(plan.moments_s[-1]) if len(plan.moments_s) else 0.0
    while True:
        time.sleep(_LOOK_S)
        now = time.perf_counter()
        samples = list(loop.samples)
        failed = [sample for sample in samples if sample.error]
        if samples and len(failed) == len(samples):
            client.server_version()  # raises where that is because the server died
        due, over = _count(samples, began, now, plan, slo)
        if due >= _FEWEST_SHARE * len(plan.moments_s) and judge_early(slo, due, over):
            return True, now
        if len(samples) >= len(plan.moments_s) or now - began > last + slo.bound_ms / 1000 + _LOOK_S:
            return False, now


def _count(samples: Sequence[Sample], began: float, now: float, plan: TrialPlan, slo: Slo) -> tuple[int, int]:
    """Return how many requests must have been answered in time by now, and how many of them were not."""
    bound_s = slo.bound_ms / 1000
    cutoff = now - began - bound_s
    due = int(((plan.moments_s >= plan.warmup_s) & (plan.moments_s <= cutoff)).sum())
    in_time = sum(
        1
        for sample in samples
        if sample.error is None
        and began + plan.warmup_s <= sample.intended_s <= began + cutoff
        and sample.ended_s - sample.intended_s <= bound_s
    )
    return due, due - in_time


def _trial_from_samples(samples: Sequence[Sample], span: tuple[float, float], plan: TrialPlan, slo: Slo) -> Trial:
    """Return what a load showed that began and was ended at two moments; one that took its time ends at infinity."""
    began, ended = span
    own = [sample for sample in samples if sample.intended_s >= began + plan.warmup_s]
    answered = [sample for sample in own if sample.error is None]
    refused = Counter(sample.error for sample in own if sample.error not in (None, CANCELLED, OUT_OF_TIME))
    if refused and not answered:
        reason = refused.most_common(1)[0][0]
        raise ServerError(f"no request was answered at {plan.rate:g}/s: {reason}", hint="try the entry with prep bench")
    ends_s = [sample.ended_s for sample in answered]
    latency_s = np.array([sample.ended_s - sample.intended_s for sample in answered])
    lateness_s = np.array([sample.sent_s - sample.intended_s for sample in own])
    due, over = _count(samples, began, ended, plan, slo)
    is_sent = is_sustained(lateness_s, latency_s, due - len(own))
    return Trial(
        rate=plan.rate,
        seconds=0.0,
        requests=due,
        verdict=judge_slo(slo, due, over, sustained=is_sent),
        ended_early=False,
        mean_ms=float(latency_s.mean()) * 1000 if answered else 0.0,
        p50_ms=percentile(latency_s, 50.0) * 1000,
        p99_ms=percentile(latency_s, 99.0) * 1000,
        answered_per_s=len(ends_s) / max(_LOOK_S, max(ends_s) - min(ends_s)) if ends_s else 0.0,
    )
