"""Every load on every entry, repeat after repeat, on a server that runs."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prep_triton.bench.generator import ClosedLoop, OpenLoop, Timing, measure_window, window_from_samples
from prep_triton.bench.loads import draw_arrivals
from prep_triton.bench.points import Measured
from prep_triton.bench.records import Load
from prep_triton.bench.requests import Workload
from prep_triton.bench.resources import ResourceMeter, WindowUse
from prep_triton.errors import ServerError
from prep_triton.progress import Progress
from prep_triton.triton.server.client import RefusedRequestError, TritonClient
from prep_triton.triton.server.load import CANCELLED, OUT_OF_TIME, LoadConnection, list_parts
from prep_triton.triton.server.statistics import ModelStatistics

if TYPE_CHECKING:
    from prep_triton.bench.generator import Sample


log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """What is measured: each load for `duration_s` after `warmup_s`, `repeats` times, never twice in a row."""

    loads: tuple[Load, ...]
    repeats: int
    warmup_s: float
    duration_s: float
    seed: int
    timeout_s: float


def measure_repeats(
    client: TritonClient,
    workloads: Sequence[Workload],
    plan: Plan,
    progress: Progress,
    meter: ResourceMeter | None = None,
) -> Iterator[Measured]:
    """Measure, and yield each repeat as it ends: whoever interrupts keeps what came before.

    A round takes each entry under each load once, and begins with another one than the last round did, so that what
    changes on the machine meanwhile falls on all of them.

    Raises:
        ServerError: The server died or hangs, or answered no request of a repeat.
    """
    cases = [(workload, load) for workload in workloads for load in plan.loads]
    for repeat in range(plan.repeats):
        first = repeat % len(cases)
        for index, (workload, load) in enumerate([*cases[first:], *cases[:first]]):
            done = (repeat * len(cases) + index) / (plan.repeats * len(cases))
            progress(f"{workload.model.name}, {load.describe()}, repeat {repeat + 1} of {plan.repeats}", done)
            measured = measure_repeat(client, workload, load, plan, repeat, meter)
            rate = measured.window.completed_s.size / measured.window.seconds
            log.debug("%s, %s, repeat %d: %.1f requests/s", workload.model.name, load.describe(), repeat + 1, rate)
            yield measured


def measure_repeat(
    client: TritonClient,
    workload: Workload,
    load: Load,
    plan: Plan,
    repeat: int,
    meter: ResourceMeter | None = None,
) -> Measured:
    """Measure one entry under one load once, and with a meter what that takes of the machine.

    Raises:
        ServerError: The server died or hangs, or answered no request.
    """
    parts = list_parts([workload.model])
    looks: list[dict[str, ModelStatistics]] = []
    uses: list[WindowUse] = []

    def look() -> None:
        looks.append(_read_statistics(client, parts))
        if meter and len(looks) == 1:
            meter.begin()
        elif meter:
            uses.append(meter.end())

    timing = Timing(plan.warmup_s, plan.duration_s, probe=client.server_version)
    offered = None
    if meter:
        meter.prepare()
    with LoadConnection(client.address, timeout_s=plan.timeout_s) as sender:
        loop: ClosedLoop | OpenLoop
        if load.kind == "closed":
            loop = ClosedLoop(sender, workload.requests, int(load.value))
        else:
            # Of the repeat alone: two runs, and two entries, see the same arrivals.
            moments = draw_arrivals(load, plan.warmup_s + plan.duration_s, [plan.seed, repeat])
            offered = int((moments >= plan.warmup_s).sum())
            loop = OpenLoop(sender, workload.requests, moments)
        span = measure_window(loop, sender, timing, look=look)
    window = window_from_samples(loop.samples, span, repeat, offered)
    # An open loop of which nothing was sent in time is a point that does not count.
    if not (window.latency_s.size or (window.unsent and any(sample.error is None for sample in loop.samples))):
        raise _error_of_silence(client, workload, loop.samples, plan)
    since = {part: looks[1][part].since(looks[0][part]) for part in parts}
    return Measured(workload, load, window, since, uses[0] if uses else None)


def _read_statistics(client: TritonClient, parts: Sequence[str]) -> dict[str, ModelStatistics]:
    """Read the counters of some models.

    Raises:
        ServerError: The server does not answer.
    """
    try:
        return {part: client.read_statistics(part) for part in parts}
    except RefusedRequestError as err:
        raise ServerError(
            f"the server at {client.address} does not tell its statistics: {err.server_message}",
            hint="see whether it still runs, and read its log",
        ) from err


def _error_of_silence(client: TritonClient, workload: Workload, samples: Sequence["Sample"], plan: Plan) -> ServerError:
    """Return the error of a repeat in which no request was answered."""
    name = workload.model.name
    said = [sample.error for sample in samples if sample.error not in (None, CANCELLED, OUT_OF_TIME)]
    if said:
        return ServerError(
            f"{name} answered no request: {said[-1]}",
            hint="see the server's log; prep verify says whether the entry answers at all",
        )
    answers = [sample.ended_s - sample.intended_s for sample in samples if sample.error is None]
    if answers:
        return ServerError(
            f"{name} answered no request within {plan.duration_s:g} s: its fastest answer took {min(answers):.1f} s",
            hint="measure longer with --duration-s",
        )
    return ServerError(
        f"{name} at {client.address} answered nothing for {plan.timeout_s:g} s",
        hint="see whether the server hangs, or allow more time with --timeout-s",
    )
