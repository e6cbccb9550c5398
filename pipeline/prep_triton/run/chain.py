"""The chain: export -> precision -> engine -> assemble -> publish -> verify -> promote.

Each step is skipped where its artifact is already there; what was done, found or left out becomes one
row of the report. The rooms do the work; this file only knows their order.
"""

import time
from pathlib import Path
from typing import TYPE_CHECKING

from prep_triton.errors import VerifyError
from prep_triton.run.checks import check_machine, check_run_spec, names_of_entries, nothing_servable
from prep_triton.run.parallel import assemble_models, check_any_made, make_models
from prep_triton.run.promotion import promote_candidate, publish_candidate, report_failure
from prep_triton.run.publication import Publication
from prep_triton.run.report import Listener, RowCollector, RunReport, Silent, StageRow
from prep_triton.run.verification import verify_once
from prep_triton.spec import RunSpec
from prep_triton.workspace import Workspace

if TYPE_CHECKING:
    from prep_triton.publish.store import Store


def run_pipeline(
    spec: RunSpec,
    workspace: Workspace,
    *,
    publish_uri: str | None = None,
    verify: bool = True,
    listener: Listener | None = None,
) -> RunReport:
    """Run a whole pipeline file.

    Args:
        spec: What to make.
        workspace: Where the artifacts are kept; a read-only one plans instead.
        publish_uri: Where to publish; wins over the file's `publish`.
        verify: Whether to check the result on a real Triton; wins over the file when False.
        listener: Hears about each step.

    Raises:
        PrepError: What made the only model fail, or the first of them where all failed, or a step after the
            models; everything finished before it is kept. A model that fails beside others is a row of the report.
    """
    rows = RowCollector(listener or Silent())
    repository_dir = Path(spec.repository)
    uri = publish_uri or spec.publish
    is_verified = verify and spec.verify.enabled
    _check_before(spec, workspace, is_verified=is_verified)
    store = _open_store(uri, workspace) if uri else None
    made = make_models(rows, spec, workspace)
    entries, results = assemble_models(rows, made, repository_dir, dry_run=workspace.read_only)
    check_any_made(results)
    release_uri, regressions = None, []
    if workspace.read_only:
        _plan_rest(rows, uri, is_verified=is_verified)
    else:
        if not entries:
            raise nothing_servable()
        candidate = None
        if store:
            kept = {name for result in results if result.error for name in names_of_entries(result.spec)}
            publication = Publication(repository_dir, store, entries, kept, spec.target, make_current=False)
            candidate = publish_candidate(rows, publication)
            release_uri = candidate.published.uri
        try:
            report = verify_once(rows, entries, release_uri, spec.verify, workspace) if is_verified else {}
        except VerifyError as err:
            if candidate:
                report_failure(candidate, err.message)
            raise
        if candidate:
            regressions = promote_candidate(rows, candidate, report, spec.regression)
    return RunReport(
        rows=tuple(rows.rows),
        repository=str(repository_dir),
        release=release_uri,
        regressions=tuple(one.message for one in regressions),
        seconds=round(time.monotonic() - rows.began, 3),
        dry_run=workspace.read_only,
    )


def _check_before(spec: RunSpec, workspace: Workspace, *, is_verified: bool) -> None:
    """Refuse what is known to fail before the minutes of work that it would waste."""
    check_run_spec(spec)
    if not workspace.read_only:  # a dry run may plan for another machine
        check_machine(spec, workspace, is_verified=is_verified)


def _open_store(uri: str, workspace: Workspace) -> "Store":
    """Open the store of the release; a dry run, which may plan for another machine, does not reach for it."""
    from prep_triton.publish.store import open_store

    store = open_store(uri)
    if not workspace.read_only:
        store.check_access()
    return store


def _plan_rest(rows: RowCollector, uri: str | None, *, is_verified: bool) -> None:
    """Say what a dry run leaves to do after assembling."""
    if uri:
        rows.add(StageRow(stage="publish", artifact=uri, state="planned", note="if the content is new"))
    if is_verified:
        rows.add(StageRow(stage="verify", artifact=uri or "the repository", state="planned"))
    if uri:
        rows.add(
            StageRow(stage="promote", artifact=uri, state="planned", note="unless it is worse than the current one")
        )
