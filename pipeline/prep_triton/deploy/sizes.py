"""What one server takes of disk and memory, estimated from the release that it serves.

Each estimate is kept with the sum that it is of, which becomes an annotation. What `prep bench` measured replaces an
estimate: see `prep_triton.deploy.measured`.
"""

import math
import re
from collections.abc import Sequence

from prep_triton.artifact import Record, RepositoryEntry
from prep_triton.deploy.request import ServedRelease
from prep_triton.spec import MOST_ROWS
from prep_triton.target import list_instances

SCRATCH_GIB = 1
# The container's logs, and what its entry point writes into its own layer.
LAYER_GIB = 1
SMALLEST_START_S = 600
# A slow bucket, and the loading of a plan.
START_BYTES_PER_S = 20 << 20

# The server itself, its backends' libraries, and Triton's pool of pinned memory.
_SERVER_MIB = 2048
# A Python process with a tokenizer or NumPy: the first of an entry, and each further instance.
_PYTHON_MIB = 512
_PYTHON_INSTANCE_MIB = 256
# Of /dev/shm: the server's own, and each Python entry's.
_SHM_MIB = 256
_SHM_PYTHON_MIB = 128

_VALUE_BYTES = {"FP16": 2, "FP32": 4, "INT32": 4, "INT64": 8}
_MIB = 1 << 20
_GIB = 1 << 30
# Memory that an entry asks the server for: the response cache, and more pinned memory.
_POOL_ARGUMENT = re.compile(
    r"--(?:cache-config=local,size|response-cache-byte-size|pinned-memory-pool-byte-size)=([0-9]+)"
)


class Sizes(Record):
    """What one server takes, from the size of what it serves; `reasons` says what each sum is of."""

    models_gib: int
    cache_gib: int
    shared_memory_mib: int
    memory_gib: int
    start_s: int
    cpu: str = "3"  # of a node with four, the system takes a part of one
    reasons: dict[str, str]


def measure_release(release: ServedRelease) -> Sizes:
    """Return what a server of a release takes.

    Triton copies a model's whole folder for every version that it loads (core, src/filesystem, `LocalizePath`). The
    volume outlives a container, so that one which was killed leaves its copy to its successor, which copies again: the
    room is for two. A runtime holds the weights once more while it loads them. Shared memory counts as memory.
    """
    copied = sum(_size(entry) * _count_versions(entry) for entry in release.entries)
    shared_mib = measure_shared_memory_mib(release.entries)
    parts = {
        "the server": _SERVER_MIB,
        "the models, which loading holds twice": _to_mib(2 * release.size_bytes),
        "further instances of ONNX Runtime on a CPU, each with its weights": _to_mib(_instance_bytes(release.entries)),
        "Python processes": _measure_python_mib(release.entries),
        "pools that entries ask for": _to_mib(_pool_bytes(release.server_arguments)),
        "shared memory": shared_mib,
    }
    models_gib = math.ceil(2 * copied / _GIB) + 1
    return Sizes(
        models_gib=models_gib,
        cache_gib=math.ceil(release.size_bytes / _GIB) + 1,
        shared_memory_mib=shared_mib,
        memory_gib=math.ceil(sum(parts.values()) * _MIB / _GIB),
        start_s=max(SMALLEST_START_S, math.ceil(release.size_bytes / START_BYTES_PER_S)),
        reasons={
            "memory": "an estimate, MiB: " + ", ".join(f"{mib:,} {name}" for name, mib in parts.items() if mib),
            "shared-memory": _describe_shared_memory(release.entries, shared_mib),
            "models": f"{_to_mib(copied):,} MiB that Triton copies, again where a container is killed, and 1 GiB",
        },
    )


