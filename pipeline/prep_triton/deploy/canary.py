"""A candidate beside the release: servers of their own, and a part of the requests."""

import logging
import math

from prep_triton.artifact import Record
from prep_triton.deploy.fleet import Fleet, plan_fleet
from prep_triton.deploy.measured import MeasuredServer
from prep_triton.deploy.names import name_of_pool
from prep_triton.deploy.nodes import check_sharing
from prep_triton.deploy.request import DeploymentSpec, ServedRelease
from prep_triton.errors import SpecError
from prep_triton.layout import folder_of_release

log = logging.getLogger(__name__)

_SUFFIX = "canary"


class Candidate(Record):
    """A release that is to become the current one, and what serves it."""

    release: ServedRelease
    fleet: Fleet


class Canary(Record):
    """What a base has of a candidate of a store, and its part of the requests in percent.

    `instance` is the label ``app.kubernetes.io/instance`` of all its objects, and `kinds` are their kinds: what removes
    them.
    """

    store: str
    release: str
    percent: int
    triton: str
    deployments: tuple[str, ...]
    instance: str
    kinds: tuple[str, ...]


def plan_candidate(release: ServedRelease, candidate: ServedRelease, spec: DeploymentSpec) -> Candidate:
    """Choose the container and the nodes of a candidate, by the choices that hold for the release.

    Raises:
        SpecError: It is the release itself, or does not have an entry that the release serves; or as `plan_fleet`.
        RepositoryError: As `plan_fleet`.
    """
    if candidate.id == release.id:
        raise SpecError(
            f"the candidate {candidate.id} is the release that is served: there is nothing to compare",
            hint="publish another one with prep publish and --no-current, or name one with --canary-release",
        )
    missing = sorted({entry.name for entry in release.entries} - {entry.name for entry in candidate.entries})
    if missing:
        raise SpecError(
            f"the candidate {candidate.id} does not have {', '.join(missing)}, which {release.id} serves: its part of "
            "those requests would fail",
            hint="name a candidate with all entries, or make it current without a canary",
        )
    fleet = plan_fleet(candidate, spec)
    check_sharing(spec, fleet)
    return Candidate(release=candidate, fleet=fleet)


def find_measured_part(
    measured: MeasuredServer, release: ServedRelease, candidate: ServedRelease
) -> MeasuredServer | None:
    """Return what was measured of a release as far as it holds for a candidate; None where no entry is the same.

    An entry that is another one in the candidate was not measured, and a warning says so. Memory is that of all entries
    together.
    """
    served, own = ({entry.name: entry.key for entry in side.entries} for side in (release, candidate))
    same = tuple(entry for entry in measured.entries if own[entry.name] == served[entry.name])
    others = [entry.name for entry in measured.entries if entry not in same]
    if others:
        log.warning(
            "the candidate %s has another %s than %s measured: its servers %s",
            candidate.id,
            " and ".join(others),
            measured.run,
            f"scale by {' and '.join(entry.name for entry in same)}" if same else "keep prep's own numbers",
        )
    if not same or own == served:
        return measured if same else None
    reason = f"the candidate {candidate.id} has other entries than were measured"
    return measured.model_copy(update={"entries": same, "memory_mib": None, "memory_unknown": reason})


def spec_of_canary(spec: DeploymentSpec) -> DeploymentSpec:
    """Return the choices of the candidate's servers: a name of their own, and as many of them as their part needs."""
    most = math.ceil(spec.replicas[1] * (spec.canary or 0) / 100)
    return spec.model_copy(update={"name": f"{spec.name}-{_SUFFIX}", "replicas": (1, max(1, most))})


def describe_canary(candidate: Candidate, spec: DeploymentSpec, kinds: set[str]) -> Canary:
    """Say what a base has of a candidate."""
    own = spec_of_canary(spec)
    return Canary(
        store=candidate.release.uri.removesuffix(f"/{folder_of_release(candidate.release.id)}".rstrip("/")),
        release=candidate.release.id,
        percent=spec.canary or 0,
        triton=candidate.fleet.triton.tag,
        deployments=tuple(name_of_pool(own, pool) for pool in candidate.fleet.pools),
        instance=own.name,
        kinds=tuple(sorted(kind.lower() for kind in kinds)),
    )
