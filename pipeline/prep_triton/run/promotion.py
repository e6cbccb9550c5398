"""A run's release: published, verified where it lies, compared with the current one, and only then made current.

What `prep verify` measured of a release, and why it did not become current, is kept beside it: see
`prep_triton.publish.reports`.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prep_triton.run.publication import Publication, publish_repository
from prep_triton.run.regression import LOAD_FIGURE, Regression, find_regressions
from prep_triton.run.report import RowCollector, RowState, StageRow
from prep_triton.spec import RegressionSpec

if TYPE_CHECKING:
    from prep_triton.publish.release import Published
    from prep_triton.publish.store import Store


@dataclass(frozen=True)
class Candidate:
    """A release that is not current yet, and its store."""

    published: "Published"
    store: "Store"


def publish_candidate(rows: RowCollector, publication: Publication) -> Candidate:
    """Publish without moving the pointer."""
    began = time.monotonic()
    with rows.listener.stage(f"publish {publication.store.uri}") as progress:
        published = publish_repository(publication, progress=progress)
    kept = published.plan.kept
    figures = {
        "files": len(published.release.files),
        "uploaded_bytes": published.uploaded_bytes,
        "copied_bytes": published.copied_bytes,
    }
    rows.add(
        StageRow(
            stage="publish",
            artifact=published.release.id,
            state="made" if published.created else "unchanged",
            seconds=round(time.monotonic() - began, 3),
            figures=figures,
            path=published.uri,
            note=f"kept from the current release: {', '.join(kept)}" if kept else "",
        )
    )
    return Candidate(published, publication.store)


def promote_candidate(
    rows: RowCollector,
    candidate: Candidate,
    verified: Mapping[str, Any],
    limits: RegressionSpec,
    measured: Sequence[Regression] | None = (),
) -> list[Regression]:
    """Make a release current, unless it is worse than the current one by more than the limits.

    Args:
        rows: Takes the step.
        candidate: The release.
        verified: What `prep verify` reported of it, with ``entries``; where it is empty, because nothing was
            verified this time, the release's own earlier report counts.
        limits: The thresholds.
        measured: What a load showed to be worse than its baseline; None where nothing was measured this time, so
            that the release's own earlier report counts.

    Returns:
        Why it did not become current, or would not today; nothing where it did.

    Raises:
        PointerMovedError: Another run moved the pointer first.
        StoreError: The store refused or failed.
    """
    from prep_triton.publish.reports import load_report, save_report

    release, store = candidate.published.release, candidate.store
    own = load_report(store, release.id)
    if measured is None:
        measured = [Regression.model_validate(known) for known in own.get("regressions", ()) if _is_of_load(known)]
    if candidate.published.is_current:
        if verified and not own:  # published by hand, and verified only now: the next release is compared with it
            save_report(store, release.id, {**verified, "regressions": []})
        rows.add(StageRow(stage="promote", artifact=release.id, state="unchanged", path=release.uri))
        return list(measured)
    plan = candidate.published.plan
    known = load_report(store, plan.current.id) if plan.current else {}
    report = _with_kept(verified or own, known, plan.kept)
    regressions = [*_compare(candidate, report, known, limits), *measured]
    if not verified and own.get("failed"):
        message = f"it failed on a real Triton before, and was not verified again: {own['failed']}"
        regressions.insert(0, Regression(entry=release.id, figure="verify", before=None, after=None, message=message))
    if verified:  # what was not verified this time takes nothing away from an earlier report
        content = {**report, "regressions": [regression.model_dump(mode="json") for regression in regressions]}
        save_report(store, release.id, content)
    state, note = _promote(candidate, regressions, is_verified=bool(report.get("entries")))
    rows.add(StageRow(stage="promote", artifact=release.id, state=state, note=note, path=release.uri))
    return regressions


def _is_of_load(regression: Any) -> bool:
    return isinstance(regression, Mapping) and regression.get("figure") == LOAD_FIGURE


def _compare(
    candidate: Candidate, report: Mapping[str, Any], known: Mapping[str, Any], limits: RegressionSpec
) -> list[Regression]:
    """Compare a release with the current one; `report` and `known` are what was verified of each."""
    from prep_triton.publish.figures import figures_from_release

    before = candidate.published.plan.current
    if before is None:
        return []
    figures = figures_from_release(candidate.published.release, report)
    return find_regressions(figures_from_release(before, known), figures, limits)


def _promote(candidate: Candidate, regressions: Sequence[Regression], *, is_verified: bool) -> tuple[RowState, str]:
    """Move the pointer unless there are regressions; return the state of the step, and why or what it means."""
    from prep_triton.publish.release import promote_release

    if regressions:
        return "skipped", "; ".join(regression.message for regression in regressions)
    if not promote_release(candidate.published, candidate.store).is_moved:
        return "skipped", "its content was rolled back from, or another run made the same content current"
    return "made", _describe_comparison(candidate, is_verified=is_verified)


def report_failure(candidate: Candidate, message: str, report: Mapping[str, Any]) -> None:
    """Record beside a release that it failed on a real Triton, so that nobody takes it for a good one.

    Args:
        candidate: The release.
        message: Why it failed.
        report: What was measured of it, `VerifyReport` as JSON values; empty where nothing was.
    """
    from prep_triton.publish.reports import save_report

    if not candidate.published.is_current:
        save_report(candidate.store, candidate.published.release.id, {**report, "failed": message, "regressions": []})


def _describe_comparison(candidate: Candidate, *, is_verified: bool) -> str:
    before, pointer = candidate.published.plan.current, candidate.published.plan.state.pointer
    if before is None and pointer:
        return f"{pointer.release}, which was current, is gone or damaged: compared with nothing"
    if before is None:
        return "the first release"
    return f"compared with {before.id}" + ("" if is_verified else ", but not verified: only sizes and accuracy")


def _with_kept(verified: Mapping[str, Any], known: Mapping[str, Any], kept: Sequence[str]) -> dict[str, Any]:
    """Add what was reported earlier of the entries that were kept, and so not verified again."""
    own = [entry for entry in verified.get("entries", ()) if isinstance(entry, Mapping)]
    missing = set(kept) - {entry.get("name") for entry in own}
    earlier = [entry for entry in known.get("entries", ()) if isinstance(entry, Mapping)]
    return {**verified, "entries": own + [entry for entry in earlier if entry.get("name") in missing]}
