"""From a published release to what serves it on GKE."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from prep_triton.errors import RepositoryError, SpecError

if TYPE_CHECKING:
    from prep_triton.deploy.base import Base
    from prep_triton.deploy.request import DeploymentSpec, ServedRelease

log = logging.getLogger(__name__)

_GCS = "gs://"


def plan_deployment(
    uri: str, spec: "DeploymentSpec", reference: str | None = None, bench: Path | None = None
) -> "Base":
    """Render the Kustomize base that serves a release, and a candidate beside it where asked for; writes nothing.

    Args:
        uri: A release (``gs://bucket/prefix/releases/<id>``), or a store of which the current one is meant.
        spec: The choices of the cluster.
        reference: The release of a store; its current one where None.
        bench: A run of `prep bench` on the release, which autoscaling and sizes are taken from.

    Raises:
        SpecError: The URI is not one of GCS, a choice cannot be honoured, or the run is not of the release.
        StoreError: There is no such release, or it is damaged, or cannot be reached.
        RepositoryError: No container, or no GPU of GKE's, serves all its entries.
    """
    from prep_triton.deploy.base import plan_base
    from prep_triton.deploy.fleet import check_choices
    from prep_triton.run.measured_load import load_run, measured_server_from_run

    check_choices(spec)
    run = load_run(bench) if bench else None
    release = load_served_release(uri, reference)
    measured = measured_server_from_run(bench, run, release) if bench and run else None
    candidate = _load_candidate(uri, spec.canary_release) if spec.canary else None
    return plan_base(release, spec, measured, candidate)


def save_deployment(base: "Base", folder: Path, *, force: bool = False) -> list[Path]:
    """Write a base; see `prep_triton.deploy.folder.save_base`."""
    from prep_triton.deploy.folder import save_base

    return save_base(base, folder, force=force)


def _load_candidate(uri: str, reference: str | None) -> "ServedRelease":
    """Read the release that is to become current, by default the newest; a warning says what is known against it."""
    from prep_triton.publish.catalog import NEWEST, locate_release
    from prep_triton.publish.reports import find_unfit

    store, _ = locate_release(uri)
    candidate = load_served_release(store.uri, reference or NEWEST)
    if candidate.id in find_unfit(store):
        log.warning("the candidate %s failed its verification, or was worse than the current release", candidate.id)
    return candidate


def load_served_release(uri: str, reference: str | None = None) -> "ServedRelease":
    """Read what a deployment needs of a release.

    Raises:
        SpecError: The URI is not one of GCS: a server in a cluster reads no folder of this machine.
        StoreError: There is no such release, or it is damaged, or cannot be reached.
        RepositoryError: The release has no entry.
    """
    from prep_triton.deploy.request import ServedRelease
    from prep_triton.publish.catalog import locate_release, resolve
    from prep_triton.publish.record import artifact_from_release_entry

    if not uri.startswith(_GCS):
        raise SpecError(
            f"'{uri}' is not on GCS, and the cluster's servers read their models from there",
            hint="publish it first: prep publish gs://bucket/prefix",
        )
    release = resolve(*locate_release(uri, reference))
    if not release.entries:
        raise RepositoryError(f"{release.uri} has no entry to serve", hint="list what there is with prep releases")
    return ServedRelease(
        id=release.id,
        uri=release.uri,
        entries=tuple(artifact_from_release_entry(entry) for entry in release.entries),
        server_arguments=release.server_arguments,
        target=release.target,
    )