def measure_shared_memory_mib(entries: Sequence[RepositoryEntry]) -> int:
    """Return what a server of some entries needs of /dev/shm, MiB.

    The Python backend's parent and stubs talk through it: beside what every stub takes, a full batch of the longest
    sequence in each instance.
    """
    return _SHM_MIB + _SHM_PYTHON_MIB * len(_list_python(entries)) + _to_mib(sum(_list_batches(entries).values()))


def _describe_shared_memory(entries: Sequence[RepositoryEntry], total_mib: int) -> str:
    parts = [f"{_SHM_MIB}", *(f"{_SHM_PYTHON_MIB} for {entry.name}" for entry in _list_python(entries))]
    parts += [
        f"{_to_mib(size):,} for a full batch of the longest bucket in every instance of {name}"
        for name, size in _list_batches(entries).items()
    ]
    return f"{total_mib:,} MiB: {', '.join(parts)}"


def _list_python(entries: Sequence[RepositoryEntry]) -> list[RepositoryEntry]:
    return [entry for entry in entries if entry.runtime == "python"]


def _measure_python_mib(entries: Sequence[RepositoryEntry]) -> int:
    return sum(_PYTHON_MIB + (_count_instances(entry) - 1) * _PYTHON_INSTANCE_MIB for entry in _list_python(entries))


def _list_batches(entries: Sequence[RepositoryEntry]) -> dict[str, int]:
    """Return the bytes that each tokenizer and post-processor hands on, in all its instances, by its name."""
    by_name = {entry.name: entry for entry in entries}
    steps = [(entry, by_name.get(entry.serves or "")) for entry in _list_python(entries)]
    return {step.name: _batch_bytes(step, model) for step, model in steps if model and model.onnx}


def _batch_bytes(step: RepositoryEntry, model: RepositoryEntry) -> int:
    """Return the bytes of a full batch of the longest length bucket, in all instances of a tokenizer or post-processor.

    A tokenizer hands on what the model takes; a post-processor takes what the model gives, and perhaps the ids.
    """
    if model.onnx is None:  # of an older prep
        return 0
    sizes = {"batch": model.max_batch_size or MOST_ROWS, "sequence": max(model.length_buckets, default=1)}
    tensors = (*model.onnx.model_inputs, *(model.onnx.model_outputs if step.kind == "postprocessor" else ()))
    values = [(tensor.dtype, math.prod(_axis(axis, sizes) for axis in tensor.shape)) for tensor in tensors]
    return _count_instances(step) * sum(_VALUE_BYTES.get(dtype, 8) * count for dtype, count in values)


def _axis(axis: int | str, sizes: dict[str, int]) -> int:
    return axis if isinstance(axis, int) else sizes.get(axis, sizes["sequence"])


def _count_instances(step: RepositoryEntry) -> int:
    return sum(group.count for group in list_instances(step))


def _size(entry: RepositoryEntry) -> int:
    return sum(file.size for file in entry.files.values())


def _count_versions(entry: RepositoryEntry) -> int:
    """Return how many versions an entry has at most; Triton serves those that its version policy names."""
    return max(1, len({name.partition("/")[0] for name in entry.files if name.partition("/")[0].isdecimal()}))


def _instance_bytes(entries: Sequence[RepositoryEntry]) -> int:
    """Return the weights of ONNX Runtime's instances on a CPU beyond the first: each has a session of its own.

    Source: onnxruntime_backend, src/onnxruntime.cc, where ``share_session_between_instances`` is off.
    """
    on_cpu = {
        entry.name: sum(group.count for group in list_instances(entry) if not group.is_on_gpu)
        for entry in entries
        if entry.kind == "model" and entry.runtime == "onnxruntime"
    }
    return sum(max(0, on_cpu.get(entry.name, 0) - 1) * _size(entry) for entry in entries)


def _pool_bytes(arguments: Sequence[str]) -> int:
    return sum(int(match[1]) for argument in arguments if (match := _POOL_ARGUMENT.fullmatch(argument)))


def _to_mib(size_bytes: int) -> int:
    return math.ceil(size_bytes / _MIB)
