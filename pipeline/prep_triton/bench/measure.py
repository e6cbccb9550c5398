"""Every load on every entry, repeat after repeat, on a server that runs."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prep_triton.bench.generator import Timing, measure_window, window_from_samples
from prep_triton.bench.loads import draw_arrivals
from prep_triton.bench.mix import Mix
from prep_triton.bench.points import Measured
from prep_triton.bench.records import Load
from prep_triton.bench.requests import Workload
from prep_triton.bench.resources import ResourceMeter, WindowUse
from prep_triton.bench.sending_processes import SendingProcesses, open_loops
from prep_triton.bench.sending_worker import Share
from prep_triton.errors import ServerError
from prep_triton.progress import Progress
from prep_triton.triton.server.client import RefusedRequestError
from prep_triton.triton.server.load import CANCELLED, OUT_OF_TIME, ServerClient, list_parts
from prep_triton.triton.server.senders import render_requests
from prep_triton.triton.server.statistics import ModelStatistics

if TYPE_CHECKING:
    from prep_triton.bench.generator import Sample


log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """What is measured: each load for `duration_s` after `warmup_s`, `repeats` times, never twice in a row.

    Of a `mix` all entries at once, each under its part of the load.
    A load is sent from threads of this process, or where `processes` is above 1 from so many others.
    """

    loads: tuple[Load, ...]
    repeats: int
    warmup_s: float
    duration_s: float
    seed: int
    timeout_s: float
    mix: Mix | None = None
    processes: int = 1


class NoAnswerInTimeError(ServerError):
    """The server answered, but nothing within the measured time of a repeat."""


# What is sent at once: entries, each under its own load.
Case = tuple[tuple[Workload, Load], ...]


def list_cases(workloads: Sequence[Workload], plan: Plan) -> list[Case]:
    """Return what is measured, one after the other: each entry under each load, or of a mix all entries at once.

    Args:
        workloads: Of a mix one for each of its streams, in order.
        plan: The loads, and the mix.

    Raises:
        SpecError: A concurrency is too little for the mix.
    """
    if plan.mix is not None:
        return [tuple(zip(workloads, plan.mix.split_load(load), strict=True)) for load in plan.loads]
    return [
        ((workload, load.model_copy(update={"priority": workload.priority})),)
        for workload in workloads
        for load in plan.loads
    ]


@dataclass(frozen=True)
class Tools:
    """What measures the machine meanwhile, and other processes that send; neither where None."""

    meter: ResourceMeter | None = None
    processes: SendingProcesses | None = None


def measure_repeats(
    client: ServerClient,
    workloads: Sequence[Workload],
    plan: Plan,
    progress: Progress,
    meter: ResourceMeter | None = None,
) -> Iterator[Measured]:
    """Measure, and yield each repeat as it ends: whoever interrupts keeps what came before.

    A round takes each case once, and begins with another one than the last round did, so that what changes on the
    machine meanwhile falls on all of them.

    Raises:
        ServerError: The server died or hangs, or answered no request of a repeat.
        SpecError: A concurrency is too little for the mix.
        GeneratorError: A process that sends died.
    """
    with SendingProcesses(plan.processes) if plan.processes > 1 else nullcontext() as processes:
        for repeat, case in take_turns(list_cases(workloads, plan), plan, progress):
            for measured in measure_case(client, case, plan, repeat, Tools(meter, processes)):
                rate = measured.window.completed_s.size / measured.window.seconds
                name, load = measured.workload.model.name, measured.load
                log.debug("%s, %s, repeat %d: %.1f requests/s", name, load.describe(), repeat + 1, rate)
                yield measured


def take_turns(cases: Sequence[Case], plan: Plan, progress: Progress) -> Iterator[tuple[int, Case]]:
    """Yield what is to be measured in turn, with the number of its repeat from 0, and say so."""
    for repeat in range(plan.repeats):
        first = repeat % len(cases)
        for index, case in enumerate([*cases[first:], *cases[:first]]):
            done = (repeat * len(cases) + index) / (plan.repeats * len(cases))
            what = " and ".join(f"{workload.model.name}, {load.describe()}" for workload, load in case)
            progress(f"{what}, repeat {repeat + 1} of {plan.repeats}", done)
            yield repeat, case


def measure_repeat(
    client: ServerClient,
    workload: Workload,
    load: Load,
    plan: Plan,
    repeat: int,
    tools: Tools = Tools(),
) -> Measured:
    """Measure one entry under one load once, from this process or others, and with a meter what that takes.

    Raises:
        ServerError: The server died or hangs, or answered no request.
        GeneratorError: One of the other processes died.
    """
    (measured,) = measure_case(client, ((workload, load),), plan, repeat, tools)
    return measured


def measure_case(client: ServerClient, case: Case, plan: Plan, repeat: int, tools: Tools = Tools()) -> list[Measured]:
    """Measure what is sent at once, once; return what was measured of each entry.

    Raises:
        ServerError: The server died or hangs, or answered no request.
        GeneratorError: One of the other processes died.
    """
    parts = list_parts([workload.model for workload, _ in case])
    looks: list[dict[str, ModelStatistics]] = []
    uses: list[WindowUse] = []
    meter = tools.meter

    def look() -> None:
        looks.append(read_all_statistics(client, parts))
        if meter and len(looks) == 1:
            meter.begin()
        elif meter:
            uses.append(meter.end())

    timing = Timing(plan.warmup_s, plan.duration_s, probe=client.server_version)
    shares = [_share_of(client, *part, plan, [repeat, *([index] if index else [])]) for index, part in enumerate(case)]
    if meter:
        meter.prepare()
    with open_loops(shares, tools.processes) as (loop, sender, streams):
        span = measure_window(loop, sender, timing, look=look)
    windows = [
        window_from_samples(stream.samples, span, repeat, _count_offered(share, plan))
        for stream, share in zip(streams, shares, strict=True)
    ]
    samples = loop.samples
    # An open loop of which nothing was sent in time is a point that does not count; of a mix, one may get nothing.
    if not any(window.latency_s.size for window in windows) and not (
        any(window.unsent for window in windows) and any(sample.error is None for sample in samples)
    ):
        raise _error_of_silence(client, [workload for workload, _ in case], samples, plan)
    since = {part: looks[1][part].since(looks[0][part]) for part in parts}
    use = uses[0] if uses and len(case) == 1 else None  # of a mix, nothing tells what each entry took
    return [
        Measured(workload, load, window, {part: since[part] for part in list_parts([workload.model])}, use)
        for (workload, load), window in zip(case, windows, strict=True)
    ]


def _share_of(client: ServerClient, workload: Workload, load: Load, plan: Plan, draw: Sequence[int]) -> Share:
    """Return what is sent of one entry.

    `draw` are the repeat and, but of the first, the place in the mix: two runs, and two entries alone, see the same
    arrivals, and two entries of a mix do not.
    """
    concurrency, moments = int(load.value), None
    if load.kind == "open":
        concurrency, moments = 0, draw_arrivals(load, plan.warmup_s + plan.duration_s, [plan.seed, *draw])
    rendered = render_requests(client, workload.requests)
    return Share(client.address, plan.timeout_s, workload.requests, concurrency, moments, rendered)


def _count_offered(share: Share, plan: Plan) -> int | None:
    """Return how many requests an open loop is to send in the measured time; None of a closed one."""
    return None if share.moments_s is None else int((share.moments_s >= plan.warmup_s).sum())


def read_all_statistics(client: ServerClient, parts: Sequence[str]) -> dict[str, ModelStatistics]:
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


def _error_of_silence(
    client: ServerClient, workloads: Sequence[Workload], samples: Sequence["Sample"], plan: Plan
) -> ServerError:
    """Return the error of a repeat in which no request was answered."""
    name = " and ".join(dict.fromkeys(workload.model.name for workload in workloads))
    said = [sample.error for sample in samples if sample.error not in (None, CANCELLED, OUT_OF_TIME)]
    if said:
        return ServerError(
            f"{name} answered no request: {said[-1]}",
            hint="see the server's log; prep verify says whether the entry answers at all",
        )
    answers = [sample.ended_s - sample.intended_s for sample in samples if sample.error is None]
    if answers:
        return NoAnswerInTimeError(
            f"{name} answered no request within {plan.duration_s:g} s: its fastest answer took {min(answers):.2g} s",
            hint="measure longer with --duration-s",
        )
    return ServerError(
        f"{name} at {client.address} answered nothing for {plan.timeout_s:g} s",
        hint="see whether the server hangs, or allow more time with --timeout-s",
    )
