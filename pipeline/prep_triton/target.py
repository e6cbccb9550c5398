"""The server that a repository is made for, and what does not fit it.

What is inside a Triton container is in ``triton_releases.yaml``, with its source. The container's own
``TRT_VERSION`` variable is the truth: a file of the user's adds to the table or corrects it.
"""

import os
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from importlib import resources
from pathlib import Path

from prep_triton.artifact import Engine, Record, RepositoryEntry
from prep_triton.errors import SpecError
from prep_triton.gpus import order_of_capability, resolve_gpu
from prep_triton.spec import TargetSpec, flags_from_precision
from prep_triton.spec.faults import Problem, error_from_problems, find_problems
from prep_triton.spec.yaml_text import load_document, parse_document

TABLE_VARIABLE = "PREP_TRITON_RELEASES"


class TritonRelease(Record):
    """One container of NVIDIA's Triton: ``nvcr.io/nvidia/tritonserver:<tag>-py3``.

    `triton` is the server's version; `tensorrt` is None where it is not known; `min_compute_capability` is the
    oldest GPU that the container runs on.
    """

    tag: str
    triton: str
    cuda: str | None = None
    tensorrt: str | None = None
    python: str
    min_compute_capability: str
    source: str

    @property
    def image(self) -> str:
        """The container's name with its tag."""
        return f"nvcr.io/nvidia/tritonserver:{self.tag}-py3"


class Target(Record):
    """A server: its release, and the compute capability of each of its GPUs."""

    release: TritonRelease
    gpus: dict[str, str]
    platform: str


class Misfit(Record):
    """Why an entry does not fit a target: a sentence with both values, and the command that mends it.

    `code` is one of target-gpu, target-tensorrt, target-python, target-platform; target-unknown where the table
    does not say enough to decide.
    """

    entry: str
    code: str
    message: str
    hint: str


def load_triton_releases(override_path: Path | None = None) -> Mapping[str, TritonRelease]:
    """Return the table of Triton containers, by tag.

    Args:
        override_path: A YAML file of the same form whose keys win; None takes the one that the environment
            variable PREP_TRITON_RELEASES names, if there is one.

    Raises:
        SpecError: The file cannot be read, or is not such a table.
    """
    path = override_path or (Path(os.environ[TABLE_VARIABLE]) if os.environ.get(TABLE_VARIABLE) else None)
    if path is None:
        return _load_own_releases()
    try:
        document = load_document(path, hint=_FORM)
    except FileNotFoundError as err:
        raise SpecError(f"the table of Triton releases {path} cannot be read: there is none", hint=_FORM) from err
    table, problems = document.value, []
    if not isinstance(table, Mapping) or not all(isinstance(row, Mapping) for row in table.values()):
        raise SpecError(f"{path} is not a table of Triton releases", hint=_FORM)
    releases = dict(_load_own_releases())
    for tag, row in table.items():
        if not isinstance(tag, str):  # YAML reads 25.10 as the number 25.1
            message = f'the release {tag!r} is without quotes, expected one such as "25.10"'
            problems.append(Problem((str(tag),), message, "put it in quotes", at_key=True))
            continue
        if "tag" in row:
            problems.append(Problem((tag, "tag"), "unknown key 'tag'", "the tag is the row's own key", at_key=True))
        known = releases[tag].model_dump() if tag in releases else {}
        release, faults = find_problems(TritonRelease, {**known, "source": str(path), **row, "tag": tag})
        if isinstance(release, TritonRelease):
            releases[tag] = release
        problems += [replace(fault, path=(tag, *fault.path)) for fault in faults]
    if problems:
        raise error_from_problems(problems, where=str(path), document=document)
    return dict(sorted(releases.items()))


_FORM = "it is YAML: \"25.08\": {triton: 2.60.0, tensorrt: 10.13.2, python: '3.12', min_compute_capability: '7.5'}"


@lru_cache(maxsize=1)
def _load_own_releases() -> Mapping[str, TritonRelease]:
    text = (resources.files("prep_triton") / "triton_releases.yaml").read_text(encoding="utf-8")
    table = parse_document(text, where="triton_releases.yaml").value
    return {tag: TritonRelease(tag=tag, **row) for tag, row in sorted(table.items())}


def resolve_target(spec: TargetSpec) -> Target:
    """Look up what a target means.

    Raises:
        SpecError: The release is not in the table.
        UnsupportedGpuError: A GPU is not known.
    """
    table = load_triton_releases(Path(spec.triton_releases) if spec.triton_releases else None)
    release = table.get(spec.triton)
    if release is None:
        raise SpecError(
            f"Triton {spec.triton} is not in the table of releases, which has {', '.join(table)}",
            hint=f"add it in a file of your own, named by triton_releases or {TABLE_VARIABLE}; {_FORM}",
        )
    gpus = {name: resolve_gpu(name).compute_capability for name in spec.gpus}
    return Target(release=release, gpus=gpus, platform=spec.platform)


def find_misfits(entry: RepositoryEntry, target: Target) -> list[Misfit]:
    """Say why an entry would not be served by a target: TensorRT version, compute capability, Python, platform.

    A plan is bound to its exact TensorRT version unless it was built version compatible (TensorRT's developer
    guide, "Version Compatibility"); which GPUs it runs on is in `prep_triton.gpus.is_runnable`.
    """
    misfits = [_misfit(entry, "target-gpu", message, hint) for message, hint in _find_gpu_misfits(entry, target)]
    for engine in _served_engines(entry):
        misfits += [_misfit(entry, *misfit) for misfit in _find_version_misfits(engine, target)]
    misfits += [_misfit(entry, *misfit) for misfit in _find_vendored_misfits(entry, target)]
    return misfits


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
                "target-unknown",
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
            f"TensorRT {served_by}",
            f"pip install 'tensorrt=={served_by}.*' on a machine with the GPU {engine.gpu}, then "
            f"prep build-engine {flags_from_precision(engine.precision)} --gpu {engine.gpu} --builder tensorrt",
        )
    ]


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
