"""`prep tune`: the serving choices of an entry that hold a service level at the highest rate, and their evidence."""

import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from prep_triton import __version__
from prep_triton.bench.tuning_records import (
    BatchTimes,
    Choice,
    Layout,
    Objective,
    TuneConditions,
    TuneMeasurement,
    TuneReport,
)
from prep_triton.errors import PrepError, ServerError, SpecError
from prep_triton.progress import Progress, ignore_progress
from prep_triton.run.benching import INTERRUPTED
from prep_triton.run.candidate import TunedEntry, choice_from_entry, find_tuned_entry, largest_batch, serving_keys

if TYPE_CHECKING:
    from prep_triton.bench.machine import CpuTimes
    from prep_triton.bench.predictor import Mix, Predictor
    from prep_triton.bench.search import Measure, Search
    from prep_triton.bench.trials import Trial
    from prep_triton.bench.tuning_records import Purpose
    from prep_triton.run.tuning_server import TuningLoad, TuningServer

log = logging.getLogger(__name__)

# One for batch times, one to look, one to be sure.
FEWEST_MEASUREMENTS = 4
# Of a duration that was not asked for: batch times of a dozen shapes.
_TIMING_S = 5.0
_HALF = 0.5
COST_NOTE = "all choices run on this machine, at one price: the lowest cost is that of the highest rate"


@dataclass(frozen=True)
class TuneRequest:
    """What to tune.

    Args:
        entry: A model entry or a text ensemble.
        repository: The folder of its repository.
        load: What is sent, the level to hold, and how long a measurement takes.
        objective: The highest rate, the lowest latency, or the lowest cost.
        rate: Requests a second at which the latency counts; half of what is predicted where None.
        max_measurements: Loads on configurations, in all.
        command: The command to run it again.
    """

    entry: str
    repository: Path
    load: "TuningLoad"
    objective: Objective = "throughput"
    rate: float | None = None
    max_measurements: int = 20
    command: str = ""


@dataclass(frozen=True)
class TuneOutcome:
    """What was found, and the error that ended it before its end, if one did."""

    report: TuneReport
    error: PrepError | None = None


@dataclass
class _Run:
    """What one search has come to, also where it is interrupted."""

    entry: TunedEntry
    server: "TuningServer"
    progress: Progress
    cores: int
    began: float = field(default_factory=time.monotonic)
    timed: list[TuneMeasurement] = field(default_factory=list)
    mix: "Mix | None" = None
    predictor: "Predictor | None" = None
    search: "Search | None" = None


def tune(request: TuneRequest, *, progress: Progress = ignore_progress) -> TuneOutcome:
    """Search for the best serving choices of an entry. Ctrl-C and a server that dies keep what was measured.

    Raises:
        RepositoryError: There is no such repository or entry, or its manifest does not say how it is served.
        SpecError: The entry does not take what is to be sent, or is no model and no text ensemble.
        ServerError: Triton did not start, or failed before anything was measured.
    """
    from prep_triton.bench.machine import read_cpu_times, read_processor
    from prep_triton.run.tuning_server import TuningServer

    if request.max_measurements < FEWEST_MEASUREMENTS:
        raise SpecError(
            f"--max-measurements {request.max_measurements} is less than a search takes: {FEWEST_MEASUREMENTS}",
            hint="write --max-measurements 20",
        )
    entry = find_tuned_entry(request.repository, request.entry)
    started_at, load_before, times = datetime.now(UTC), os.getloadavg()[0], read_cpu_times()
    reason, error = "", None
    with TuningServer(entry, request.load) as server:
        run = _Run(entry, server, progress, read_processor().cores)
        try:
            _search(run, request)
        except KeyboardInterrupt:
            reason = INTERRUPTED
        except ServerError as err:
            if not run.timed:
                raise
            reason, error = err.message, err
        conditions = _conditions(run, request, (started_at, load_before, times))
    return TuneOutcome(_report(run, request, conditions, reason), error)


