"""Two tiers of one server in bursts, with and without tiers, as `prep bench --bursts` has it."""

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from prep_triton.artifact import RepositoryEntry
from prep_triton.errors import PrepError, ServerError, SpecError
from prep_triton.gpus import find_present_gpus
from prep_triton.progress import Progress, ignore_progress
from prep_triton.run.benching import (
    INTERRUPTED,
    STARTED_HERE,
    BenchRequest,
    LoadedServer,
    facts_of,
    make_conditions,
    url_of,
)
from prep_triton.run.burst_repository import TIERS, choose_tiers, entry_name, write_tiers
from prep_triton.run.serving import find_served
from prep_triton.scratch import scratch_folder
from prep_triton.spec import Tier

if TYPE_CHECKING:
    from prep_triton.bench.burst_records import BurstCaseName, BurstReport, BurstTier
    from prep_triton.bench.bursts import BurstServer, PlayedRound
    from prep_triton.bench.records import BenchConditions, Figure
    from prep_triton.bench.requests import Workload
    from prep_triton.triton.server.process import RunningTriton


@dataclass(frozen=True)
class BurstRequest:
    """What to play.

    Args:
        bench: Where, what is sent, how often and how long; its entries and loads are not looked at.
        tier_1: The entry that plays tier 1; None chooses one.
        tier_2: The entry that plays tier 2.
    """

    bench: BenchRequest
    tier_1: str | None = None
    tier_2: str | None = None


@dataclass(frozen=True)
class BurstOutcome:
    """What was played, and the error that ended it before its end, if one did."""

    report: "BurstReport"
    error: PrepError | None = None


@dataclass(frozen=True)
class _Stage:
    """Both servers, the one with tiers and the one without, and what the first is started with."""

    tiered: "BurstServer"
    plain: "BurstServer"
    server: LoadedServer
    arguments: tuple[str, ...]


def bench_bursts(request: BurstRequest, *, progress: Progress = ignore_progress) -> BurstOutcome:
    """Play three bursts on two entries of a repository. Ctrl-C and a server that dies keep what was played until then.

    Raises:
        SpecError: The repository is not a folder, or it is not clear which entries play.
        RepositoryMissingError: There is no such entry.
        ServerError: Triton did not start, or failed before anything was played.
    """
    from prep_triton.bench.burst_figures import capacity_from_windows
    from prep_triton.bench.bursts import measure_capacity
    from prep_triton.bench.machine import read_cpu_times

    before = datetime.now(UTC), os.getloadavg()[0], read_cpu_times()
    plan = request.bench.plan
    repository, entries = _find_entries(request)
    with _staged(request, repository, entries, progress) as stage:
        capacities: dict[Tier, Figure] = {}
        for tier in TIERS:
            # The same entry twice answers the same: it is measured once.
            if tier == 1 or entries[1].key != entries[2].key:
                windows = measure_capacity(stage.plain, tier, plan, progress)
                capacities[tier] = capacity_from_windows(windows, plan.seed)
        tiers = _describe_tiers(entries, capacities)
        rounds, reason, error = _play(stage, tiers, request, progress)
        workloads = [stage.plain.workloads[tier] for tier in TIERS]
        conditions = make_conditions(request.bench, stage.server, workloads, before)
        conditions = conditions.model_copy(update={"gpus": stage.plain.meter.gpus})
    report = _report(rounds, tiers, conditions, stage.arguments)
    return BurstOutcome(report.model_copy(update={"partial": bool(reason), "partial_reason": reason}), error)


def _find_entries(request: BurstRequest) -> tuple[Path, Mapping[Tier, RepositoryEntry]]:
    served = find_served(request.bench.target or "", request.bench.release)
    if "://" in served.uri:
        raise SpecError(
            f"bursts are played on a folder, and not on {served.uri}: its entries are served with other tiers",
            hint="fetch the release with `prep fetch` and name its folder",
        )
    chosen = choose_tiers(served, (request.tier_1, request.tier_2), has_gpu=bool(find_present_gpus()))
    return Path(served.uri), chosen


