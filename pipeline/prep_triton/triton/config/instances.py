"""Instance groups and their shares: `ModelInstanceGroup` and `ModelRateLimiter` of model_config.proto."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, assert_never

from prep_triton.artifact import Engine, OnnxModel
from prep_triton.errors import SpecError
from prep_triton.spec import InstanceGroupSpec, InstanceKind, RateLimiterSpec, Runtime, ServingSpec
from prep_triton.triton.config.rules import (
    OPENVINO_NEEDS_CPU,
    PLAN_NEEDS_GPU,
    SCOPE_HINT,
    TakenResource,
    find_scope_problems,
)
from prep_triton.triton.config.shapes import profiles_of_groups

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig

_RESOURCE_NAME = re.compile(r"[A-Za-z0-9_.-]+")


def fill_instances(
    config: "ModelConfig", artifact: OnnxModel | Sequence[Engine], serving: ServingSpec, backend: Runtime
) -> None:
    """Write the instance groups of choices that were resolved for the artifact."""
    profiles = () if isinstance(artifact, OnnxModel) else profiles_of_groups(artifact, serving)
    for index, group in enumerate(serving.groups()):
        message = config.instance_group.add(count=group.count, kind=f"KIND_{kind_of(group, backend).upper()}")
        message.gpus.extend(group.gpus)
        # Without a list the backend uses the first profile alone, which is all there is where there is one.
        if profiles and (group.profiles or len(profiles[index]) > 1):
            message.profile.extend(str(profile) for profile in profiles[index])
        if group.rate_limiter:
            _fill_rate_limiter(message.rate_limiter, group.rate_limiter)


def kind_of(group: InstanceGroupSpec, backend: Runtime) -> InstanceKind:
    """Return where a group's instances run.

    Raises:
        SpecError: A plan was to run on a CPU, or OpenVINO on a GPU.
    """
    kind = group.kind or ("gpu" if group.gpus else None)
    own: InstanceKind
    match backend:
        case "onnxruntime":
            return kind or "cpu"
        case "openvino":
            own, other, problem = "cpu", "gpu", OPENVINO_NEEDS_CPU
        case "tensorrt":
            own, other, problem = "gpu", "cpu", PLAN_NEEDS_GPU
        case _:
            assert_never(backend)
    if kind == other:
        raise SpecError(
            f"instance_kind {kind} was asked for, but {problem}",
            hint="remove instance_kind and gpus, or use runtime: onnxruntime",
        )
    return own


def check_resources(serving: ServingSpec) -> None:
    """Refuse resources that the rate limiter cannot hand out (core, src/rate_limiter.cc, ResourceManager)."""
    taken: list[TakenResource] = []
    for index, group in enumerate(serving.groups()):
        named: set[str] = set()
        for resource in group.rate_limiter.resources if group.rate_limiter else ():
            if not _RESOURCE_NAME.fullmatch(resource.name):
                raise SpecError(
                    f"the resource '{resource.name}' cannot be named in --rate-limit-resource",
                    hint="name it with letters, digits, '.', '_' and '-'",
                )
            taken.append(TakenResource(f"instance group {index}", resource.name, resource.scope))
            for _, problem in find_scope_problems(taken):
                raise SpecError(problem, hint=SCOPE_HINT)
            if resource.name in named:
                raise SpecError(
                    f"the resource {resource.name} is listed twice in one instance group; the server keeps the last",
                    hint="list it once, with the sum as its count",
                )
            named.add(resource.name)


def _fill_rate_limiter(message: Any, limiter: RateLimiterSpec) -> None:
    message.priority = limiter.priority
    for resource in limiter.resources:
        # The proto's word is also Python's; there is no other way to name the field.
        message.resources.add(name=resource.name, count=resource.count, **{"global": resource.scope == "global"})
    message.SetInParent()
