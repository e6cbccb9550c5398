"""A repository or a release, checked on a real Triton; remembered while nothing changed."""

import logging
import tempfile
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from prep_triton.artifact import Artifact, RepositoryEntry
from prep_triton.files import translate_os_errors
from prep_triton.layout import CONFIG_NAME
from prep_triton.progress import Progress, ignore_progress
from prep_triton.run.locate import find_release, folder_from_target
from prep_triton.run.report import RowCollector, StageRow
from prep_triton.run.resolve import ResolvedRun
from prep_triton.scratch import scratch_folder
from prep_triton.spec import VerifySpec
from prep_triton.workspace import Produced, Recipe

if TYPE_CHECKING:
    from prep_triton.publish.record import Release
    from prep_triton.publish.store import Store
    from prep_triton.triton.verify import VerifyReport

log = logging.getLogger(__name__)


class Verification(Artifact):
    """That a repository or release was verified: the key names its entries and its place."""

    report: dict[str, Any] = Field(default_factory=dict)


def verify_once(
    rows: RowCollector, entries: Sequence[RepositoryEntry], release: "Release | None", run: ResolvedRun
) -> dict[str, Any]:
    """Verify what a run made, unless these very entries were verified at this very place before.

    On a server that somebody else runs, nothing is remembered: it may serve something else today.

    Args:
        rows: Takes the step.
        entries: What the run assembled.
        release: The release that it published, which is verified where it lies; the repository where None.
        run: Says how to verify, and where that is remembered.

    Returns:
        The report, `VerifyReport` as JSON values.

    Raises:
        EntriesFailedError: Entries do not infer what their references say; the step is in the rows as a failed one.
        ServerError: Triton did not start or died.
    """
    from prep_triton.triton.verify.report import EntriesFailedError

    target = release.uri if release else str(run.repository_dir)
    names = [entry.name for entry in entries]
    recipe = _verification_recipe(entries, target)

    def verify(progress: Progress) -> "VerifyReport":
        if release and run.store:
            return verify_release(run.store, release, run.spec.verify, names=names, progress=progress)
        return verify_repository(run.repository_dir, run.spec.verify, names=names, progress=progress)

    def make(progress: Progress) -> Produced[Verification]:
        def check(folder: Path) -> dict[str, Any]:
            report = verify(progress)
            (folder / "report.json").write_text(report.model_dump_json(indent=2), encoding="utf-8")
            return {"report": report.model_dump(mode="json")}

        if run.spec.verify.server_url:
            return Produced(
                Verification(name=recipe.name, report=verify(progress).model_dump(mode="json")), reused=False
            )
        return run.workspace.produce(recipe, Verification, check, is_shared=False)  # of a server on this machine

    artifact = ", ".join(sorted(names))
    try:
        verification = rows.step("verify", target, make, _verify_figures, artifact=artifact)
    except EntriesFailedError as err:
        rows.add(
            StageRow(stage="verify", artifact=artifact, state="failed", figures=err.report.model_dump(mode="json"))
        )
        raise
    return verification.report


def _verification_recipe(entries: Sequence[RepositoryEntry], target: str) -> Recipe:
    from prep_triton.triton.verify.tools import verification_tools

    place = target if "://" in target else str(Path(target).absolute())
    configs = {entry.name: [entry.key, entry.files[CONFIG_NAME].sha256] for entry in entries}  # an adopted edit too
    return Recipe(
        stage="verify",
        name="repository",
        spec={"target": place, "entries": configs},
        tools=verification_tools(),
    )


def verify_target(
    target: str, spec: VerifySpec, *, reference: str | None = None, progress: Progress = ignore_progress
) -> "VerifyReport":
    """Verify a local repository, or a release by its URI, on a real Triton; see `verify_repository`.

    Args:
        target: A repository's folder, a release, or a store (``gs://bucket/prefix`` or a folder) whose current
            release is meant.
        spec: Which server, and how long it may take.
        reference: The release of a store; its current one where None.
        progress: Hears about each step.

    Raises:
        StoreError: There is no such release, or the store failed.
    """
    from prep_triton.publish.catalog import resolve

    located = find_release(target, reference)
    if located is None:
        return verify_repository(folder_from_target(target), spec, progress=progress)
    store, named = located
    return verify_release(store, resolve(store, named), spec, progress=progress)


def verify_repository(
    folder: Path, spec: VerifySpec, *, names: Sequence[str] | None = None, progress: Progress = ignore_progress
) -> "VerifyReport":
    """Verify a local repository on a real Triton.

    Args:
        folder: The repository.
        spec: Which server, and how long it may take.
        names: The entries to verify; all where None.
        progress: Hears about each step.

    Returns:
        The report, in which everything passed.

    Raises:
        VerifyError: An entry does not infer what its reference says.
        ServerError: Triton did not start or died.
    """
    from prep_triton.triton.entries.load import load_repository

    return _verify(load_repository(folder), str(folder), spec, names, progress)


def verify_release(
    store: "Store",
    release: "Release",
    spec: VerifySpec,
    *,
    names: Sequence[str] | None = None,
    progress: Progress = ignore_progress,
) -> "VerifyReport":
    """Verify a release where it lies; see `verify_repository`. What it is compared with is copied here meanwhile.

    Raises:
        StoreError: A file of it is missing, or is not what the release says.
        VerifyError, ServerError: As `verify_repository`.
    """
    from prep_triton.publish.fetch import fetch_reference_files
    from prep_triton.triton.entries.load import load_repository

    if "://" not in release.uri:
        return verify_repository(Path(release.uri), spec, names=names, progress=progress)
    with (
        _translate_scratch_errors(),
        scratch_folder("verify") as scratch,
    ):
        entries = load_repository(fetch_reference_files(store, release, scratch), reference_only=True)
        return _verify(entries, release.uri, spec, names, progress)


def _verify(
    entries: Sequence[RepositoryEntry], uri: str, spec: VerifySpec, names: Sequence[str] | None, progress: Progress
) -> "VerifyReport":
    from prep_triton.run.served_accuracy import check_served_accuracy
    from prep_triton.triton.verify.report import check_report
    from prep_triton.triton.verify.repository import verify_entries

    chosen = [entry for entry in entries if names is None or entry.name in names]
    with _translate_scratch_errors():
        report = verify_entries(chosen, uri, spec, check_more=check_served_accuracy, progress=progress)
    check_report(report)
    return report


def _translate_scratch_errors() -> AbstractContextManager[None]:
    return translate_os_errors(Path(tempfile.gettempdir()), setting="TMPDIR")


def _verify_figures(verification: Verification) -> dict[str, Any]:
    for entry in verification.report["entries"]:
        if entry["status"] == "config-accepted-only":
            log.warning("%s was not run: %s", entry["name"], entry["detail"])
    return dict(verification.report)
