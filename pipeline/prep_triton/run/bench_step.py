"""The load of a pipeline file as a step of its run: measured once, remembered, compared with a baseline each time."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from prep_triton.artifact import Artifact, RepositoryEntry
from prep_triton.errors import GpuMissingError, PrepError
from prep_triton.files import digest_file, translate_os_errors, write_atomically
from prep_triton.layout import BENCH_NAME, BENCH_REPORT_NAME, CONFIG_NAME
from prep_triton.progress import Progress
from prep_triton.run.bench_request import bench_run_path, name_keys, request_from_spec
from prep_triton.run.bench_target import BenchTarget, target_from_entries
from prep_triton.run.costing import add_costs, choose_price
from prep_triton.run.regression import LOAD_FIGURE, Regression
from prep_triton.run.report import RowCollector, StageRow
from prep_triton.run.reporting import report_of_run
from prep_triton.run.resolve import ResolvedRun
from prep_triton.spec import BenchSpec
from prep_triton.workspace import Produced, Recipe

if TYPE_CHECKING:
    from prep_triton.bench.records import BenchReport, PointComparison


# What is made of the figures, each time anew: it decides nothing that is measured.
_NOT_MEASURED_BY = ("baseline", "report", "machine", "price", "region")


class Benchmark(Artifact):
    """What a load on a repository's entries measured on this machine: a `BenchReport`."""

    report: dict[str, Any] = Field(default_factory=dict)


def bench_once(rows: RowCollector, entries: Sequence[RepositoryEntry], run: ResolvedRun) -> list[Regression] | None:
    """Measure what a run made, unless it was measured so before, and compare it with the file's baseline.

    A load that fails takes nothing away from the run: it is a failed row. Where there is a baseline it is a regression
    too, since nothing shows then that the entries are no slower.

    Args:
        rows: Takes the step.
        entries: What the run assembled.
        run: Has the file's `bench`; where that is None nothing is done.

    Returns:
        What is slower than the baseline; None where there is one, and this run measures nothing.
    """
    spec = run.spec.bench
    if spec is None or not run.is_benched:
        return None if spec and spec.baseline else []
    artifact = ", ".join(spec.entries or sorted(entry.name for entry in entries if entry.kind == "model"))
    try:
        return _bench(rows, artifact, entries, run, spec)
    except GpuMissingError as err:
        state, reason = "skipped", err.message
    except PrepError as err:
        state, reason = "failed", name_keys(f"{err.message}; {err.hint}")
    rows.add(StageRow(stage="bench", artifact=artifact, state=state, note=reason))
    return [_regression("", f"nothing was compared with {spec.baseline[-1]}: {reason}")] if spec.baseline else []


def _bench(
    rows: RowCollector,
    artifact: str,
    entries: Sequence[RepositoryEntry],
    run: ResolvedRun,
    spec: BenchSpec,
) -> list[Regression]:
    from prep_triton.bench.records import BenchReport

    target = target_from_entries(run.spec, entries)
    reports: list[BenchReport] = []

    def make(progress: Progress) -> Produced[Benchmark]:
        produced = _produce(target, entries, run, spec, progress)
        report = BenchReport.model_validate(produced.artifact.report)
        reports.append(_price(_compare(report, spec.baseline), spec))
        _save(reports[0], entries, run)
        return produced

    rows.step("bench", str(run.repository_dir), make, lambda _: figures_from_report(reports[0]), artifact=artifact)
    return _find_regressions(reports[0])


def _produce(
    target: BenchTarget, entries: Sequence[RepositoryEntry], run: ResolvedRun, spec: BenchSpec, progress: Progress
) -> Produced[Benchmark]:
    recipe = _recipe(entries, spec)

    def measure(folder: Path) -> dict[str, Any]:
        report = _measure(target, entries, run, progress)
        content = report.model_dump_json(indent=1)
        (folder / BENCH_NAME).write_text(content, encoding="utf-8")
        return {"report": report.model_dump(mode="json")}

    if run.spec.verify.server_url:  # of a server that somebody else runs nothing is remembered
        return Produced(
            Benchmark(name=recipe.name, report=_measure(target, entries, run, progress).model_dump(mode="json")),
            reused=False,
        )
    return run.workspace.produce(recipe, Benchmark, measure, is_shared=False)  # of this machine


