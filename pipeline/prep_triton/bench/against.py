"""Two servers in one session: each load on both in turn, a few seconds apart, so that drift falls on both.

Only one of the two is under load at a time. A round measures every load on both sides in the order A B B A A B, the
next round in the order B A A B B A: what grows or falls steadily meanwhile cancels, and a program that comes or goes
meets one pair of turns of a round, whose median is taken. Servers that prep starts are started anew for each round,
since the same server started twice differs with itself (where its weights come to lie in memory); so the round, and not
the request, is what repeats.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Literal

from prep_triton.bench.measure import NoAnswerInTimeError, Plan, Tools, list_cases, measure_case
from prep_triton.bench.points import Measured
from prep_triton.bench.requests import Workload
from prep_triton.bench.resources import ResourceMeter
from prep_triton.bench.sending_processes import SendingProcesses
from prep_triton.progress import Progress
from prep_triton.triton.server.load import ServerClient

log = logging.getLogger(__name__)

Side = Literal["own", "other"]
REPEATS_IN_A_ROUND = 3
# A server that answered a moment ago needs no more than this share of the measured time to be as it was.
_WARM_SHARE = 0.25


@dataclass(frozen=True)
class LoadedSide:
    """One of two servers, what is sent to it, and the meter of its processes."""

    side: Side
    client: ServerClient
    workloads: Sequence[Workload]
    meter: ResourceMeter


def count_rounds(repeats: int) -> int:
    """Return the rounds that measure each side `repeats` times; the last one may be half a round."""
    return -(-repeats // REPEATS_IN_A_ROUND)


def list_turns(number: int, repeats: int) -> list[tuple[int, int]]:
    """Return the turns of a round: which side's (0 or 1), and which repeat of that side it is."""
    start = number * REPEATS_IN_A_ROUND
    turns = []
    for pair in range(REPEATS_IN_A_ROUND):
        first = (number + pair) % 2
        turns += [(first, start + pair), (1 - first, start + pair)]
    return [(side, repeat) for side, repeat in turns if repeat < repeats]


def measure_round(
    sides: tuple[LoadedSide, LoadedSide], plan: Plan, number: int, progress: Progress
) -> Iterator[tuple[Side, Measured]]:
    """Measure each load on both sides in turn, and yield each repeat as it ends.

    Args:
        sides: The entries of both are paired by their place; of a mix, its streams.
        plan: The loads; `repeats` are those of a side in all rounds.
        number: The round, from 0.
        progress: Is told what is measured.

    A turn of a later round in which nothing was answered in time is left out, and with it its round: other programs had
    the processor.

    Raises:
        NoAnswerInTimeError: Nothing was answered in time in a turn of the first round: turns are too short.
        ServerError: A server died or hangs, or answered no request of a repeat.
        SpecError: A concurrency is too little for the mix.
        GeneratorError: A process that sends died.
    """
    cases = list(zip(*(list_cases(side.workloads, plan) for side in sides), strict=True))
    first = number % len(cases)
    turns = list_turns(number, plan.repeats)
    warm_plan = replace(plan, warmup_s=min(plan.warmup_s, _WARM_SHARE * plan.duration_s))
    with SendingProcesses(plan.processes) if plan.processes > 1 else nullcontext() as processes:
        for index, case in enumerate([*cases[first:], *cases[:first]]):
            for turn, (which, repeat) in enumerate(turns):
                side = sides[which]
                done = (number + (index + turn / len(turns)) / len(cases)) / count_rounds(plan.repeats)
                what = " and ".join(f"{workload.model.name}, {load.describe()}" for workload, load in case[which])
                progress(f"{what}, repeat {repeat + 1} of {plan.repeats} each", done)
                tools = Tools(side.meter, processes)
                own_plan = plan if turn < len(sides) else warm_plan
                try:
                    measured = measure_case(side.client, case[which], own_plan, repeat, tools)
                except NoAnswerInTimeError as err:
                    if number == 0:
                        raise
                    log.info("left out of the comparison: %s", err.message)
                    continue
                for part in measured:
                    yield side.side, part
