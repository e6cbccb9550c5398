"""What `tier: 1` and `tier: 2` become in Triton: a stream's priority, and a share between models.

Tier 1 keeps its throughput when the server is asked for more than it can do; tier 2 gets what is left. Between
models only the rate limiter arbitrates: an execution needs the one copy of a resource, and of the instances that
wait for it the one with the least `executions so far * priority` is next (triton-inference-server/core,
`src/rate_limiter.cc`, `ScaledPriority` and `AttemptAllocation`). It is off unless the server is started with
`prep_triton.triton.config.server_arguments.RATE_LIMIT`. `prep bench --bursts` measures what they are worth, and
docs/figures.md has what it found. Whatever the user wrote of these wins.

Priority levels within a queue are no part of a tier. In tier 1 Triton prepares no batch ahead where there are some, so
that one instance takes turns with tier 2 (33 % of its throughput kept in burst 2), and two contend for a CPU (59-76 %;
without levels, one instance, 99 %). In tier 2 they hold batches back: see `HELD_BATCH` in `traps`.
"""

from typing import Any

from prep_triton.spec import (
    InstanceGroupSpec,
    InstanceKind,
    RateLimiterSpec,
    ResourceSpec,
    Runtime,
    ServingSpec,
    StreamPriority,
    Tier,
)
from prep_triton.triton.config.instances import kind_of
from prep_triton.triton.config.traps import is_queue_ruled, smallest_instance_count

# The server's count of executions starts at 0 when an instance is loaded and is never reset or aged. With a small
# ratio, say 16, a tier 2 that was idle or has just been reloaded is owed a sixteenth of all that tier 1 ever did, and
# takes it in one go while tier 1 waits. So the ratio is the largest that the field holds (uint32): tier 1 first,
# tier 2 in every gap that it leaves.
TIER_2_WEIGHT = 2**32 - 1
# Entries without a tier, such as tokenizers, count as 1, and whatever is first in line but waits for the resource
# holds up all behind it, even those that need no resource (core, `AttemptAllocation`; server#8358). At 1000 a BERT
# comes behind its tokenizer as long as that runs at most 1000 times for each batch.
TIER_1_WEIGHT = 1000
# An execution takes its resource whole, so that tier 2 never runs beside tier 1 and tier 1 waits for at most one
# batch of tier 2. The names differ, since one name must not be both global and of a device (`ValidateMaxResources`).
RESOURCE_COUNT = 1
CPU_RESOURCE = "prep-cpu"
GPU_RESOURCE = "prep-gpu"


def rate_limiter_weight(tier: Tier) -> int:
    """Return `rate_limiter.priority`: an instance with twice the number gets half the turns, not the other way."""
    return TIER_1_WEIGHT if tier == 1 else TIER_2_WEIGHT


def rate_limiter_resource(kind: InstanceKind) -> ResourceSpec:
    """Return the resource of every entry of any tier: one pool for the CPU, one for each GPU.

    Without a resource to wait for, every execution is let through at once and weights mean nothing.
    """
    if kind == "cpu":
        return ResourceSpec(name=CPU_RESOURCE, count=RESOURCE_COUNT, scope="global")
    return ResourceSpec(name=GPU_RESOURCE, count=RESOURCE_COUNT, scope="device")


def stream_priority(tier: Tier) -> StreamPriority:
    """Return `optimization.priority` of a TensorRT entry: the priority of its CUDA streams."""
    return "max" if tier == 1 else "min"


def apply_tier(serving: ServingSpec, backend: Runtime) -> ServingSpec:
    """Return the choices with the tier's own where the user made none.

    Raises:
        SpecError: A plan was to run on a CPU.
    """
    tier = serving.tier
    if tier is None:
        return serving
    changed: dict[str, Any] = {}
    if backend == "tensorrt" and "stream_priority" not in serving.model_fields_set:
        changed["stream_priority"] = stream_priority(tier)
    if serving.instance_groups:
        changed["instance_groups"] = tuple(_limit_group(group, tier, backend) for group in serving.instance_groups)
    elif serving.rate_limiter is None:
        changed["rate_limiter"] = _limiter(serving.groups()[0], tier, backend)
    queue = serving.dynamic_batching
    if not {"instance_count", "instance_groups"} & serving.model_fields_set:
        is_ruled = queue is not None and is_queue_ruled(queue)
        changed["instance_count"] = smallest_instance_count(tier, is_queue_ruled=is_ruled)
    return serving.model_copy(update=changed)


def _limit_group(group: InstanceGroupSpec, tier: Tier, backend: Runtime) -> InstanceGroupSpec:
    if group.rate_limiter:
        return group
    return group.model_copy(update={"rate_limiter": _limiter(group, tier, backend)})


def _limiter(group: InstanceGroupSpec, tier: Tier, backend: Runtime) -> RateLimiterSpec:
    resource = rate_limiter_resource(kind_of(group, backend))
    return RateLimiterSpec(resources=(resource,), priority=rate_limiter_weight(tier))