def _measure(
    target: BenchTarget, entries: Sequence[RepositoryEntry], run: ResolvedRun, progress: Progress
) -> "BenchReport":
    """Measure; what was measured before an end that was not meant is written, and not remembered.

    Raises:
        PrepError: The server failed.
        KeyboardInterrupt: It was interrupted.
    """
    from prep_triton.run.benching import INTERRUPTED, bench

    outcome = bench(request_from_spec(run.spec), target=target, progress=progress)
    if outcome.report.partial and outcome.report.points:
        _save(outcome.report, entries, run)
    if outcome.error is not None:
        raise outcome.error
    if outcome.report.partial_reason == INTERRUPTED:
        raise KeyboardInterrupt
    return outcome.report


def _recipe(entries: Sequence[RepositoryEntry], spec: BenchSpec) -> Recipe:
    from prep_triton.bench.machine import read_processor
    from prep_triton.triton.verify.tools import verification_tools

    configs = {entry.name: [entry.key, entry.files[CONFIG_NAME].sha256] for entry in entries}  # an adopted edit too
    processor = read_processor()
    return Recipe(
        stage="bench",
        name="repository",
        spec={
            "load": spec.model_dump(mode="json", exclude={"texts", *_NOT_MEASURED_BY}),
            "texts": digest_file(Path(spec.texts)) if spec.texts else None,
            "entries": configs,
        },
        tools={**verification_tools(), "processor": f"{processor.name}, {processor.cores} cores"},
    )


def _compare(report: "BenchReport", paths: Sequence[str]) -> "BenchReport":
    if not paths:
        return report
    from prep_triton.bench.compare import load_baseline
    from prep_triton.run.benching import compare

    name = paths[0] if len(paths) == 1 else f"{len(paths)} runs, the last of them {paths[-1]}"
    return compare(report, [load_baseline(Path(path)) for path in paths], name)


def _price(report: "BenchReport", spec: BenchSpec) -> "BenchReport":
    if spec.machine is None:
        return report
    return add_costs(report, choose_price(spec.machine, spec.price, spec.region))


def _save(report: "BenchReport", entries: Sequence[RepositoryEntry], run: ResolvedRun) -> None:
    """Write what was measured beside the repository, and the report of it."""
    path = bench_run_path(run.spec)
    with translate_os_errors(path.parent, setting="repository"):
        write_atomically(path, report.model_dump_json(indent=1).encode() + b"\n")
        if run.spec.bench and run.spec.bench.report:
            made = report_of_run(report, path.name, entries, run.spec.repository)
            write_atomically(path.with_name(BENCH_REPORT_NAME), made.html().encode())


def figures_from_report(report: "BenchReport") -> dict[str, Any]:
    """Return the numbers of a run's row: a line for each entry and load, and for each variant that was left out."""
    compared = {(p.entry, p.load, p.batch): p.verdict for p in report.comparison.points} if report.comparison else {}
    points = [
        {
            "entry": point.entry,
            "load": point.load.describe(),
            "inferences_per_s": point.inferences_per_s.value,
            "p50_ms": point.p50_ms.value,
            "p99_ms": point.p99_ms.value,
            "errors": point.errors,
            "slo": point.verdict.describe() if point.verdict else None,
            "baseline": compared.get((point.entry, point.load, point.batch)),
        }
        for point in report.points
    ]
    left_out = [{"entry": row.entry, "reason": name_keys(row.reason)} for row in report.not_measured]
    return {"points": points, "not_measured": left_out}


def _find_regressions(report: "BenchReport") -> list[Regression]:
    comparison = report.comparison
    if comparison is None:
        return []
    if not comparison.points:
        return [_regression("", f"{comparison.baseline} has no load and entry of this run: nothing was compared")]
    return [_describe_slower(point, comparison.baseline) for point in comparison.points if point.verdict == "slower"]


def _describe_slower(point: "PointComparison", baseline: str) -> Regression:
    ratio = point.decided_by
    what = "requests/s" if ratio.metric == "requests_per_s" else "p50 latency"
    return _regression(
        point.entry,
        f"{point.entry} at {point.load.describe()} is slower than {baseline}: {what} x{ratio.ratio:.3f} "
        f"({ratio.low:.3f}-{ratio.high:.3f})",
    )


def _regression(entry: str, message: str) -> Regression:
    return Regression(entry=entry, figure=LOAD_FIGURE, before=None, after=None, message=message)
