"""The chain: export -> precision -> engine -> assemble -> publish -> verify.

Each step is skipped where its artifact is already there; what was done, found or left out becomes one
row of the report. The rooms do the work; this file only knows their order.
"""

import time
from collections.abc import Sequence
from pathlib import Path

from pipeline.artifact import RepositoryEntry
from pipeline.run.checks import check_machine, check_run_spec, nothing_servable
from pipeline.run.models import assemble_variant
from pipeline.run.parallel import check_any_made, make_models
from pipeline.run.report import Listener, RowCollector, RunReport, Silent, StageRow
from pipeline.run.verification import verify_once
from pipeline.spec import RunSpec
from pipeline.workspace import Workspace


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
    _check_before(spec, uri, workspace, is_verified=is_verified)
    results = make_models(rows, spec, workspace)
    check_any_made(results)
    entries = [
        entry
        for result in results
        for made in result.variants
        for entry in assemble_variant(rows, made, repository_dir, dry_run=workspace.read_only)
    ]
    release_uri = None
    if workspace.read_only:
        _plan_rest(rows, uri, is_verified=is_verified)
    else:
        if not entries:
            raise nothing_servable()
        if uri:
            release_uri = _publish(rows, repository_dir, entries, uri)
        if is_verified:
            verify_once(rows, entries, release_uri, spec.verify, workspace)
    return RunReport(
        rows=tuple(rows.rows),
        repository=str(repository_dir),
        release=release_uri,
        seconds=round(time.monotonic() - rows.began, 3),
        dry_run=workspace.read_only,
    )


def _check_before(spec: RunSpec, uri: str | None, workspace: Workspace, *, is_verified: bool) -> None:
    """Refuse what is known to fail before the minutes of work that it would waste."""
    check_run_spec(spec)
    if not workspace.read_only:  # a dry run may plan for another machine
        check_machine(spec, workspace, is_verified=is_verified)
    if uri:
        from pipeline.publish.store import open_store

        store = open_store(uri)
        if not workspace.read_only:
            store.check_access()


def _plan_rest(rows: RowCollector, uri: str | None, *, is_verified: bool) -> None:
    """Say what a dry run leaves to do after assembling."""
    if uri:
        rows.add(StageRow(stage="publish", artifact=uri, state="planned", note="if the content is new"))
    if is_verified:
        rows.add(StageRow(stage="verify", artifact=uri or "the repository", state="planned"))


def _publish(rows: RowCollector, repository_dir: Path, entries: Sequence[RepositoryEntry], uri: str) -> str:
    from pipeline.publish.release import publish_release
    from pipeline.publish.store import open_store
    from pipeline.triton.repository import check_unchanged, lock_repository

    began = time.monotonic()
    with rows.listener.stage(f"publish {uri}") as progress, lock_repository(repository_dir):
        check_unchanged(repository_dir, entries)
        published = publish_release(
            repository_dir, open_store(uri), entries=[entry.name for entry in entries], progress=progress
        )
    rows.add(
        StageRow(
            stage="publish",
            artifact=published.release.id,
            state="made" if published.created else "unchanged",
            seconds=round(time.monotonic() - began, 3),
            figures={"files": len(published.release.files), "uploaded_bytes": published.uploaded_bytes},
            path=published.uri,
        )
    )
    return str(published.uri)
