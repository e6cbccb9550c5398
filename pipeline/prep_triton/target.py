"""The server that a repository is made for, and what does not fit it."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from prep_triton.artifact import Engine, Record, RepositoryEntry
from prep_triton.containers import TABLE_VARIABLE, TritonRelease, find_triton_release
from prep_triton.gpus import TURING, order_of_capability, resolve_gpu
from prep_triton.spec import TargetSpec, flags_from_precision


class Target(Record):
    """A server: its release, the compute capability of each of its GPUs, and the version of their driver."""

    release: TritonRelease
    gpus: dict[str, str]
    platform: str
    driver: str | None = None


class Misfit(Record):
    """Why an entry does not fit a target: a sentence with both values, and the command that mends it.

    `code` is one of target-gpu, target-tensorrt, target-python, target-platform; or of `DOUBTS`, where it may be served
    all the same: target-unknown where the table does not say enough to decide, target-driver, target-unproven.
    """

    entry: str
    code: str
    message: str
    hint: str


# The key of a manifest's spec that has the instance groups of a config.pbtxt which was edited by hand and adopted.
EDITED_INSTANCES = "edited_instances"

UNKNOWN = "target-unknown"
DOUBTS = frozenset((UNKNOWN, "target-driver", "target-unproven"))

# NVIDIA's notes name Turing through 26.10, but nobody reports a T4's plan of TensorRT 11, which 26.06 brought.
LAST_PROVEN_ON_TURING = "26.05"


def resolve_target(spec: TargetSpec) -> Target:
    """Look up what a target means.

    Raises:
        SpecError: The release is not in the table.
        UnsupportedGpuError: A GPU is not known.
    """
    release = find_triton_release(spec.triton, Path(spec.triton_releases) if spec.triton_releases else None)
    gpus = {name: resolve_gpu(name).compute_capability for name in spec.gpus}
    return Target(release=release, gpus=gpus, platform=spec.platform, driver=spec.driver)


def find_openvino_platform_problem(target: Target) -> tuple[str, str] | None:
    """Say that a target has no OpenVINO backend, and what to do; None where it has one.

    Source: Triton's backend-platform support matrix (backend, docs/backend_platform_support_matrix.md): on ARM-SBSA
    OpenVINO serves neither a CPU nor a GPU.
    """
    if target.platform != "linux/arm64":
        return None
    return (
        f"Triton {target.release.tag} has no OpenVINO backend on ARM (its backend-platform support matrix), and the "
        "target is linux/arm64",
        "serve it by ONNX Runtime there: prep assemble MODEL --runtime onnxruntime --precision fp32",
    )


class Instances(Record):
    """A group of an entry's instances: how many on each device, and on which GPUs; all of them where none is named."""

    count: int = 1
    is_on_gpu: bool
    gpus: tuple[int, ...] = ()


def list_instances(entry: RepositoryEntry) -> tuple[Instances, ...]:
    """Return the groups of an entry's instances as they are served: of an edited config.pbtxt, its own.

    A group that does not say where it runs is on the GPUs that it names, else where its backend runs.
    """
    if entry.runtime == "ensemble":
        return ()
    serving = entry.spec.get("serving") or entry.spec.get("text") or {}
    whole = {"count": serving.get("instance_count", 1), "kind": serving.get("instance_kind")}
    groups = entry.spec.get(EDITED_INSTANCES) or serving.get("instance_groups") or (whole,)
    own = "gpu" if entry.runtime == "tensorrt" else "cpu"
    return tuple(
        Instances(
            count=group.get("count", 1),
            is_on_gpu=(group.get("kind") or ("gpu" if group.get("gpus") else own)) == "gpu",
            gpus=tuple(group.get("gpus") or ()),
        )
        for group in groups
    )


def needs_gpu(entry: RepositoryEntry) -> bool:
    """Return whether an entry needs a GPU: it has plans, or instances on one."""
    return bool(entry.engines) or any(group.is_on_gpu for group in list_instances(entry))


