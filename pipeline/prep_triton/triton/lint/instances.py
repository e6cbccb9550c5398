"""Rules for instance groups (core, ValidateInstanceGroup, rate_limiter.cc), and fields that a backend never reads."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from prep_triton.errors import SpecError, find_nearest
from prep_triton.spec import AcceleratorSpec, ServingSpec
from prep_triton.spec.server_rules import find_device_problem
from prep_triton.triton.config.backends import (
    BACKEND_LABELS,
    OPTIMIZATION_READERS,
    check_accelerator,
    check_backend_fields,
)
from prep_triton.triton.config.parameters import MODEL_PARAMETERS, PROVIDER_PARAMETERS, PROVIDERS_OF_FIELD
from prep_triton.triton.config.rules import (
    OPENVINO_NEEDS_CPU,
    PLAN_NEEDS_GPU,
    SCOPE_HINT,
    TakenResource,
    find_profile_problem,
    find_provider_problem,
    find_scope_problems,
)
from prep_triton.triton.lint.entry import EntryFolder
from prep_triton.triton.lint.finding import Finding

_PROFILE = re.compile(r"\s*\+?[0-9]+")  # stoi
# python_backend, python_be.cc: the backend refuses any other value.
_CPU_TENSORS = "FORCE_CPU_ONLY_INPUT_TENSORS"
# Parameters whose values no rule checks: onnxruntime_backend, README "Model Config Options"; python_backend, README.
_OTHER_PARAMETERS = {
    "onnxruntime": (
        "memory.enable_memory_arena_shrinkage", "session.use_device_allocator_for_initializers",
        "do_copy_in_default_stream", "cudnn_conv_use_max_workspace", "optimization.minimal_build_optimizations",
        "session.disable_prepacking", "level",
    ),
    "python": ("EXECUTION_ENV_PATH", _CPU_TENSORS, "TRITON_ENABLE_BATCH_CLEANUP"),
}  # fmt: skip
_KNOWN_BACKENDS = ("onnxruntime", "tensorrt", "openvino", "python")


def kind_name(group: Any) -> str:
    """Return the kind of an instance group; KIND_AUTO where it is none that is known."""
    kinds = type(group).Kind
    return str(kinds.Name(group.kind)) if group.kind in kinds.values() else "KIND_AUTO"


def find_instance_problems(entry: EntryFolder) -> Iterator[Finding]:
    """Find what is wrong with the instance groups of a model."""
    config: Any = entry.config
    for index, group in enumerate(config.instance_group):
        where, kind = f"instance_group[{index}]", kind_name(group)
        if group.kind not in type(group).Kind.values():
            message = f"kind is {group.kind}, expected one of {', '.join(type(group).Kind.keys())}"
            yield entry.at("instance-kind", f"{where}.kind", message, "set kind: KIND_GPU or KIND_CPU")
        if problem := find_device_problem(kind.removeprefix("KIND_").lower(), group.gpus):
            yield entry.at("instance-devices", f"{where}.gpus", problem, "remove gpus, or set kind: KIND_GPU")
        if min(group.gpus, default=0) < 0 or len(set(group.gpus)) < len(group.gpus):
            message = f"gpus is {list(group.gpus)}, expected device indices from 0, each once"
            yield entry.at("instance-devices", f"{where}.gpus", message, "name each GPU once")
        if entry.backend == "tensorrt" and kind in {"KIND_CPU", "KIND_MODEL"}:
            message = f"{PLAN_NEEDS_GPU}, and this instance is of {kind}"
            yield entry.at("instance-kind", f"{where}.kind", message, "set kind: KIND_GPU")
        if entry.backend == "openvino" and kind in {"KIND_GPU", "KIND_MODEL"}:
            message = f"{OPENVINO_NEEDS_CPU}, and this instance is of {kind}"
            yield entry.at("instance-kind", f"{where}.kind", message, "set kind: KIND_CPU")
        if group.profile:
            yield from _find_profile_problems(entry, group, f"{where}.profile")


def _find_profile_problems(entry: EntryFolder, group: Any, where: str) -> Iterator[Finding]:
    if entry.backend != "tensorrt":
        message = f"profile is TensorRT's alone, and the backend is {entry.backend or 'unknown'}"
        yield entry.at("instance-devices", where, message, "remove profile")
        return
    engines = entry.manifest.engines if entry.manifest else ()
    count, gpu = min(((len(engine.profiles), engine.gpu) for engine in engines), default=(None, ""))
    for name in group.profile:
        if not _PROFILE.fullmatch(name):
            message = f"profile '{name}' is not an index from 0"
            yield entry.at("instance-profile", where, message, "write the index of an optimization profile")
        elif count is not None and (problem := find_profile_problem(int(name), count, gpu)):
            yield entry.at("instance-profile", where, problem, f"keep profiles within 0..{count - 1}, or build again")


def find_resource_problems(entries: Sequence[EntryFolder]) -> Iterator[Finding]:
    """Find rate limiter resources that are global here and of a device there (core, rate_limiter.cc)."""
    by_name = {entry.name: entry for entry in entries}
    taken = [
        TakenResource(entry.name, resource.name, "global" if getattr(resource, "global") else "device")
        for entry in entries
        for group in (entry.config.instance_group if entry.config is not None else ())
        for resource in group.rate_limiter.resources
    ]
    for resource, problem in find_scope_problems(taken):
        yield by_name[resource.place].at("rate-limiter-resource", "instance_group", problem, SCOPE_HINT)


def find_backend_problems(entry: EntryFolder) -> Iterator[Finding]:
    """Find fields that mean nothing to the entry's backend."""
    config: Any = entry.config
    backend = entry.backend
    if backend not in _KNOWN_BACKENDS:
        return
    for descriptor, _ in config.optimization.ListFields():
        name = descriptor.name
        if OPTIMIZATION_READERS.get(name, backend) != backend:
            where = f"optimization.{name}"
            yield entry.at(
                "backend-ignores-field", where, f"the {backend} backend never reads {where}", f"remove {where}"
            )
    if config.model_operations.op_library_filename and backend != "onnxruntime":
        where = "model_operations.op_library_filename"
        yield entry.at("backend-ignores-field", where, f"the {backend} backend never reads {where}", f"remove {where}")
    if config.cc_model_filenames and config.instance_group and not _may_use_gpu(config):
        message = "cc_model_filenames chooses by GPU, and no instance is on a GPU"
        yield entry.at("backend-ignores-field", "cc_model_filenames", message, "remove it, or set kind: KIND_GPU")
    if backend == "onnxruntime":
        yield from _find_accelerator_problems(entry)
    yield from _find_parameter_problems(entry)


