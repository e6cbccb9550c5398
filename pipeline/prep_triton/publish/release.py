"""Publishing a release: what a Triton server loads, immutable and whole.

``release.json`` is written last, after every object was checked: a reader that sees it sees everything, and without
it there is no release. Triton needs this care: it copies whole model directories and loads half-uploaded ones, since
it completes a missing config. Then the `current` pointer is moved.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from prep_triton.errors import PointerMovedError, PreconditionError, ReleaseDamagedError, ReleaseExistsError
from prep_triton.layout import RELEASE_NAME, folder_of_release
from prep_triton.progress import Progress, ignore_progress
from prep_triton.publish.check import check_release, warn_of_missing_permissions
from prep_triton.publish.plan import ReleasePlan, plan_release
from prep_triton.publish.pointer import move_current
from prep_triton.publish.record import Pointer, Release, parse_release, render_release
from prep_triton.publish.store import Store
from prep_triton.publish.transfer import copy_files, upload_files
from prep_triton.target import Target

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Published:
    """A release, and what it took.

    `plan` is what was to be done. `created` is False where a release held this content already. `uploaded_*` went
    over the network, `copied_*` were copied inside the store. `pointer` is what `current` says afterwards, as far as
    this run knows; `is_moved` whether this run moved it.
    """

    plan: ReleasePlan
    release: Release
    created: bool
    uploaded_bytes: int = 0
    uploaded_files: int = 0
    copied_bytes: int = 0
    copied_files: int = 0
    pointer: Pointer | None = None
    is_moved: bool = False

    @property
    def uri(self) -> str:
        """Where the release is: what Triton is given."""
        return self.release.uri

    @property
    def is_current(self) -> bool:
        """True where `current` names this release, as far as this run knows."""
        return self.pointer is not None and self.pointer.release == self.release.id


def publish_release(
    repository_dir: Path,
    store: Store,
    *,
    entries: Sequence[str] | None = None,
    target: Target | None = None,
    make_current: bool = True,
    progress: Progress = ignore_progress,
) -> Published:
    """Publish a repository as a release and make it current, unless a release of the same content is.

    What a killed run of the same content left is used. Until ``release.json`` is written no reader sees anything; then
    the pointer is moved, from where it was at the beginning.

    Args:
        repository_dir: A model repository that `prep assemble` or `prep run` wrote.
        store: Where to.
        entries: The entries to publish; all that have a manifest where None.
        target: The server that the release is for; see `prep_triton.target`.
        make_current: Whether to move the `current` pointer.
        progress: Receives the share of bytes checked, copied and uploaded.

    Raises:
        RepositoryError: The repository is not whole, or does not fit the target.
        ReleaseExistsError: Another run published other content under the same id.
        PointerMovedError: Another run moved the pointer first; the release is whole, but not current.
        StoreError: The store refused or failed, or holds something else than what was uploaded.
    """
    plan = plan_release(repository_dir, store, entries=entries, target=target, progress=progress)
    return carry_out(plan, store, make_current=make_current, progress=progress)


def carry_out(
    plan: ReleasePlan, store: Store, *, make_current: bool = True, progress: Progress = ignore_progress
) -> Published:
    """Do what `plan_release` said; see `publish_release`."""
    if plan.is_published:
        published = Published(plan, plan.release, created=False, pointer=plan.state.pointer)
    else:
        published = _make_release(plan, store, progress)
    return promote_release(published, store) if make_current else published


def _make_release(plan: ReleasePlan, store: Store, progress: Progress) -> Published:
    planned = plan.release
    folder = folder_of_release(planned.id)
    warn_of_missing_permissions(store)
    if plan.present:
        log.info(
            "release %s: %d of %d files are in the store already", planned.id, len(plan.present), len(planned.files)
        )
    copied = copy_files(store, folder, planned.files, plan.copies, progress) if plan.copies else {}
    missing = {name: planned.files[name] for name in plan.paths if name not in plan.present and name not in copied}
    uploaded = upload_files(store, folder, missing, plan.paths, progress)
    progress("checking the release")
    check_release(store, planned, generations={**plan.present, **copied, **uploaded})
    release = _seal(planned, store)
    return Published(
        plan,
        release,
        created=release == planned,
        uploaded_bytes=plan.size_of(uploaded),
        uploaded_files=len(uploaded),
        copied_bytes=plan.size_of(copied),
        copied_files=len(copied),
        pointer=plan.state.pointer,
    )


def promote_release(published: Published, store: Store) -> Published:
    """Make a release current that was published with `make_current` False, unless its content was rolled back from.

    Args:
        published: What was published; the pointer moves from where its plan saw it alone.
        store: Where.

    Raises:
        PointerMovedError: Another run moved the pointer first, to other content.
    """
    release, state = published.release, published.plan.state
    before = state.pointer
    if published.is_current:
        return published
    if before and any(_is_same_content(release.id, left) for left in before.rolled_back):
        log.warning(
            "%s is not made current: the same content was rolled back from; to make it current: prep rollback %s %s",
            release.id,
            store.uri,
            release.id,
        )
        return published
    try:
        return replace(published, pointer=move_current(store, release.id, state), is_moved=True)
    except PointerMovedError as err:
        if not _is_same_content(err.release_id, release.id):
            raise
        log.info("%s made %s current, which holds the same content", err.by, err.release_id)
        return published


def _is_same_content(release_id: str, other_id: str) -> bool:
    return release_id.partition("-")[2] == other_id.partition("-")[2]


def _seal(planned: Release, store: Store) -> Release:
    """Write ``release.json``; where another run of the same content was first, return that run's release."""
    name = f"{folder_of_release(planned.id)}{RELEASE_NAME}"
    content = render_release(planned)
    try:
        store.write_bytes(name, content)
    except PreconditionError as err:
        there = store.read_bytes(name)
        if there == content:  # our own write, whose answer was lost
            return planned
        try:
            finished = parse_release(there, uri=planned.uri)
        except ReleaseDamagedError:  # being pruned
            finished = None
        if finished is None or finished.content_digest != planned.content_digest:
            raise ReleaseExistsError(f"{planned.uri} exists already, with other content", hint="publish again") from err
        return finished
    return planned
