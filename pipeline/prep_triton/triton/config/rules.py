"""Rules of the server and its backends for what is served, each stated once: for the writer and for lint.

Each function takes plain values, and returns what is wrong in a sentence, or None. Rules about a user's choices
alone are in `prep_triton.spec.server_rules`; what the server does unexpectedly is in `traps`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from prep_triton.artifact import Engine

PLAN_NEEDS_GPU = "a TensorRT plan runs on a GPU only"
# openvino_backend, src/openvino.cc, ModelInstanceState: "supports only Kind CPU and AUTO".
OPENVINO_NEEDS_CPU = "Triton's OpenVINO backend runs on a CPU only"
SCOPE_HINT = "give it one scope in both, or two names"


def find_builder_problem(engine: Engine) -> str | None:
    """The TensorRT backend loads what TensorRT built."""
    if engine.builder == "tensorrt":
        return None
    return (
        f"the {engine.gpu} engine was built by {engine.builder} {engine.builder_version}: an RTX engine is never a "
        "plan, and no Triton backend loads it"
    )


def find_profile_problem(index: int, count: int, gpu: str) -> str | None:
    """An instance uses optimization profiles that its plan has."""
    if 0 <= index < count:
        return None
    return f"the {gpu} engine does not have the profile {index}: it has {count}, numbered from 0"


def find_plan_batch_problem(asked: int, size: int, gpu: str) -> str | None:
    """A plan takes no batch beyond its optimization profiles."""
    if asked <= size:
        return None
    return f"max_batch_size {asked} exceeds the batch of the {gpu} engine's profile, {size}"


def find_bucket_problem(bucket: int, longest: int) -> str | None:
    """No length bucket is beyond what the model takes."""
    if bucket <= longest:
        return None
    return f"length bucket {bucket} exceeds the model's longest sequence, {longest}"


def find_provider_problem(name: str, *, is_for_gpu: bool, has_gpu_instance: bool) -> str | None:
    """A GPU's execution provider is for instances on a GPU."""
    if not is_for_gpu or has_gpu_instance:
        return None
    return f"the execution accelerator {name} is for GPU instances, and there is none"


@dataclass(frozen=True)
class TakenResource:
    """A resource that instances take; `place` is the entry or the instance group, `scope` is device or global."""

    place: str
    name: str
    scope: str


def find_scope_problems(taken: Iterable[TakenResource]) -> Iterator[tuple[TakenResource, str]]:
    """A resource is each device's or the whole server's (core, ``src/rate_limiter.cc``, `ValidateMaxResources`).

    Yields:
        Each that is of another scope than the first of its name, with what is wrong.
    """
    first: dict[str, TakenResource] = {}
    for resource in taken:
        other = first.setdefault(resource.name, resource)
        if other.scope != resource.scope:
            message = (
                f"the resource {resource.name} is of scope {resource.scope} in {resource.place} and of scope "
                f"{other.scope} in {other.place}: the server's rate limiter refuses both together"
            )
            yield resource, message