def find_misfits(entry: RepositoryEntry, target: Target) -> list[Misfit]:
    """Say why an entry would not be served by a target: TensorRT version, compute capability, Python, platform.

    A plan is bound to its exact TensorRT version unless it was built version compatible (TensorRT's developer
    guide, "Version Compatibility"); which GPUs it runs on is in `prep_triton.gpus.is_runnable`.
    """
    misfits = [_misfit(entry, "target-gpu", message, hint) for message, hint in _find_gpu_misfits(entry, target)]
    for engine in _served_engines(entry):
        misfits += [_misfit(entry, *misfit) for misfit in _find_version_misfits(engine, target)]
    misfits += [_misfit(entry, *misfit) for misfit in _find_vendored_misfits(entry, target)]
    if entry.kind == "model" and entry.runtime == "openvino" and (problem := find_openvino_platform_problem(target)):
        misfits.append(_misfit(entry, "target-platform", *problem))
    misfits += [_misfit(entry, *misfit) for misfit in _find_doubts(entry, target)]
    return misfits


def find_driver_problem(target: Target) -> tuple[str, str] | None:
    """Say that the driver is older than the container's CUDA needs, and what to do; None where it is not, or not known.

    Source: CUDA's release notes, "minimum driver version"; CUDA 13 needs R580.
    """
    oldest = target.release.min_driver
    if target.driver is None or oldest is None or _numbers(target.driver) >= _numbers(oldest):
        return None
    older = "choose --target 25.07, the last with CUDA 12" if oldest == "580" else "choose an older Triton release"
    return (
        f"the driver {target.driver} is older than R{oldest}, which the CUDA of Triton {target.release.tag} needs",
        f"install R{oldest} or newer; or {older}; or, on a data-centre GPU, start the image by its own entry point, "
        "which enables CUDA's forward compatibility",
    )


def find_turing_problem(target: Target, plans: Iterable[Engine] = ()) -> tuple[str, str] | None:
    """Say that nobody is known to have built a plan for a Turing GPU with the target's TensorRT, and what is known.

    Args:
        target: The server.
        plans: Those that it is to load; one that TensorRT 11 built was built on such a GPU, and proves it.
    """
    tag = target.release.tag
    turing = [gpu for gpu, capability in target.gpus.items() if capability == TURING]
    built_by = [_numbers(plan.builder_version) for plan in plans if plan.compute_capability == TURING]
    if not turing or tag[: len(LAST_PROVEN_ON_TURING)] <= LAST_PROVEN_ON_TURING or any(n >= (11,) for n in built_by):
        return None
    return (
        f"no plan that TensorRT 11 built for a Turing GPU ({', '.join(turing)}) is known, and Triton {tag} has that",
        f"{LAST_PROVEN_ON_TURING} (TensorRT 10.16.1) is the newest for which one is: --target {LAST_PROVEN_ON_TURING}",
    )


def _find_doubts(entry: RepositoryEntry, target: Target) -> Iterator[tuple[str, str, str]]:
    if entry.kind != "model":
        return
    if entry.runtime == "tensorrt" and (problem := find_turing_problem(target, _served_engines(entry))):
        yield ("target-unproven", *problem)
    if needs_gpu(entry) and (problem := find_driver_problem(target)):
        yield ("target-driver", *problem)


def _served_engines(entry: RepositoryEntry) -> tuple[Engine, ...]:
    """A tokenizer's or an ensemble's manifest has the engines of what it serves, and itself runs on a CPU."""
    return entry.engines if entry.runtime == "tensorrt" else ()


def _misfit(entry: RepositoryEntry, code: str, message: str, hint: str) -> Misfit:
    return Misfit(entry=entry.name, code=code, message=f"{entry.name}: {message}", hint=hint)


