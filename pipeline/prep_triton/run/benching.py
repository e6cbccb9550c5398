"""A load on a repository, a release or a running Triton, as `prep bench` has it."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from prep_triton import __version__
from prep_triton.artifact import RepositoryEntry
from prep_triton.errors import GeneratorError, PrepError, RepositoryMissingError, ServerError, SpecError, suggest
from prep_triton.progress import Progress, ignore_progress
from prep_triton.run.bench_target import SERVER_ALONE, BenchTarget, find_target
from prep_triton.run.serving import ServedRepository, serve

if TYPE_CHECKING:
    from prep_triton.bench.analyzer import Analyzer
    from prep_triton.bench.analyzer_points import AnalyzerRepeat
    from prep_triton.bench.compare import StoredRun
    from prep_triton.bench.machine import CpuTimes
    from prep_triton.bench.measure import Plan
    from prep_triton.bench.points import Measured
    from prep_triton.bench.records import BenchConditions, BenchReport, Slo
    from prep_triton.bench.requests import EntryFacts, InputChoice, Workload
    from prep_triton.bench.resources import ResourceMeter
    from prep_triton.triton.server.load import ServerClient
    from prep_triton.triton.server.process import RunningTriton
    from prep_triton.triton.server.senders import Protocol

Generator = Literal["prep", "perf-analyzer"]
# What has a time of its own for a client; tokenizers and post-processors are parts of an ensemble.
_LOADED_KINDS = ("model", "ensemble")
INTERRUPTED = "interrupted"
_MOST_TEXTS = 10_000
STARTED_HERE = "started by prep"
UNKNOWN_FLAVOUR = "unknown"


@dataclass(frozen=True)
class BenchRequest:
    """What to measure.

    Args:
        target: A repository, a release, a store or a pipeline file; None where a running server alone is named.
        release: Which release of a store; its current one where None.
        server: HOST:PORT of a running Triton; one is started where None.
        entries: The entries to load; all models and text ensembles where empty.
        inputs: What is sent.
        plan: Which loads, and for how long.
        slo: The service level to judge.
        command: The command to run it again.
        protocol: What the requests are sent over, and HOST:PORT is the address of.
        generator: What sends the load.
    """

    target: str | None
    release: str | None
    server: str | None
    entries: tuple[str, ...]
    inputs: "InputChoice"
    plan: "Plan"
    slo: "Slo | None" = None
    command: str = ""
    protocol: "Protocol" = "grpc"
    generator: Generator = "prep"


@dataclass(frozen=True)
class BenchOutcome:
    """What was measured, the error that ended it before its end, if one did, and the entries of the repository."""

    report: "BenchReport"
    error: PrepError | None = None
    entries: tuple[RepositoryEntry, ...] = ()


@dataclass(frozen=True)
class LoadedServer:
    """A server under load.

    `entries` are those of its repository, by name, as far as that was named; `failures` says of each that did not load
    why not; `pid` is the first process of a server whose processes are known. `target` is what is measured.
    """

    client: "ServerClient"
    name: str
    version: str
    flavour: str
    entries: Mapping[str, RepositoryEntry]
    failures: Mapping[str, str] = field(default_factory=dict)
    pid: int | None = None
    target: BenchTarget = SERVER_ALONE


def bench(
    request: BenchRequest, *, target: BenchTarget | None = None, progress: Progress = ignore_progress
) -> BenchOutcome:
    """Measure a server under load. Ctrl-C and a server that dies keep what was measured until then.

    Args:
        request: What to measure.
        target: What its target means, where that was found before.
        progress: Hears about each step.

    Raises:
        GeneratorError: What sends the load failed before anything was measured.
        SpecError: An entry does not take what is to be sent, or is not there.
        RepositoryMissingError: There is no such entry in the repository.
        ServerError: Triton did not start, or failed before anything was measured.
    """
    from prep_triton.bench.machine import read_cpu_times
    from prep_triton.bench.resources import ResourceMeter

    started_at, load_before, times = datetime.now(UTC), os.getloadavg()[0], read_cpu_times()
    analyzer = _find_analyzer(request)
    with running_server(request, progress, target) as server, ResourceMeter(server.pid) as meter:
        workloads = make_workloads(server, request)
        measured, reason, error = _measure(server, workloads, request.plan, progress, (meter, analyzer))
        conditions = make_conditions(request, server, workloads, (started_at, load_before, times))
        conditions = conditions.model_copy(update={"gpus": meter.gpus})
    if analyzer:  # which knows no warm-up
        conditions = conditions.model_copy(
            update={"generator": f"perf_analyzer {analyzer.version}", "processes": 1, "warmup_s": 0.0}
        )
    report = make_report(request, measured, conditions, reason)
    left_out = f"left out by {'--mix' if request.plan.mix else '--entry'}"
    otherwise = "not loaded there" if request.server else f"ended before: {reason}" if reason else left_out
    measured_names = [repeat.workload.model.name for repeat in measured]
    not_measured = server.target.rows_without(measured_names, server.failures, otherwise)
    changed = {"not_loaded": dict(server.failures), "not_measured": not_measured}
    changed["notes"] = tuple(note_priorities(workloads))
    return BenchOutcome(report.model_copy(update=changed), error, tuple(server.entries.values()))


def read_texts(path: Path | None) -> tuple[str, ...]:
    """Return the lines of a file that are not blank, or the sentences that come with prep.

    Raises:
        SpecError: The file cannot be read, has no text or more than is sent.
    """
    if path is None:
        text = (files("prep_triton.export") / "sentences.txt").read_text(encoding="utf-8")
        return tuple(line for line in text.splitlines() if line.strip())
    try:
        lines = path.read_bytes().decode("utf-8", "surrogateescape").split("\n")
    except OSError as err:
        raise SpecError(
            f"--texts {path} cannot be read: {err.strerror}", hint="name a file with a text a line"
        ) from err
    texts = tuple(line.rstrip("\r") for line in lines if line.strip())
    if not texts or len(texts) > _MOST_TEXTS:
        raise SpecError(f"--texts {path} has {len(texts):,} texts, of 1 to {_MOST_TEXTS:,}", hint="write a text a line")
    return texts


def compare(report: "BenchReport", runs: "Sequence[StoredRun]", name: str) -> "BenchReport":
    """Return the report with its comparison with an earlier run, or with a history of at least three."""
    from prep_triton.bench.compare import compare_with_baseline
    from prep_triton.bench.history import compare_with_history

    (first, *more) = runs
    comparison = compare_with_history(report, runs, name) if more else compare_with_baseline(report, first, name)
    return report.model_copy(update={"comparison": comparison})


@contextmanager
def running_server(
    request: BenchRequest, progress: Progress, target: BenchTarget | None = None
) -> Iterator[LoadedServer]:
    """Yield the server of a request: the one that it names, or one that is started for as long as the block.

    `target` is what the request's target means, where that was found before.

    Raises:
        SpecError, RepositoryMissingError: There is nothing to serve, or an entry is not there.
        ServerError: It did not start, did not load an entry that was named, or does not answer.
    """
    from prep_triton.bench.local_server import find_local_server
    from prep_triton.triton.server.ports import FREE_PORTS
    from prep_triton.triton.server.senders import connect_client

    target = target or find_target(request.target, request.release, request.server)
    target.check_entries(request.entries)
    served = target.served
    entries = {entry.name: entry for entry in served.entries} if served else {}
    if request.server is not None:
        with connect_client(request.server, request.protocol, timeout_s=request.plan.timeout_s) as client:
            version, pid = client.server_version(), find_local_server(client.address)
            yield LoadedServer(client, client.address, version, UNKNOWN_FLAVOUR, entries, pid=pid, target=target)
        return
    if served is None:
        raise SpecError("there is nothing to measure", hint="name a repository, a release or --server HOST:PORT")
    needed = _needed_entries(served, request.entries)
    kept = ServedRepository(served.uri, needed, served.arguments)
    with (
        serve(kept, FREE_PORTS, timeout_s=max(120.0, request.plan.timeout_s), progress=progress) as running,
        connect_client(url_of(running, request.protocol), request.protocol, timeout_s=request.plan.timeout_s) as client,
    ):
        for name in request.entries:
            if name in running.failures:
                raise ServerError(
                    f"Triton did not load {name}: {running.failures[name]}",
                    hint="see which entries load with prep verify",
                )
        yield LoadedServer(
            client, STARTED_HERE, running.version, running.flavour, entries, running.failures, running.pid, target
        )


def url_of(running: "RunningTriton", protocol: "Protocol") -> str:
    """Return where a server of our own speaks a protocol."""
    return running.http_url if protocol == "http" else running.grpc_url


def _needed_entries(served: ServedRepository, names: Sequence[str]) -> list[RepositoryEntry]:
    """Return the entries to load, and of an ensemble those that it calls.

    Raises:
        RepositoryMissingError: One is not there.
    """
    if not names:
        return list(served.entries)
    by_name = {entry.name: entry for entry in served.entries}
    for name in names:
        if name not in by_name:
            raise RepositoryMissingError(
                f"{served.uri} has no entry {name}",
                hint=suggest(name, by_name, otherwise=f"it has {', '.join(by_name) or 'none'}"),
            )
    needed = dict.fromkeys(part for name in names for part in (*by_name[name].composes, name))
    return [by_name[name] for name in needed if name in by_name]


def make_workloads(server: LoadedServer, request: BenchRequest) -> "list[Workload]":
    """Make the requests of each entry that is loaded.

    Raises:
        SpecError, ServerError: It does not take what is to be sent, or is not there.
    """
    from prep_triton.bench.requests import make_workload
    from prep_triton.triton.server.load import read_served_model

    names = _choose_names(server, request.entries)
    models = [read_served_model(server.client, name) for name in names]
    if not request.entries and not server.entries:  # of a server alone: what takes neither is no load of its own
        models = [model for model in models if model.steps or model.takes_ids]
    if not models:
        raise ServerError(
            f"the server at {server.client.address} serves no model and no text ensemble",
            hint="load one, or name it with --entry",
        )
    choices = [(model, request.inputs) for model in models]
    if mix := request.plan.mix:  # an entry may be in several streams, with other priorities
        by_name = {model.name: model for model in models}
        choices = [(by_name[part.entry], replace(request.inputs, priority=part.priority)) for part in mix.streams]
    workloads = [make_workload(model, facts_of(server.entries, model.name), inputs) for model, inputs in choices]
    return [_with_tokens(server.client, workload) for workload in workloads]


def _with_tokens(client: "ServerClient", workload: "Workload") -> "Workload":
    from prep_triton.triton.server.token_counts import count_tokens

    if workload.tokens or not workload.model.steps:
        return workload
    return replace(workload, tokens=count_tokens(client, workload.model, workload.requests))


def note_priorities(workloads: "Sequence[Workload]") -> Iterator[str]:
    """Say of the text entries that are sent priorities how far those come."""
    from prep_triton.triton.config.traps import ENSEMBLE_PRIORITY

    for name in dict.fromkeys(w.model.name for w in workloads if w.priority and w.model.steps):
        yield f"{name}: {ENSEMBLE_PRIORITY.message} ({ENSEMBLE_PRIORITY.name})"


def _choose_names(server: LoadedServer, names: Sequence[str]) -> list[str]:
    """Return the entries to load, of those that the server serves.

    Raises:
        SpecError: It does not serve one that was named.
    """
    loaded = server.client.list_loaded()
    for name in names:
        if name not in loaded:
            raise SpecError(
                f"the server at {server.client.address} has not loaded {name}",
                hint=suggest(name, loaded, otherwise=f"it has {', '.join(loaded) or 'nothing'}"),
            )
    if names:
        return list(dict.fromkeys(names))
    own = [name for name in loaded if server.target.names is None or name in server.target.names]
    return [name for name in own if name not in server.entries or server.entries[name].kind in _LOADED_KINDS]


def facts_of(entries: Mapping[str, RepositoryEntry], name: str) -> "EntryFacts":
    """Return what the repository knows of an entry; nothing where it does not have it."""
    from prep_triton.bench.requests import EntryFacts

    entry = entries.get(name)
    if entry is None:
        return EntryFacts()
    limits = [entry.spec.get("max_sequence"), entry.onnx.max_sequence_length if entry.onnx else None]
    longest = [limit for limit in limits if isinstance(limit, int)]
    return EntryFacts(entry.key, entry.onnx.vocab_size if entry.onnx else None, min(longest) if longest else None)


def _find_analyzer(request: BenchRequest) -> "Analyzer | None":
    """Return the perf_analyzer that is to send the load, if one is.

    Raises:
        SpecError: There is none.
        GeneratorError: It does not start.
    """
    from prep_triton.bench.analyzer import find_analyzer

    return find_analyzer() if request.generator == "perf-analyzer" else None


def _measure(
    server: LoadedServer,
    workloads: "Sequence[Workload]",
    plan: "Plan",
    progress: Progress,
    tools: "tuple[ResourceMeter, Analyzer | None]",
) -> "tuple[list[Measured] | list[AnalyzerRepeat], str, PrepError | None]":
    """Measure, and return what was, why it ended before its end, and the error that it then ended with."""
    from prep_triton.bench.analyzer_points import measure_with_analyzer
    from prep_triton.bench.measure import measure_repeats

    meter, analyzer = tools
    measured: list[Any] = []
    if analyzer:
        repeats: Iterator[Any] = measure_with_analyzer(server.client, workloads, plan, analyzer, progress)
    else:
        repeats = measure_repeats(server.client, workloads, plan, progress, meter)
    try:
        for repeat in repeats:
            measured.append(repeat)  # what was measured outlives what interrupts it
    except KeyboardInterrupt:
        return measured, INTERRUPTED, None
    except (ServerError, GeneratorError) as err:
        if not measured:
            raise
        return measured, err.message, err
    return measured, "", None


def make_conditions(
    request: BenchRequest,
    server: LoadedServer,
    workloads: "Sequence[Workload]",
    before: "tuple[datetime, float, CpuTimes | None]",
) -> "BenchConditions":
    """Say under which conditions a server was measured since an earlier look at the clock, the load and the times."""
    from prep_triton.bench.machine import read_cpu_times, read_host, read_processor
    from prep_triton.bench.records import BenchConditions

    started_at, load_before, times = before
    processor, now, host = read_processor(), read_cpu_times(), read_host()
    return BenchConditions(
        cpu=processor.name,
        cpu_flags=processor.flags,
        cores=processor.cores,
        load_before=load_before,
        load_after=os.getloadavg()[0],
        steal_share=now.steal_share_since(times) if now and times else None,
        server=server.name,
        triton_version=server.version,
        triton_flavour=server.flavour,
        prep_version=__version__,
        seed=request.plan.seed,
        repeats=request.plan.repeats,
        warmup_s=request.plan.warmup_s,
        duration_s=request.plan.duration_s,
        processes=request.plan.processes,
        started_at=started_at,
        command=request.command,
        protocol=request.protocol,
        kernel=host.kernel,
        cpu_governor=host.cpu_governor,
        container=host.container,
        cpu_limit_cores=host.cpu_limit_cores,
        image=host.triton_image if server.name == STARTED_HERE else None,
        entries=tuple(workload.describe() for workload in workloads),
    )


def make_report(
    request: BenchRequest, measured: "Sequence[Any]", conditions: "BenchConditions", reason: str
) -> "BenchReport":
    """Make the document of what was measured; a `reason` says why it ended before its end."""
    from prep_triton.bench.analyzer_points import points_from_analyzer
    from prep_triton.bench.points import describe_best, points_from_measured
    from prep_triton.bench.records import BenchReport

    if request.generator == "prep":
        points = points_from_measured(measured, request.slo, request.plan.seed)
    else:
        points = points_from_analyzer(measured)
    return BenchReport(
        partial=bool(reason),
        partial_reason=reason,
        slo=request.slo,
        best_seen=describe_best(points, request.slo) if request.slo else "",
        conditions=conditions,
        points=points,
    )
