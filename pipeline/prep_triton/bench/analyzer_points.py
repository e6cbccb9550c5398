"""Points of what perf_analyzer measured: its summaries, and how far they differ from repeat to repeat."""

import logging
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

from prep_triton.bench.analyzer import Analyzer, AnalyzerFigures, run_analyzer, write_inputs
from prep_triton.bench.intervals import t_quantile
from prep_triton.bench.measure import Plan, list_cases, read_all_statistics, take_turns
from prep_triton.bench.points import parts_from_statistics
from prep_triton.bench.records import Figure, Load, Point
from prep_triton.bench.requests import Workload
from prep_triton.errors import GeneratorError
from prep_triton.progress import Progress
from prep_triton.triton.server.load import ServerClient, list_parts
from prep_triton.triton.server.statistics import ModelStatistics

log = logging.getLogger(__name__)

LATENCY_NOTE = "perf_analyzer's latency leaves out how late a request was sent"
ALONE_NOTE = "of one repeat: how far it may be off is not known"


@dataclass(frozen=True)
class AnalyzerRepeat:
    """One run of perf_analyzer on one entry, with what the statistics of its parts say of all of it, by name."""

    workload: Workload
    load: Load
    figures: AnalyzerFigures
    statistics: dict[str, ModelStatistics]


def measure_with_analyzer(
    client: ServerClient, workloads: Sequence[Workload], plan: Plan, analyzer: Analyzer, progress: Progress
) -> Iterator[AnalyzerRepeat]:
    """Have perf_analyzer measure, and yield each repeat as it ends: whoever interrupts keeps what came before.

    Raises:
        GeneratorError: It failed.
        ServerError: The server died or hangs.
    """
    with tempfile.TemporaryDirectory(prefix="prep-analyzer-") as folder:
        paths = {}
        for index, workload in enumerate(workloads):
            paths[workload.model.name] = Path(folder) / f"{index}.json"
            write_inputs(workload, paths[workload.model.name])
        for repeat, ((workload, load),) in take_turns(list_cases(workloads, plan), plan, progress):
            parts = list_parts([workload.model])
            before = read_all_statistics(client, parts)
            place = (client.address, paths[workload.model.name])
            try:
                figures = run_analyzer(analyzer, workload, load, place, (plan.duration_s, plan.timeout_s))
            except GeneratorError:
                client.server_version()  # of a server that died, that is what to say
                raise
            after = read_all_statistics(client, parts)
            rate = figures.inferences_per_s
            log.debug("%s, %s, repeat %d: %.1f inferences/s", workload.model.name, load.describe(), repeat + 1, rate)
            yield AnalyzerRepeat(workload, load, figures, {part: after[part].since(before[part]) for part in parts})


def points_from_analyzer(repeats: Sequence[AnalyzerRepeat]) -> tuple[Point, ...]:
    """Return a point for each entry and load, in the order in which they were first measured."""
    groups: dict[tuple[str, Load], list[AnalyzerRepeat]] = {}
    for repeat in repeats:
        groups.setdefault((repeat.workload.model.name, repeat.load), []).append(repeat)
    return tuple(map(point_from_runs, groups.values()))


def point_from_runs(repeats: Sequence[AnalyzerRepeat]) -> Point:
    """Return the point of all runs on one entry under one load.

    Its figures are means over the runs, with the interval of Student's t; it has no blocks, so that it can neither be
    judged by a service level nor compared.
    """
    workload, load = repeats[0].workload, repeats[0].load
    runs = [repeat.figures for repeat in repeats]
    # It counts rows of its own batch; of an entry without a batch axis a request is one inference to it.
    rows = workload.batch if workload.model.max_batch_size else 1
    rates = [run.inferences_per_s / rows for run in runs]
    p50, p90, p95, p99 = (
        figure_from_repeats([run.latency_us[percent] / 1000 for run in runs]) for percent in (50, 90, 95, 99)
    )
    return Point(
        entry=workload.model.name,
        load=load,
        batch=workload.batch,
        repeats=len(runs),
        seconds=sum(run.requests / rate for run, rate in zip(runs, rates, strict=True) if rate),
        requests=sum(run.requests for run in runs),
        errors=0,
        error_messages={},
        requests_per_s=figure_from_repeats(rates),
        inferences_per_s=figure_from_repeats([rate * workload.batch for rate in rates]),
        mean_ms=fmean(run.latency_us[0] for run in runs) / 1000,
        p50_ms=p50,
        p90_ms=p90,
        p95_ms=p95,
        p99_ms=p99,
        sent_per_s=fmean(run.sent_per_s or rate for run, rate in zip(runs, rates, strict=True)),
        lateness_p95_ms=0.0,
        sustained=not any(run.is_late for run in runs),
        parts=parts_from_statistics([repeat.statistics for repeat in repeats]),
        notes=tuple(_list_notes(load, runs)),
        blocks=(),
    )


def figure_from_repeats(values: Sequence[float], confidence: float = 0.95) -> Figure:
    """Return the mean of repeats with the interval of Student's t; of one repeat it is the value alone."""
    middle = fmean(values)
    half = 0.0
    if len(values) > 1:
        half = t_quantile((1 + confidence) / 2, len(values) - 1) * stdev(values) / len(values) ** 0.5
    return Figure(value=middle, low=max(0.0, middle - half), high=middle + half)


def _list_notes(load: Load, runs: Sequence[AnalyzerFigures]) -> Iterator[str]:
    unstable = sum(not run.is_stable for run in runs)
    if unstable:
        yield f"unstable by perf_analyzer's own rule in {unstable} of {len(runs)} repeats"
    if load.kind == "open":
        yield LATENCY_NOTE
    if len(runs) == 1:
        yield ALONE_NOTE
    yield from dict.fromkeys(f"perf_analyzer: {note}" for run in runs for note in run.notes)
