"""A repository, checked and published: lint, target, release, pointer."""

import logging
import os
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from prep_triton.artifact import RepositoryEntry
from prep_triton.errors import RepositoryError
from prep_triton.progress import Progress, ignore_progress
from prep_triton.spec import TargetSpec

if TYPE_CHECKING:
    from prep_triton.publish.plan import ReleasePlan
    from prep_triton.publish.release import Published
    from prep_triton.publish.store import Store
    from prep_triton.target import Target

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Publication:
    """What to publish: some entries of a repository, or all, for a server.

    `entries` are the entries as they were assembled; publishing refuses a repository in which they are others now.
    `kept` names entries that stay as the current release has them, where it has them. Random weights are refused unless
    `allow_random`: they are for benchmarks.
    """

    repository_dir: Path
    store: "Store"
    entries: Sequence[RepositoryEntry] | None = None
    kept: Collection[str] = ()
    target: TargetSpec | None = None
    make_current: bool = True
    allow_random: bool = False

    def names(self) -> list[str] | None:
        """Return the entries' names; None for all of the repository."""
        return None if self.entries is None else [entry.name for entry in self.entries]


def plan_publication(publication: Publication, *, progress: Progress = ignore_progress) -> "ReleasePlan":
    """Check a repository as `publish_repository` does, and say what it would do; nothing is written.

    A repository whose content is published already was checked then, and is not linted again.

    Raises:
        SpecError: The target is not one.
        RepositoryError: The repository does not fit the target, does not pass, or was changed by another run.
        StoreError: The store refused or failed.
    """
    from prep_triton.publish.plan import plan_release

    target = _resolve_target(publication)
    plan = plan_release(
        publication.repository_dir,
        publication.store,
        entries=publication.names(),
        kept=publication.kept,
        target=target,
        progress=progress,
    )
    _check_unchanged(publication, plan)
    _check_weights(publication, plan)
    if not plan.is_published:
        progress("linting")
        _lint(publication, target)
    return plan


def publish_repository(publication: Publication, *, progress: Progress = ignore_progress) -> "Published":
    """Hold a repository to its target, lint it, publish it as a release, and make that current.

    Raises:
        SpecError: The target is not one.
        RepositoryError: The repository does not fit the target, does not pass, or was changed by another run.
        PointerMovedError: Another run moved the pointer first.
        StoreError: The store refused or failed.
    """
    from prep_triton.publish.release import carry_out

    with _locked(publication.repository_dir):
        plan = plan_publication(publication, progress=progress)
        return carry_out(plan, publication.store, make_current=publication.make_current, progress=progress)


def _resolve_target(publication: Publication) -> "Target | None":
    if publication.target is None:
        return None
    from prep_triton.target import resolve_target

    return resolve_target(publication.target)


def _locked(repository_dir: Path) -> AbstractContextManager[None]:
    from prep_triton.triton.entries.load import lock_repository

    # In what is not there, or is mounted for reading, no lock can be made; and nobody writes.
    return lock_repository(repository_dir) if os.access(repository_dir, os.W_OK) else nullcontext()


def _check_unchanged(publication: Publication, plan: "ReleasePlan") -> None:
    """Refuse a repository into which another run has written other entries since they were assembled."""
    planned = {entry.name: entry.key for entry in plan.release.entries}
    for entry in publication.entries or ():
        if planned.get(entry.name) != entry.key:
            raise RepositoryError(
                f"another run has changed {entry.name} in {publication.repository_dir} since it was assembled",
                hint="run again, or give each config its own repository: key",
            )


def _check_weights(publication: Publication, plan: "ReleasePlan") -> None:
    """Refuse entries whose weights are random: served, they answer nonsense with confidence."""
    names = sorted(entry.name for entry in plan.release.entries if entry.weights == "random")
    if names and not publication.allow_random:
        raise RepositoryError(
            f"{', '.join(names)} {'has' if len(names) == 1 else 'have'} random weights, which are for benchmarks",
            hint="export trained weights, or publish them all the same: --allow-random (allow_random: true in a file)",
        )


def _lint(publication: Publication, target: "Target | None") -> None:
    """Refuse what no server would load as it is meant."""
    from prep_triton.triton.lint import check_lint, lint_repository

    report = lint_repository(publication.repository_dir, target, publication.names())
    for finding in report.warnings:
        log.warning("%s: %s [%s]", finding.place, finding.message, finding.code)
    check_lint(report)
