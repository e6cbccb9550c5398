"""Which container serves a release, on which nodes: only what its plans allow."""

import logging
from collections.abc import Iterable, Sequence

from prep_triton.artifact import Engine, Record, RepositoryEntry
from prep_triton.containers import TABLE_VARIABLE, TritonRelease, load_triton_releases
from prep_triton.deploy.accelerators import CPU_POOL, Pool, pool_from_capability, pool_from_gpu
from prep_triton.deploy.request import DeploymentSpec, ServedRelease
from prep_triton.errors import RepositoryError, SpecError
from prep_triton.gpus import order_of_capability
from prep_triton.spec import TargetSpec
from prep_triton.target import DOUBTS, UNKNOWN, Misfit, Target, find_misfits, needs_gpu, resolve_target

log = logging.getLogger(__name__)

_DEFAULT_PLATFORM = "linux/amd64"


class Fleet(Record):
    """The container that serves a release, and one pool of nodes for each kind of GPU."""

    triton: TritonRelease
    platform: str
    pools: tuple[Pool, ...]


def plan_fleet(release: ServedRelease, spec: DeploymentSpec) -> Fleet:
    """Choose the container and the nodes.

    The container is the requested one, else the one that the release was made for, else the only known one whose
    TensorRT is the plans'. The nodes are the requested ones, else those that the release was made for, else those
    that all its plans run on.

    Raises:
        SpecError: The container or a GPU is not known, or several would do and none was named.
        RepositoryError: No container, or no GPU of GKE's, serves all entries.
    """
    platform = release.target.platform if release.target else _DEFAULT_PLATFORM
    triton = _choose_triton(release, spec, platform)
    pools = _choose_pools(release, spec, Target(release=triton, gpus={}, platform=platform))
    target = _target(triton, pools, platform)
    misfits = _find_misfits(release.entries, target)
    if misfits:
        raise _misfit_error(misfits)
    if release.target:
        target = target.model_copy(update={"driver": release.target.driver})
    for doubt in (misfit for entry in release.entries for misfit in find_misfits(entry, target)):
        log.warning("%s; %s", doubt.message, doubt.hint)
    return Fleet(triton=triton, platform=platform, pools=pools)


def _choose_triton(release: ServedRelease, spec: DeploymentSpec, platform: str) -> TritonRelease:
    if spec.triton:
        return resolve_target(TargetSpec(triton=spec.triton)).release
    if release.target:
        return release.target.release
    table = load_triton_releases()
    fitting = [triton for triton in table.values() if not _find_version_misfits(release, triton, platform)]
    versions = sorted({_short(plan.builder_version) for plan in _list_plans(release.entries)}, key=_sort_key)
    if not versions and fitting:
        newest = max(fitting, key=lambda triton: triton.tag)
        log.info("no plan binds the release to a container: Triton %s, the newest known one", newest.tag)
        return newest
    if len(fitting) == 1:
        return fitting[0]
    built_by = " and ".join(versions)
    if not fitting:
        known = ", ".join(f"{triton.tag} has {triton.tensorrt}" for triton in table.values() if triton.tensorrt)
        raise RepositoryError(
            f"no known Triton serves {release.id}: its plans were built by TensorRT {built_by or '(none)'}; {known}",
            hint="build every plan with the TensorRT of one release, or add a release to the file that "
            f"{TABLE_VARIABLE} names",
        )
    names = ", ".join(triton.tag for triton in fitting)
    raise SpecError(
        f"Triton {names} all serve plans of TensorRT {built_by}, and the release does not say which it was made for",
        hint=f"choose one: --triton {fitting[-1].tag}",
    )


def _find_version_misfits(release: ServedRelease, triton: TritonRelease, platform: str) -> list[Misfit]:
    misfits = _find_misfits(release.entries, Target(release=triton, gpus={}, platform=platform))
    return [misfit for misfit in misfits if misfit.code != "target-gpu"]


def _choose_pools(release: ServedRelease, spec: DeploymentSpec, target: Target) -> tuple[Pool, ...]:
    gpu_entries = [entry for entry in release.entries if needs_gpu(entry)]
    if not gpu_entries:
        if spec.gpus:
            raise SpecError(
                f"no entry of {release.id} needs a GPU: {', '.join(spec.gpus)} would be idle",
                hint="leave --gpu out: the servers run on nodes without one",
            )
        return (CPU_POOL,)
    names = spec.gpus or tuple(release.target.gpus if release.target else ())
    if names:
        pools = [pool_from_gpu(name) for name in names]
        return tuple(pool for index, pool in enumerate(pools) if pool not in pools[:index])
    return _pools_from_plans(release, target)


def _pools_from_plans(release: ServedRelease, target: Target) -> tuple[Pool, ...]:
    """Return the pools on which all plans run; a warning says what another pool lacks."""
    pools = _list_pools(_list_plans(release.entries))
    if not pools:
        built_on = sorted({plan.gpu for plan in _list_plans(release.entries)})
        message = (
            f"GKE does not have one obvious GPU for plans built on {', '.join(built_on)}"
            if built_on
            else "any GPU serves it"
        )
        raise SpecError(f"no GPU was named for {release.id}: {message}", hint="add for example --gpu t4 or --gpu h100")
    misfits = {
        pool.label: _find_misfits(release.entries, _target(target.release, [pool], target.platform)) for pool in pools
    }
    serving = tuple(pool for pool in pools if not misfits[pool.label])
    if not serving:
        raise _misfit_error(misfits[pools[0].label])
    for pool in pools:
        if pool not in serving:
            log.warning("no servers on %s: %s", pool.label, misfits[pool.label][0].message)
    return serving


def _list_pools(plans: Iterable[Engine]) -> list[Pool]:
    """Return GKE's pool for each plan, oldest architecture first, without plans that no one GPU of GKE's is for."""
    pools: dict[str, Pool] = {}
    for plan in plans:
        pool = pool_from_capability(plan.compute_capability, plan.gpu)
        if pool is None or pool.label in pools:
            continue
        pools[pool.label] = pool
        if pool.gpu != plan.gpu:
            log.info("a plan built on %s is served on GKE's %s, of the same architecture", plan.gpu, pool.gpu)
    return sorted(pools.values(), key=lambda pool: (order_of_capability(pool.compute_capability or ""), pool.label))


def _target(triton: TritonRelease, pools: Iterable[Pool], platform: str) -> Target:
    gpus = {pool.gpu: pool.compute_capability for pool in pools if pool.gpu and pool.compute_capability}
    return Target(release=triton, gpus=gpus, platform=platform)


def _find_misfits(entries: Sequence[RepositoryEntry], target: Target) -> list[Misfit]:
    """Return what keeps entries from being served; a plan whose server's TensorRT is not known is not deployed."""
    misfits = [misfit for entry in entries for misfit in find_misfits(entry, target)]
    return [misfit for misfit in misfits if misfit.code == UNKNOWN or misfit.code not in DOUBTS]


def _misfit_error(misfits: Sequence[Misfit]) -> RepositoryError:
    more = f" (and {len(misfits) - 1} more)" if len(misfits) > 1 else ""
    return RepositoryError(f"{misfits[0].message}{more}", hint=misfits[0].hint)


def _list_plans(entries: Iterable[RepositoryEntry]) -> list[Engine]:
    return [engine for entry in entries for engine in entry.engines]


def _short(version: str) -> str:
    return ".".join(version.split(".")[:3])


def _sort_key(version: str) -> tuple[int, ...]:
    return tuple(int(part) if part.isdecimal() else 0 for part in version.split("."))
