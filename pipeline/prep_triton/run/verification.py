"""A repository or a release, checked on a real Triton; remembered while nothing changed."""

import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from prep_triton.artifact import Artifact, RepositoryEntry
from prep_triton.layout import RELEASE_NAME, RELEASES_DIR
from prep_triton.progress import Progress, ignore_progress
from prep_triton.run.report import RowCollector
from prep_triton.spec import VerifySpec
from prep_triton.workspace import Produced, Recipe, Workspace, translate_os_errors

if TYPE_CHECKING:
    from prep_triton.publish.store import Store
    from prep_triton.triton.verify import VerifyReport

log = logging.getLogger(__name__)


class Verification(Artifact):
    """That a repository or release was verified: the key names its entries and its place."""

    report: dict[str, Any] = Field(default_factory=dict)


def verify_once(
    rows: RowCollector,
    entries: Sequence[RepositoryEntry],
    release_uri: str | None,
    spec: VerifySpec,
    workspace: Workspace,
) -> dict[str, Any]:
    """Verify what a run made, unless these very entries were verified at this very place before.

    On a server that somebody else runs, nothing is remembered: it may serve something else today.

    Returns:
        The report, `VerifyReport` as JSON values.
    """
    target = release_uri or str(entries[0].folder.parent)
    names = [entry.name for entry in entries]
    recipe = _verification_recipe(entries, target)

    def make(progress: Progress) -> Produced[Verification]:
        def check(folder: Path) -> dict[str, Any]:
            report = verify_target(target, spec, names=names, progress=progress)
            (folder / "report.json").write_text(report.model_dump_json(indent=2), encoding="utf-8")
            return {"report": report.model_dump(mode="json")}

        if spec.server_url:
            report = verify_target(target, spec, names=names, progress=progress)
            unkept = Verification(name=recipe.name, report=report.model_dump(mode="json"))
            return Produced(unkept, reused=False)
        return workspace.produce(recipe, Verification, check)

    verification: Verification = rows.step("verify", target, make, _verify_figures, artifact=", ".join(sorted(names)))
    return verification.report


def _verification_recipe(entries: Sequence[RepositoryEntry], target: str) -> Recipe:
    from prep_triton.triton.verify import verification_tools

    place = target if "://" in target else str(Path(target).absolute())
    return Recipe(
        stage="verify",
        name="repository",
        spec={"target": place, "entries": {entry.name: entry.key for entry in entries}},
        tools=verification_tools(),
    )


def verify_target(
    target: str, spec: VerifySpec, *, names: Sequence[str] | None = None, progress: Progress = ignore_progress
) -> "VerifyReport":
    """Verify a local repository, or a release by its URI, on a real Triton.

    Args:
        target: A repository's folder, a release, or a store (``gs://bucket/prefix`` or a folder) whose current
            release is meant.
        spec: Which server, and how long it may take.
        names: The entries to verify; all where None.
        progress: Hears about each step.

    Returns:
        The report, in which everything passed.

    Raises:
        VerifyError: An entry does not answer as its reference.
        ServerError: Triton did not start or died.
    """
    from prep_triton.publish.store import parse_folder_uri
    from prep_triton.triton.entries.write import load_repository
    from prep_triton.triton.verify import check_report, verify_entries

    scratch_root = Path(tempfile.gettempdir())
    with (
        translate_os_errors(scratch_root, setting="TMPDIR"),
        tempfile.TemporaryDirectory(prefix="prep-verify-") as scratch,
    ):
        located = _locate_release(target)
        if located:
            repository_uri, folder = _fetch_references(*located, Path(scratch))
        else:
            folder = parse_folder_uri(target) if "://" in target else Path(target)
            repository_uri = str(folder)
        found = load_repository(folder, reference_only=located is not None)
        entries = [entry for entry in found if names is None or entry.name in names]
        report = verify_entries(entries, repository_uri, spec, progress=progress)
    check_report(report)
    return report


def _locate_release(target: str) -> "tuple[Store, str] | None":
    """Return the store and the reference of the release that a target means; None for a repository's folder."""
    from prep_triton.publish.catalog import locate_release
    from prep_triton.publish.store import parse_folder_uri

    if target.startswith("gs://"):
        return locate_release(target)
    folder = parse_folder_uri(target)
    places = (folder / RELEASES_DIR, *([folder] if folder.name == RELEASES_DIR else ()))
    is_store = any(any(place.glob(f"*/{RELEASE_NAME}")) for place in places)
    return locate_release(str(folder)) if is_store else None


def _fetch_references(store: "Store", reference: str, scratch: Path) -> tuple[str, Path]:
    from prep_triton.publish.catalog import resolve
    from prep_triton.publish.fetch import fetch_reference_files

    release = resolve(store, reference)
    return release.uri, fetch_reference_files(store, release, scratch)


def _verify_figures(verification: Verification) -> dict[str, Any]:
    for entry in verification.report["entries"]:
        if entry["status"] == "config-accepted-only":
            log.warning("%s was not run: %s", entry["name"], entry["detail"])
    return dict(verification.report)
