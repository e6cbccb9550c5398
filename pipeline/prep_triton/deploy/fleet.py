"""Which container serves a release, on which nodes: only what its plans allow."""

import logging
from collections.abc import Iterable, Sequence

from prep_triton.artifact import Engine, Record, RepositoryEntry
from prep_triton.containers import TABLE_VARIABLE, TritonRelease, load_triton_releases
from prep_triton.deploy.accelerators import (
    CPU_POOL,
    MOST_GPUS_BY_NODE,
    Pool,
    pool_from_capability,
    pool_from_gpu,
)
from prep_triton.deploy.request import DeploymentSpec, ServedRelease
from prep_triton.errors import RepositoryError, SpecError
from prep_triton.gpus import order_of_capability
from prep_triton.spec import TargetSpec
from prep_triton.target import (
    DOUBTS,
    UNKNOWN,
    Misfit,
    Target,
    find_misfits,
    list_instances,
    needs_gpu,
    resolve_target,
)

log = logging.getLogger(__name__)

_DEFAULT_PLATFORM = "linux/amd64"


class Fleet(Record):
    """The container that serves a release, and one pool of nodes for each kind of GPU.

    `gpus_per_server` is how many one server needs on a pool that has them; 0 where none is needed.
    """

    triton: TritonRelease
    platform: str
    pools: tuple[Pool, ...]
    gpus_per_server: int = 0


def check_choices(spec: DeploymentSpec) -> None:
    """Refuse a container or a GPU that is not known, before a release is read.

    Raises:
        SpecError: Either.
    """
    if spec.triton:
        resolve_target(TargetSpec(triton=spec.triton))
    for name in spec.gpus:
        pool_from_gpu(name)


def plan_fleet(release: ServedRelease, spec: DeploymentSpec) -> Fleet:
    """Choose the container and the nodes.

    The container is the requested one, else the one that the release was made for, else the only known one whose
    TensorRT is the plans'. The nodes are the requested ones, else those that the release was made for, else those
    that all its plans run on.

    Raises:
        SpecError: The container or a GPU is not known, or several would do and none was named.
        RepositoryError: No container, or no GPU of GKE's, serves all entries; or no node has so many of them.
    """
    platform = release.target.platform if release.target else _DEFAULT_PLATFORM
    triton = _choose_triton(release, spec, platform)
    _check_image(release, triton)
    pools = _choose_pools(release, spec, Target(release=triton, gpus={}, platform=platform))
    target = _target(triton, pools, platform)
    misfits = _find_misfits(release.entries, target)
    if misfits:
        raise _misfit_error(misfits)
    if release.target:
        target = target.model_copy(update={"driver": release.target.driver})
    for doubt in (misfit for entry in release.entries for misfit in find_misfits(entry, target)):
        log.warning("%s; %s", doubt.message, doubt.hint)
    gpus = _count_gpus(release.entries, pools)
    _warn_of_cpu_entries(release.entries, pools)
    return Fleet(triton=triton, platform=platform, pools=pools, gpus_per_server=gpus)


def _check_image(release: ServedRelease, triton: TritonRelease) -> None:
    """Refuse the image with TensorRT-LLM: it has that backend and Python's alone, as Triton's page on NGC says."""
    served = [entry for entry in release.entries if entry.kind == "model"]
    if triton.image_kind == "trtllm" and served:
        raise RepositoryError(
            f"{served[0].name} is served by {served[0].runtime}, and the image of Triton {triton.tag} has the backends "
            "tensorrtllm and python alone",
            hint=f"serve it in the month's other image: --target {triton.tag.partition('-')[0]}",
        )


def _count_gpus(entries: Sequence[RepositoryEntry], pools: Sequence[Pool]) -> int:
    """Return how many GPUs one server needs: an instance group that names a GPU by its index needs all before it.

    Raises:
        RepositoryError: No node of a pool has so many.
    """
    largest = {entry.name: _largest_gpu(entry) for entry in entries if entry.kind == "model" and needs_gpu(entry)}
    if not largest:
        return 0
    name, index = max(largest.items(), key=lambda item: item[1])
    for pool in pools:
        most = MOST_GPUS_BY_NODE.get(pool.gpu or "", 0)
        if index >= most:
            others = [gpu for gpu, count in MOST_GPUS_BY_NODE.items() if count > index]
            raise RepositoryError(
                f"{name} has instances on GPU {index}, and no node with {pool.gpu} has more than {most} GPUs "
                f"(0 to {most - 1})",
                hint=f"name GPUs up to {most - 1} in its instance_groups and assemble again"
                + (f"; nodes with {', '.join(others)} have more" if others else ""),
            )
    return index + 1


def _largest_gpu(entry: RepositoryEntry) -> int:
    return max((gpu for group in list_instances(entry) for gpu in group.gpus), default=0)


def _warn_of_cpu_entries(entries: Sequence[RepositoryEntry], pools: Sequence[Pool]) -> None:
    """Say that entries which need no GPU are served beside those that do: a release has one kind of server."""
    idle = [entry.name for entry in entries if entry.kind == "model" and not needs_gpu(entry)]
    gpus = [pool.gpu for pool in pools if pool.gpu]
    if idle and gpus:
        log.warning(
            "%s: served by the CPU of nodes with %s, since every server loads the whole release; publish what needs no "
            "GPU to a prefix of its own to serve it on nodes without one",
            ", ".join(idle),
            " and ".join(gpus),
        )


def _choose_triton(release: ServedRelease, spec: DeploymentSpec, platform: str) -> TritonRelease:
    if spec.triton:
        return resolve_target(TargetSpec(triton=spec.triton)).release
    if release.target:
        return release.target.release
    table = load_triton_releases()
    fitting = [triton for triton in table.values() if not _find_version_misfits(release, triton, platform)]
    versions = sorted({_short(plan.builder_version) for plan in _list_plans(release.entries)}, key=_sort_key)
    if not versions and fitting:
        return _choose_newest(release, fitting)
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
        hint=f"choose one: --target {fitting[-1].tag}",
    )


def _choose_newest(release: ServedRelease, fitting: Sequence[TritonRelease]) -> TritonRelease:
    """Return the newest container of which it is known what serves the entries; where none is, the newest."""
    served = {entry.runtime for entry in release.entries}
    names = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}
    needed = [runtime for runtime in names if runtime in served]
    known = [triton for triton in fitting if all(getattr(triton, runtime) for runtime in needed)]
    newest = max(known or fitting, key=lambda triton: triton.tag)
    words = (
        f"whose {' and '.join(names[runtime] for runtime in needed)} is known" if known and needed else "in the table"
    )
    log.info("no plan binds the release to a container: Triton %s, the newest %s (--target wins)", newest.tag, words)
    return newest


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