def _find_gpu_misfits(entry: RepositoryEntry, target: Target) -> list[tuple[str, str]]:
    misfits: list[tuple[str, str]] = []
    engines = _served_engines(entry)
    if entry.kind != "model":
        return misfits
    oldest = target.release.min_compute_capability
    for gpu, capability in target.gpus.items():
        if order_of_capability(capability) < order_of_capability(oldest):
            hint = "choose an older Triton release, or a newer GPU"
            misfits.append(
                (f"Triton {target.release.tag} needs compute capability {oldest}, the {gpu} has {capability}", hint)
            )
    if not engines:
        return misfits
    if not target.gpus:
        misfits.append(
            ("a TensorRT plan needs a GPU, and the target has none", "name the target's GPUs, or use onnxruntime")
        )
    for gpu, capability in target.gpus.items():
        if not any(engine.runs_on(capability) for engine in engines):
            built = ", ".join(engine.compute_capability for engine in engines)
            misfits.append(
                (
                    f"its plans are for compute capability {built}, the target's {gpu} has {capability}",
                    f"on a machine with the GPU {gpu}: "
                    f"prep build-engine {flags_from_precision(entry.precision)} --gpu {gpu} --builder tensorrt",
                )
            )
    return misfits


def _find_version_misfits(engine: Engine, target: Target) -> list[tuple[str, str, str]]:
    served_by = target.release.tensorrt
    if engine.builder != "tensorrt":
        return []
    if served_by is None:
        return [
            (
                UNKNOWN,
                f"the TensorRT version of Triton {target.release.tag} is not known, so its plans cannot be checked",
                f"read it from the image: docker run --rm {target.release.image} printenv TRT_VERSION; write it into "
                f"a file that {TABLE_VARIABLE} names",
            )
        ]
    built, runs = _numbers(engine.builder_version), _numbers(served_by)
    # As many parts as both have: 8.6.1.6 does not load what 8.6.1.2 built (triton-inference-server/server#5975).
    known = min(len(built), len(runs))
    if built[:known] == runs[:known] or (engine.spec.get("version_compatible") and built[:known] <= runs[:known]):
        return []
    return [
        (
            "target-tensorrt",
            f"its {engine.gpu} plan was built by TensorRT {engine.builder_version}, Triton {target.release.tag} has "
            f"TensorRT {served_by}{_describe_confidence(target.release)}",
            f"pip install 'tensorrt=={_pin(served_by)}' on a machine with the GPU {engine.gpu}, then "
            f"prep build-engine {flags_from_precision(engine.precision)} --gpu {engine.gpu} --builder tensorrt",
        )
    ]


def _describe_confidence(release: TritonRelease) -> str:
    how = {"inferred": "inferred from the releases around it", "lead": "not verified"}
    words = how.get(release.confidence_in("tensorrt"))
    return f" ({words}: docker run --rm {release.image} printenv TRT_VERSION says it)" if words else ""


def _pin(version: str) -> str:
    """A version for pip, which fills what is not known: the fourth number is the build's."""
    return version if len(_numbers(version)) > 3 else f"{version}.*"


def _find_vendored_misfits(entry: RepositoryEntry, target: Target) -> list[tuple[str, str, str]]:
    vendored = entry.vendored
    if vendored is None:
        return []
    misfits = []
    if _numbers(target.release.python) < _numbers(vendored.python):
        misfits.append(
            (
                "target-python",
                f"{vendored.package} {vendored.version} needs Python {vendored.python}, "
                f"Triton {target.release.tag} has {target.release.python}",
                "choose a newer Triton release, or install an older package and assemble again",
            )
        )
    if vendored.platform != target.platform:
        misfits.append(
            (
                "target-platform",
                f"{vendored.package} {vendored.version} is for {vendored.platform}, the target is {target.platform}",
                f"run prep assemble on a machine of {target.platform}",
            )
        )
    return misfits


def _numbers(version: str) -> tuple[int, ...]:
    """Read ``10.13.2.6`` as numbers; what follows a part that is none does not count."""
    numbers = []
    for part in version.split("."):
        if not part.isdecimal():
            break
        numbers.append(int(part))
    return tuple(numbers)
