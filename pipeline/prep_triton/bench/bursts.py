"""Two tiers of one server in three bursts: both within what it can do, tier 1 beyond it, tier 2 beyond it.

Requests arrive as a Poisson process, the same in every case of a round, whatever the server does; beyond
`MOST_UNANSWERED` unanswered ones of a tier new ones are turned away, as a gateway would. Each case begins with empty
queues, and the cases of a burst take turns, on two servers that run side by side.
"""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from prep_triton.bench.burst_records import BURST_CASES, BurstCaseName, BurstShares, TierNumber
from prep_triton.bench.generator import OpenLoop, Sender, Timing, measure_window, window_from_samples
from prep_triton.bench.intervals import Window
from prep_triton.bench.loads import draw_arrivals
from prep_triton.bench.measure import Plan, measure_repeat
from prep_triton.bench.mix import LoopGroup, SenderGroup
from prep_triton.bench.records import Load
from prep_triton.bench.requests import Workload
from prep_triton.bench.resources import ResourceMeter, WindowUse
from prep_triton.errors import ServerError
from prep_triton.progress import Progress
from prep_triton.triton.server.load import ServerClient
from prep_triton.triton.server.senders import open_sender, render_requests

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

log = logging.getLogger(__name__)

# Of what each tier answers alone: the scenarios of Google's post of 2021 on Triton on GKE.
BURSTS = (
    BurstShares(burst=1, tier_1=0.4, tier_2=0.3),
    BurstShares(burst=2, tier_1=1.5, tier_2=0.3),
    BurstShares(burst=3, tier_1=0.4, tier_2=3.0),
)
TIERS: tuple[TierNumber, ...] = (1, 2)
MOST_UNANSWERED = 128
# Of all cores, taken by other programs: then a round is played again.
DISTURBED_SHARE = 0.15
_ATTEMPTS = 3
# Processor time is counted in ticks of 10 ms: of a shorter phase, nobody can say what others took.
_SHORTEST_JUDGED_S = 1.0
# All rates follow from it; so many requests under way take a while to come round.
_SHORTEST_CAPACITY_S = 1.0
_CAPACITY_RUNS = 3
_PLAYED: Mapping[BurstCaseName, tuple[TierNumber, ...]] = {
    "tier 1 alone": (1,),
    "tier 2 alone": (2,),
    "without tiers": TIERS,
    "with tiers": TIERS,
}


class GatedLoop(OpenLoop):
    """An open loop that turns away what arrives while too many requests are unanswered; keeps when that was."""

    def __init__(
        self, sender: Sender, requests: Sequence[bytes], moments_s: "Array", most_unanswered: int = MOST_UNANSWERED
    ) -> None:
        super().__init__(sender, requests, moments_s)
        self.turned_away_s: list[float] = []
        self._most_unanswered = most_unanswered

    def _send(self, request: bytes, intended_s: float) -> None:
        if self._sent - len(self.samples) >= self._most_unanswered:
            self.turned_away_s.append(intended_s)
        else:
            super()._send(request, intended_s)


@dataclass(frozen=True)
class BurstServer:
    """A server that serves both tiers, the requests of each, and what measures this machine meanwhile."""

    client: ServerClient
    workloads: Mapping[TierNumber, Workload]
    meter: ResourceMeter


@dataclass(frozen=True)
class PlayedSide:
    """What one tier got in one phase."""

    window: Window
    offered: int
    turned_away: int


@dataclass(frozen=True)
class PlayedPhase:
    """One case of one burst in one round."""

    burst: int
    case: BurstCaseName
    sides: Mapping[TierNumber, PlayedSide]
    use: WindowUse


@dataclass(frozen=True)
class PlayedRound:
    """All cases of one burst, in one round, and how often it was played."""

    phases: tuple[PlayedPhase, ...]
    attempts: int


def measure_capacity(server: BurstServer, tier: TierNumber, plan: Plan, progress: Progress) -> list[Window]:
    """Measure what a tier answers alone with `MOST_UNANSWERED` requests under way.

    Raises:
        ServerError: The server died or hangs, or answered no request.
    """
    load = Load(kind="closed", value=MOST_UNANSWERED)
    plan = replace(plan, duration_s=max(plan.duration_s, _SHORTEST_CAPACITY_S))
    windows = []
    count = min(plan.repeats, _CAPACITY_RUNS)
    for repeat in range(count):
        progress(f"what tier {tier} answers alone, repeat {repeat + 1} of {count}", repeat / count)
        windows.append(measure_repeat(server.client, server.workloads[tier], load, plan, repeat).window)
    return windows


