"""Two repositories, releases or servers measured in turns in one session, as `prep bench --against` has it."""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prep_triton.artifact import RepositoryEntry
from prep_triton.errors import ServerError, SpecError
from prep_triton.progress import Progress, ignore_progress
from prep_triton.run.bench_target import BenchTarget, find_target
from prep_triton.run.benching import (
    INTERRUPTED,
    BenchOutcome,
    BenchRequest,
    LoadedServer,
    make_conditions,
    make_report,
    make_workloads,
    note_priorities,
    running_server,
)

if TYPE_CHECKING:
    from prep_triton.bench.against import Side
    from prep_triton.bench.points import Measured
    from prep_triton.bench.records import BaselineComparison, BenchConditions, BenchReport
    from prep_triton.bench.requests import Workload

_ADDRESS = re.compile(r"[\w.-]+:[0-9]+")


def request_of_other(request: BenchRequest, against: str) -> BenchRequest:
    """Return the request that measures the other side: HOST:PORT of a server, or a repository, release or store.

    Raises:
        SpecError: It is the same that is measured.
    """
    is_server = _ADDRESS.fullmatch(against) is not None and not Path(against).exists()
    if against == (request.server if is_server else request.target) and (is_server or request.release is None):
        raise SpecError(f"--against {against} is what is measured itself", hint="name another one")
    if is_server:
        return replace(request, server=against)  # of the same models, as far as they were named
    return replace(request, target=against, release=None, server=None)


def _find_targets(requests: "Mapping[Side, BenchRequest]") -> "dict[Side, BenchTarget]":
    """Find what both sides mean, before a server is started."""
    targets: dict[Side, BenchTarget] = {}
    for side, request in requests.items():
        targets[side] = find_target(request.target, request.release, request.server)
        targets[side].check_entries(request.entries)
    return targets


def bench_against(request: BenchRequest, against: str, *, progress: Progress = ignore_progress) -> BenchOutcome:
    """Measure a server and another one in turns, and compare them; see `prep_triton.bench.against`.

    Servers that are not named by their address are started anew for each round. The plan's repeats are the most: it
    ends sooner where `prep_triton.bench.compare_turns.is_narrow`. Ctrl-C, and a server that dies, keep what was
    measured until then. The report is of the request's own server, its comparison has the other's points.

    Raises:
        SpecError, RepositoryMissingError: An entry does not take what is to be sent, or one side does not have it.
        ServerError: A server did not start, or failed before anything was measured.
    """
    from prep_triton.bench.against import count_rounds
    from prep_triton.bench.compare_turns import FEWEST_FOR_AN_END, is_narrow

    requests: dict[Side, BenchRequest] = {"own": request, "other": request_of_other(request, against)}
    session = _Session(requests, _find_targets(requests), progress)
    reason, error = "", None
    try:
        for number in range(count_rounds(request.plan.repeats)):
            for side, repeat in session.measure(number):
                session.measured[side].append(repeat)  # what was measured outlives what interrupts it
            if number + 1 >= FEWEST_FOR_AN_END and is_narrow(session.compare(against, "")[1]):
                break
    except KeyboardInterrupt:
        if not session.is_comparable:
            raise
        reason = INTERRUPTED
    except ServerError as err:
        if not session.is_comparable:
            raise
        reason, error = err.message, err
    report, comparison = session.compare(against, reason)
    return BenchOutcome(report.model_copy(update={"comparison": comparison}), error, session.entries)


@dataclass
class _Session:
    """Both sides: their requests, what was measured of them, their last conditions, and notes on the own one."""

    requests: "dict[Side, BenchRequest]"
    targets: "dict[Side, BenchTarget]"
    progress: Progress
    measured: "dict[Side, list[Measured]]" = field(default_factory=lambda: {"own": [], "other": []})
    conditions: "dict[Side, BenchConditions]" = field(default_factory=dict)
    entries: tuple[RepositoryEntry, ...] = ()
    notes: "dict[str, Any]" = field(default_factory=dict)

    def __post_init__(self) -> None:
        from prep_triton.bench.machine import read_cpu_times

        self._before = datetime.now(UTC), os.getloadavg()[0], read_cpu_times()

    @property
    def is_comparable(self) -> bool:
        """Whether both sides were measured."""
        return all(self.measured.values())

    def measure(self, number: int) -> "Iterator[tuple[Side, Measured]]":
        """Measure a round, on servers that are started for it."""
        from prep_triton.bench.against import LoadedSide, measure_round
        from prep_triton.bench.resources import ResourceMeter

        with ExitStack() as stack:
            servers = {
                side: stack.enter_context(running_server(request, self.progress, self.targets[side]))
                for side, request in self.requests.items()
            }
            workloads = _pair_workloads(servers, self.requests)
            self.entries = tuple(servers["own"].entries.values())
            notes = tuple(note_priorities(workloads["own"]))
            self.notes = {"not_loaded": dict(servers["own"].failures), "notes": notes}
            sides = []
            for side, server in servers.items():
                meter = stack.enter_context(ResourceMeter(server.pid))
                sides.append(LoadedSide(side, server.client, workloads[side], meter))
            try:
                yield from measure_round((sides[0], sides[1]), self.requests["own"].plan, number, self.progress)
            finally:  # what was measured before an interruption has conditions too
                for loaded in sides:
                    self.conditions[loaded.side] = make_conditions(
                        self.requests[loaded.side], servers[loaded.side], loaded.workloads, self._before
                    ).model_copy(update={"gpus": loaded.meter.gpus})

    def compare(self, against: str, reason: str) -> "tuple[BenchReport, BaselineComparison]":
        """Make the document of the own side, and its comparison with the other one, which is called `against`."""
        from prep_triton.bench.compare_turns import compare_turns

        report = self.report("own", reason)
        return report, compare_turns(report, self.report("other", ""), against)

    def report(self, side: "Side", reason: str) -> "BenchReport":
        """Make the document of a side."""
        report = make_report(self.requests[side], self.measured[side], self.conditions[side], reason)
        if side == "other":
            return report
        names = [repeat.workload.model.name for repeat in self.measured[side]]
        left_out = self.targets[side].rows_without(names, self.notes["not_loaded"], "left out of the comparison")
        return report.model_copy(update=self.notes | {"not_measured": left_out})


def _pair_workloads(
    servers: "Mapping[Side, LoadedServer]", requests: "Mapping[Side, BenchRequest]"
) -> "dict[Side, list[Workload]]":
    """Make the requests of the entries that both sides have; of one entry each, the names may differ.

    Raises:
        SpecError: They have none in common.
    """
    workloads = {side: make_workloads(server, requests[side]) for side, server in servers.items()}
    own, other = workloads["own"], workloads["other"]
    if len(own) == len(other) == 1 or requests["own"].plan.mix:
        return workloads
    by_name = {workload.model.name: workload for workload in other}
    pairs = [(workload, by_name[workload.model.name]) for workload in own if workload.model.name in by_name]
    if not pairs:
        raise SpecError(
            "the two sides have no entry in common: "
            f"{', '.join(workload.model.name for workload in own)}, and {', '.join(by_name)}",
            hint="name one that both have with --entry",
        )
    return {"own": [pair[0] for pair in pairs], "other": [pair[1] for pair in pairs]}