def _search(run: _Run, request: TuneRequest) -> None:
    from prep_triton.bench.candidates import Space, list_candidates, list_layouts
    from prep_triton.bench.predictor import Predictor
    from prep_triton.bench.search import MOST_RATE, Goal, Search

    largest, current = largest_batch(run.entry), choice_from_entry(run.entry)
    layouts = list_layouts(run.cores, request.max_measurements, has_threads=not run.entry.model.engines)
    tables = _time_layouts(run, layouts, largest, request.load.duration_s or _TIMING_S)
    assert run.mix is not None
    seed = request.load.inputs.seed
    predictor = Predictor(run.mix, tables, request.load.slo, cores=run.cores, seed=seed)
    # Where nothing is merged, no batch is larger than a request.
    merged = largest if run.entry.is_merged else run.mix.rows
    space = Space(layouts, merged, run.mix.rows, tuple(run.mix.lengths), current.max_batch)
    budget = request.max_measurements - len(run.timed)
    rate = request.rate
    if request.objective == "latency" and rate is None:
        usual = current if predictor.knows(current.layout) else list_candidates(space)[0]
        rate = min(_HALF * predictor.highest_rate(usual), MOST_RATE) or predictor.quiet_rate(usual)
    goal = Goal(request.load.slo, request.objective, budget, rate, current)
    run.predictor, run.search = predictor, Search(predictor, space, goal, _measuring(run, request))
    run.progress("simulating", len(run.timed) / request.max_measurements)
    run.search.run()


def _time_layouts(run: _Run, layouts: Sequence[Layout], largest: int, seconds: float) -> list[BatchTimes]:
    """Measure the batch times of each layout: alone, and with all of its instances busy."""
    tables = []
    for layout in layouts:
        choice = run.server.timing_choice(layout, largest)
        run.progress(f"batch times, {layout.describe()}", 0.0)
        run.mix = run.mix or run.server.find_mix(choice)
        began = time.monotonic()
        table = run.server.time_batches(layout, run.mix, largest, seconds)
        _record_timing(run, choice, began)
        if layout.instances > 1:
            began = time.monotonic()
            table = run.server.time_together(table, run.mix, largest, seconds)
            _record_timing(run, choice, began)
        tables.append(table)
    return tables


def _record_timing(run: _Run, choice: Choice, began: float) -> None:
    number = len(run.timed) + 1
    seconds = time.monotonic() - began
    run.timed.append(TuneMeasurement(number=number, purpose="batch times", choice=choice, seconds=seconds))


def _measuring(run: _Run, request: TuneRequest) -> "Measure":
    """Return what measures a choice for a search."""
    timed = len(run.timed)

    def measure(choice: Choice, rate: float, purpose: "Purpose") -> "Trial":
        number = timed + (len(run.search.measured) if run.search else 0) + 1
        run.progress(f"{purpose}: {choice.describe()}, {rate:.3g}/s", (number - 1) / request.max_measurements)
        trial = run.server.measure(choice, rate, number)
        log.debug("%s, %.4g/s: %s", choice.describe(), rate, trial.verdict.describe())
        return trial

    return measure


def _conditions(
    run: _Run, request: TuneRequest, before: "tuple[datetime, float, CpuTimes | None]"
) -> TuneConditions | None:
    from prep_triton.bench.machine import read_cpu_times, read_processor

    if run.server.workload is None:
        return None
    started_at, load_before, times = before
    processor, now = read_processor(), read_cpu_times()
    return TuneConditions(
        cpu=processor.name,
        cpu_flags=processor.flags,
        cores=processor.cores,
        load_before=load_before,
        load_after=os.getloadavg()[0],
        steal_share=now.steal_share_since(times) if now and times else None,
        triton_version=run.server.version,
        triton_flavour=run.server.flavour,
        prep_version=__version__,
        seed=request.load.inputs.seed,
        started_at=started_at,
        command=request.command,
        workload=run.server.workload.describe(),
    )


def _report(run: _Run, request: TuneRequest, conditions: TuneConditions | None, reason: str) -> TuneReport:
    from prep_triton.bench.tuning_report import (
        best_by_padding,
        describe_best_seen,
        measure_model_error,
        measurements_from_search,
        winner_from_search,
    )

    search = run.search
    rows = (*run.timed, *(measurements_from_search(search, len(run.timed)) if search else ()))
    report = TuneReport(
        partial=bool(reason),
        partial_reason=reason,
        entry=request.entry,
        objective=request.objective,
        objective_note=COST_NOTE if request.objective == "cost" else "",
        slo=request.load.slo,
        max_measurements=request.max_measurements,
        simulated=run.predictor.simulated if run.predictor else 0,
        seconds=time.monotonic() - run.began,
        conditions=conditions,
        batch_times=tuple(run.predictor.times.values()) if run.predictor else (),
        measurements=rows,
        model_error=measure_model_error(rows),
    )
    if search is None or run.mix is None:
        return report
    best = winner_from_search(search, run.mix)
    return report.model_copy(
        update={
            "best": best,
            "current": winner_from_search(search, run.mix, [choice_from_entry(run.entry)]),
            "by_padding": best_by_padding(search, run.mix),
            "best_seen": "" if best else describe_best_seen(search),
            "serving": serving_keys(run.entry, best.choice) if best else {},
        }
    )