def _find_parameter_problems(entry: EntryFolder) -> Iterator[Finding]:
    config: Any = entry.config
    backend = entry.backend
    known = (*(MODEL_PARAMETERS[backend] if backend in BACKEND_LABELS else ()), *_OTHER_PARAMETERS.get(backend, ()))
    for key in sorted(config.parameters):
        where = f"parameters.{key}"
        nearest = find_nearest(key, known)
        if nearest and nearest[0] != key and _is_misspelt(key, nearest[0]):
            message = f"the {backend} backend does not know the parameter '{key}'"
            yield entry.at("backend-parameter", where, message, f"did you mean '{nearest[0]}'?")
        value = config.parameters[key].string_value
        if (backend, key) == ("python", _CPU_TENSORS) and value not in {"yes", "no"}:
            yield entry.at("parameter-value", where, f"{key} is '{value}', expected yes or no", f"remove {key}")
        if backend not in BACKEND_LABELS:
            continue
        try:
            check_backend_fields(ServingSpec(parameters={key: value}), backend)
        except SpecError as err:
            yield entry.at("parameter-value", where, err.message, err.hint)


def _is_misspelt(word: str, known: str) -> bool:
    """Whether two words differ by two letters at most: parameters of a user's own are none of our business."""
    have, expected = Counter(word.lower()), Counter(known.lower())
    return ((have - expected) + (expected - have)).total() <= 2


def _may_use_gpu(config: Any) -> bool:
    return any(kind_name(group) in {"KIND_AUTO", "KIND_GPU"} for group in config.instance_group)


def _find_accelerator_problems(entry: EntryFolder) -> Iterator[Finding]:
    config: Any = entry.config
    accelerators = config.optimization.execution_accelerators
    on_gpu = _may_use_gpu(config) or not config.instance_group
    for field, known in PROVIDERS_OF_FIELD.items():
        where = f"optimization.execution_accelerators.{field}"
        for accelerator in getattr(accelerators, field):
            if accelerator.name not in known:
                message = f"ONNX Runtime's backend does not know the {field} '{accelerator.name}'"
                yield entry.at("backend-accelerator", where, message, f"use {' or '.join(known)}, or remove it")
            elif problem := find_provider_problem(
                accelerator.name, is_for_gpu=field.startswith("gpu"), has_gpu_instance=on_gpu
            ):
                yield entry.at("backend-ignores-field", where, problem, "remove it, or set kind: KIND_GPU")
            else:
                yield from _find_provider_parameter_problems(entry, accelerator, where)


def _find_provider_parameter_problems(entry: EntryFolder, accelerator: Any, where: str) -> Iterator[Finding]:
    name = accelerator.name
    for key in sorted(accelerator.parameters):
        if not PROVIDER_PARAMETERS[name]:
            message = f"the ONNX Runtime backend reads no parameter of {name}, such as '{key}'"
            yield entry.at("backend-ignores-field", where, message, f"remove {key}")
            continue
        try:
            check_accelerator(AcceleratorSpec(name=name, parameters={key: accelerator.parameters[key]}))
        except SpecError as err:
            yield entry.at("parameter-value", where, err.message, err.hint)