def play_bursts(
    servers: Mapping[BurstCaseName, BurstServer],
    capacity_per_s: Mapping[TierNumber, float],
    plan: Plan,
    progress: Progress,
) -> Iterator[PlayedRound]:
    """Play each burst once a round, and yield it as it ends: whoever interrupts keeps what came before.

    Args:
        servers: The server of each case.
        capacity_per_s: What each tier answers alone, in requests a second.
        plan: Rounds (`repeats`), and how long a phase is.
        progress: Is called with what is played.

    Raises:
        ServerError: The server died or hangs, or answered no request.
    """
    attempts = _ATTEMPTS if plan.duration_s >= _SHORTEST_JUDGED_S else 1
    # What the first requests of a server take is no part of a burst; the others' server measured the capacity.
    progress("warming the server with tiers", 0.0)
    play_phase(servers["with tiers"], (1, "with tiers"), _rates_of(BURSTS[0], capacity_per_s), plan, 0)
    for number in range(plan.repeats):
        for place, burst in enumerate(BURSTS):
            done = (number * len(BURSTS) + place) / (plan.repeats * len(BURSTS))
            rates = _rates_of(burst, capacity_per_s)
            for attempt in range(1, attempts + 1):
                phases = []
                first = number % len(BURST_CASES)
                for case in (*BURST_CASES[first:], *BURST_CASES[:first]):
                    progress(f"burst {burst.burst}, {case}, round {number + 1} of {plan.repeats}", done)
                    phases.append(play_phase(servers[case], (burst.burst, case), rates, plan, number))
                if attempt == attempts or not any(map(is_disturbed, phases)):
                    yield PlayedRound(tuple(phases), attempt)
                    break
                log.debug("burst %d, round %d is played again: other programs were busy", burst.burst, number + 1)


def _rates_of(burst: BurstShares, capacity_per_s: Mapping[TierNumber, float]) -> dict[TierNumber, float]:
    return {1: burst.tier_1 * capacity_per_s[1], 2: burst.tier_2 * capacity_per_s[2]}


def is_disturbed(phase: PlayedPhase) -> bool:
    """Whether other programs took so much of the machine that a phase says little."""
    taken = phase.use.others_cpu_s
    return taken is not None and taken / phase.use.seconds > DISTURBED_SHARE * (os.cpu_count() or 1)


def play_phase(
    server: BurstServer, which: tuple[int, BurstCaseName], rates: Mapping[TierNumber, float], plan: Plan, number: int
) -> PlayedPhase:
    """Send to the tiers of a case what arrives at `rates`, a second, and wait for the answers.

    Raises:
        ServerError: The server died or hangs, or answered no request.
    """
    burst, case = which
    uses: list[WindowUse] = []
    looked = 0

    def look() -> None:
        nonlocal looked
        looked += 1
        if looked == 1:
            server.meter.begin()
        else:
            uses.append(server.meter.end())

    moments = {
        tier: draw_arrivals(
            Load(kind="open", value=rates[tier], arrivals="poisson"),
            plan.warmup_s + plan.duration_s,
            [plan.seed, number, tier],  # the same in every case, and another for each tier
        )
        for tier in _PLAYED[case]
    }
    server.meter.prepare()
    with ExitStack() as stack:
        loops: dict[TierNumber, GatedLoop] = {}
        senders = []
        for tier, own in moments.items():
            requests = server.workloads[tier].requests
            rendered = render_requests(server.client, requests)
            sender = stack.enter_context(open_sender(server.client.address, rendered, timeout_s=plan.timeout_s))
            senders.append(sender)
            loops[tier] = GatedLoop(sender, requests, own)
        timing = Timing(plan.warmup_s, plan.duration_s, probe=server.client.server_version)
        span = measure_window(LoopGroup(list(loops.values())), SenderGroup(senders), timing, look=look)
    sides = {tier: _side_of(loop, span, moments[tier] >= plan.warmup_s, number) for tier, loop in loops.items()}
    # A phase of which nothing was sent in time is one that its generator did not sustain.
    messages = [message for side in sides.values() for message in side.window.error_messages]
    if messages and not any(side.window.latency_s.size for side in sides.values()):
        raise ServerError(
            f"burst {burst}, {case}: no request was answered: {messages[0]}",
            hint="see the server's log; prep bench says what each entry answers alone",
        )
    return PlayedPhase(burst, case, sides, uses[0])


def _side_of(loop: GatedLoop, span: tuple[float, float], is_counted: "Array", number: int) -> PlayedSide:
    turned_away = sum(span[0] <= moment < span[1] for moment in loop.turned_away_s)
    offered = int(is_counted.sum())
    window = window_from_samples(loop.samples, span, number, offered - turned_away)
    return PlayedSide(window, offered, turned_away)
