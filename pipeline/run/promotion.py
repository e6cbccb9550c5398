"""A run's release: published, verified where it lies, compared with the current one, and only then made current.

What `prep verify` measured of a release, and why it did not become current, is kept beside it: see
`pipeline.publish.reports`.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.artifact import RepositoryEntry
from pipeline.errors import StoreError
from pipeline.run.checks import names_of_entries
from pipeline.run.publication import Publication, publish_repository
from pipeline.run.regression import EntryFigures, Regression, figures_from_entry, find_regressions
from pipeline.run.report import RowCollector, StageRow
from pipeline.spec import PipelineModelSpec, RegressionSpec

if TYPE_CHECKING:
    from pipeline.publish.pointer import Sighting
    from pipeline.publish.record import Release
    from pipeline.publish.release import Published
    from pipeline.publish.store import Store


@dataclass(frozen=True)
class Candidate:
    """A release that is not current yet, and the pointer as it was before it was published."""

    published: "Published"
    store: "Store"
    seen: "Sighting"


def publish_candidate(rows: RowCollector, publication: Publication) -> Candidate:
    """Publish without moving the pointer."""
    from pipeline.publish.pointer import look_at_current
    from pipeline.publish.store import open_store

    began = time.monotonic()
    store = open_store(publication.uri)
    with rows.listener.stage(f"publish {publication.uri}") as progress:
        seen = look_at_current(store)
        published = publish_repository(publication, progress=progress)
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
            note=f"carried along: {', '.join(publication.carried)}" if publication.carried else "",
        )
    )
    return Candidate(published, store, seen)


def find_carried(failed: Sequence[PipelineModelSpec], uri: str) -> tuple[str, ...]:
    """Return the entries that the current release has of models that failed: they stay as they are."""
    if not failed:
        return ()
    from pipeline.publish.pointer import load_current
    from pipeline.publish.store import open_store

    store = open_store(uri)
    pointer = load_current(store)
    if pointer is None:
        return ()
    from pipeline.publish.catalog import load_release

    names = {name for model in failed for name in names_of_entries(model)}
    release = load_release(store, pointer.release)
    return tuple(entry.name for entry in release.entries if entry.name in names or entry.serves in names)


def promote_candidate(
    rows: RowCollector, candidate: Candidate, verified: Mapping[str, Any], limits: RegressionSpec
) -> list[Regression]:
    """Make a release current, unless it is worse than the current one by more than the limits.

    Args:
        rows: Takes the step.
        candidate: The release.
        verified: What `prep verify` reported of it, with ``entries``; empty where it was not verified.
        limits: The thresholds.

    Returns:
        Why it did not become current; nothing where it did, or was already.

    Raises:
        PointerMovedError: Another run moved the pointer first.
        StoreError: The store refused or failed.
    """
    from pipeline.publish.release import promote_release
    from pipeline.publish.reports import load_report, save_report

    release, store = candidate.published.release, candidate.store
    if candidate.published.is_current:
        rows.add(StageRow(stage="promote", artifact=release.id, state="unchanged", path=release.uri))
        return []
    before = _find_current(candidate)
    known = load_report(store, before.id) if before else {}
    verified = _with_carried(verified, known, release)
    after = _figures_of(release, verified)
    found = find_regressions(_figures_of(before, known), after, limits) if before else []
    save_report(store, release.id, {**verified, "regressions": [one.model_dump(mode="json") for one in found]})
    told = "; ".join(one.told for one in found)
    if found:
        rows.add(StageRow(stage="promote", artifact=release.id, state="left out", note=told, path=release.uri))
        return found
    moved = promote_release(candidate.published, store, candidate.seen)
    note = f"compared with {before.id}" if before else "the first release"
    if not moved.is_moved:
        note = "its content was rolled back from, or another run made the same content current"
    state = "made" if moved.is_moved else "left out"
    rows.add(StageRow(stage="promote", artifact=release.id, state=state, note=note, path=release.uri))
    return []


def _with_carried(verified: Mapping[str, Any], known: Mapping[str, Any], release: "Release") -> dict[str, Any]:
    """Add what was reported earlier of entries that were carried along, and so not verified again."""
    own = list(verified.get("entries", ()))
    names = {entry["name"] for entry in own}
    others = {entry.name for entry in release.entries} - names
    return {**verified, "entries": own + [one for one in known.get("entries", ()) if one["name"] in others]}


def _find_current(candidate: Candidate) -> "Release | None":
    from pipeline.publish.catalog import read_release

    pointer = candidate.seen.pointer
    return read_release(candidate.store, pointer.release) if pointer else None


def _figures_of(release: "Release", verified: Mapping[str, Any]) -> list[EntryFigures]:
    from pipeline.publish.record import artifact_from_release_entry

    answers = {entry["name"]: entry for entry in verified.get("entries", ())}
    figures = []
    for one in release.entries:
        try:
            entry: RepositoryEntry = artifact_from_release_entry(one)
        except StoreError:  # of an older prep: only that it was there is known
            figures.append(EntryFigures(name=one.name))
        else:
            figures.append(figures_from_entry(entry, answers.get(one.name)))
    return figures