def _describe_tiers(
    entries: Mapping[Tier, RepositoryEntry], capacities: "Mapping[Tier, Figure]"
) -> "tuple[BurstTier, ...]":
    from prep_triton.bench.burst_records import BurstTier

    return tuple(
        BurstTier(tier=tier, entry=entries[tier].name, capacity_per_s=capacities.get(tier, capacities[1]))
        for tier in TIERS
    )


@contextmanager
def _staged(
    request: BurstRequest, repository: Path, entries: Mapping[Tier, RepositoryEntry], progress: Progress
) -> Iterator[_Stage]:
    """Start a server with tiers and one without, from repositories that go with the block."""
    from prep_triton.triton.server.process import run_triton

    with ExitStack() as stack:
        folder = stack.enter_context(scratch_folder("bursts"))
        servers, runnings, arguments = {}, {}, {}
        for is_tiered in (False, True):
            own = folder / ("tiers" if is_tiered else "plain")
            arguments[is_tiered] = write_tiers(own, repository, entries, is_tiered=is_tiered)
            runnings[is_tiered] = stack.enter_context(
                run_triton(str(own), arguments=arguments[is_tiered], progress=progress)
            )
            runnings[is_tiered].check_loaded()
            servers[is_tiered] = stack.enter_context(_connected(request, runnings[is_tiered], entries))
        plain, running = servers[False], runnings[False]
        named = {entry.name: entry for entry in entries.values()}
        server = LoadedServer(plain.client, STARTED_HERE, running.version, running.flavour, named)
        yield _Stage(servers[True], plain, server, arguments[True])


@contextmanager
def _connected(
    request: BurstRequest, running: "RunningTriton", entries: Mapping[Tier, RepositoryEntry]
) -> "Iterator[BurstServer]":
    from prep_triton.bench.bursts import BurstServer
    from prep_triton.bench.requests import make_workload
    from prep_triton.bench.resources import ResourceMeter
    from prep_triton.triton.server.load import read_served_model
    from prep_triton.triton.server.senders import connect_client

    bench = request.bench
    with (
        connect_client(url_of(running, bench.protocol), bench.protocol, timeout_s=bench.plan.timeout_s) as client,
        ResourceMeter(running.pid) as meter,
    ):
        workloads: dict[Tier, Workload] = {}
        for tier in TIERS:
            name = entry_name(tier)
            facts = facts_of({name: entries[tier]}, name)
            workloads[tier] = make_workload(read_served_model(client, name), facts, bench.inputs)
        yield BurstServer(client, workloads, meter)


def _play(
    stage: _Stage, tiers: "tuple[BurstTier, ...]", request: BurstRequest, progress: Progress
) -> "tuple[list[PlayedRound], str, PrepError | None]":
    """Play, and return what was, why it ended before its end, and the error that it then ended with."""
    from prep_triton.bench.burst_records import BURST_CASES
    from prep_triton.bench.bursts import play_bursts

    servers: dict[BurstCaseName, BurstServer] = dict.fromkeys(BURST_CASES, stage.plain)
    servers["with tiers"] = stage.tiered
    capacity = {tier.tier: tier.capacity_per_s.value for tier in tiers}
    rounds: list[PlayedRound] = []
    try:
        for played in play_bursts(servers, capacity, request.bench.plan, progress):
            rounds.append(played)  # what was played outlives what interrupts it
    except KeyboardInterrupt:
        return rounds, INTERRUPTED, None
    except ServerError as err:
        if not rounds:
            raise
        return rounds, err.message, err
    return rounds, "", None


def _report(
    rounds: "list[PlayedRound]",
    tiers: "tuple[BurstTier, ...]",
    conditions: "BenchConditions",
    arguments: tuple[str, ...],
) -> "BurstReport":
    from prep_triton.bench.burst_figures import cases_from_rounds
    from prep_triton.bench.burst_records import BurstReport
    from prep_triton.bench.bursts import BURSTS, DISTURBED_SHARE, MOST_UNANSWERED

    return BurstReport(
        conditions=conditions,
        server_arguments=arguments,
        most_unanswered=MOST_UNANSWERED,
        disturbed_share=DISTURBED_SHARE,
        played_again=sum(played.attempts - 1 for played in rounds),
        tiers=tiers,
        bursts=BURSTS,
        cases=cases_from_rounds(rounds, conditions.seed),
    )
