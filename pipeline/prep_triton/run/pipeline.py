"""A whole run: export -> precision -> engine -> assemble -> publish -> verify -> bench -> promote.

Each step is skipped where its artifact is already there; what was done, found or skipped becomes one row of the
report. The rooms do the work; this file has their order.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from prep_triton.artifact import RepositoryEntry
from prep_triton.errors import VerifyError
from prep_triton.run.bench_step import bench_once
from prep_triton.run.checks import check_machine, check_places, check_weights, nothing_servable
from prep_triton.run.file_checks import check_run_spec
from prep_triton.run.leftovers import record_made_entries
from prep_triton.run.models import ModelResult, assemble_models, leave_out_failed, make_models, raise_if_all_failed
from prep_triton.run.names import names_of_entries
from prep_triton.run.promotion import Candidate, promote_candidate, publish_candidate, report_failure
from prep_triton.run.publication import Publication
from prep_triton.run.regression import Regression
from prep_triton.run.report import Listener, RowCollector, RunReport, Silent, StageRow
from prep_triton.run.resolve import DEFAULT_CHOICES, ResolvedRun, RunChoices, resolve_run
from prep_triton.run.verification import verify_once
from prep_triton.spec import RunSpec
from prep_triton.workspace import Workspace


@dataclass(frozen=True)
class Shipped:
    """Where a run's release is, None where nothing is published; and why it is not current, if it is not."""

    release_uri: str | None = None
    regressions: Sequence[Regression] = ()


def run_pipeline(
    spec: RunSpec, workspace: Workspace, choices: RunChoices = DEFAULT_CHOICES, *, listener: Listener | None = None
) -> RunReport:
    """Run a whole pipeline file.

    Args:
        spec: What to make.
        workspace: Where the artifacts are kept; a read-only one plans instead.
        choices: What flags decide.
        listener: Hears about each step.

    Raises:
        PrepError: What made the only model fail, or the first of them where all failed, or a step after the
            models; everything finished before it is kept. A model that fails beside others, also on Triton, is a
            row of the report.
    """
    rows = RowCollector(listener or Silent())
    check_run_spec(spec)
    run = resolve_run(spec, workspace, choices)
    _check_before(run)
    results: Sequence[ModelResult] = make_models(rows, run.spec, workspace, run.machine)
    shipped = Shipped()
    if not run.only_engines:
        shipped, results = _assemble_and_ship(rows, run, results)
    raise_if_all_failed(results)
    return RunReport(
        rows=tuple(rows.rows),
        repository=None if run.only_engines else str(run.repository_dir),
        release=shipped.release_uri,
        regressions=tuple(regression.message for regression in shipped.regressions),
        seconds=round(time.monotonic() - rows.began, 3),
        dry_run=run.is_dry,
    )


def _check_before(run: ResolvedRun) -> None:
    """Refuse what is known to fail before the minutes of work that it would waste; a dry run promises no more."""
    check_weights(run)
    check_machine(run)
    check_places(run)


def _assemble_and_ship(
    rows: RowCollector, run: ResolvedRun, results: Sequence[ModelResult]
) -> tuple[Shipped, Sequence[ModelResult]]:
    """Assemble what was made; a dry run only says what else it would do."""
    entries, results = assemble_models(rows, results, run.repository_dir, dry_run=run.is_dry)
    raise_if_all_failed(results)
    if run.is_dry:
        _plan_rest(rows, run)
        return Shipped(), results
    if not entries:
        raise nothing_servable()
    record_made_entries(run)
    return _ship(rows, run, entries, results)


def _ship(
    rows: RowCollector, run: ResolvedRun, entries: Sequence[RepositoryEntry], results: Sequence[ModelResult]
) -> tuple[Shipped, Sequence[ModelResult]]:
    """Publish and verify; models of which an entry fails on Triton are left out, and the others go on without them."""
    from prep_triton.triton.verify.report import EntriesFailedError

    try:
        return _ship_entries(rows, run, entries, results), results
    except EntriesFailedError as err:
        entries, results = leave_out_failed(rows, err, entries, results)
        if not entries:
            raise
    if run.store is None:  # the others passed on the same server
        return Shipped(regressions=bench_once(rows, entries, run) or ()), results
    return _ship(rows, run, entries, results)


def _ship_entries(
    rows: RowCollector, run: ResolvedRun, entries: Sequence[RepositoryEntry], results: Sequence[ModelResult]
) -> Shipped:
    """Publish entries, verify them where they lie, and make that current unless it is worse.

    Raises:
        EntriesFailedError: Entries failed on Triton; the release is marked and not current.
    """
    if run.store is None:
        if run.is_verified:
            verify_once(rows, entries, None, run)
        return Shipped(regressions=bench_once(rows, entries, run) or ())
    not_made = [result.spec for result in results if result.error]
    kept = {name for model in (*not_made, *run.others) for name in names_of_entries(model)}
    publication = Publication(
        run.repository_dir,
        run.store,
        entries,
        kept,
        run.spec.target,
        make_current=False,
        allow_random=run.spec.allow_random,
    )
    candidate = publish_candidate(rows, publication)
    report = _verify_candidate(rows, candidate, entries, run) if run.is_verified else {}
    slower = bench_once(rows, entries, run)
    regressions = promote_candidate(rows, candidate, report, run.spec.regression, slower)
    return Shipped(candidate.published.uri, regressions)


def _verify_candidate(
    rows: RowCollector, candidate: Candidate, entries: Sequence[RepositoryEntry], run: ResolvedRun
) -> dict[str, Any]:
    from prep_triton.triton.verify.report import EntriesFailedError

    try:
        return verify_once(rows, entries, candidate.published.release, run)
    except EntriesFailedError as err:
        report_failure(candidate, err.message, err.report.model_dump(mode="json"))
        raise
    except VerifyError as err:
        report_failure(candidate, err.message, {})
        raise


def _plan_rest(rows: RowCollector, run: ResolvedRun) -> None:
    """Say what a dry run leaves to do after assembling."""
    uri = run.store.uri if run.store else None
    if uri:
        rows.add(StageRow(stage="publish", artifact=uri, state="planned", note="if the content is new"))
    if run.is_verified:
        rows.add(StageRow(stage="verify", artifact=uri or "the repository", state="planned"))
    if run.is_benched:
        rows.add(StageRow(stage="bench", artifact="the repository", state="planned"))
    if uri:
        rows.add(
            StageRow(stage="promote", artifact=uri, state="planned", note="unless it is worse than the current one")
        )
