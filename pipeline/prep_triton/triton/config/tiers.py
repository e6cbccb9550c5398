"""What `tier: 1` and `tier: 2` become in Triton: a stream's priority, a share between models, levels within a queue.

Tier 1 keeps its throughput when the server is asked for more than it can do; tier 2 gets what is left. Between
models only the rate limiter arbitrates: an execution needs the one copy of a resource, and of the instances that
wait for it the one with the least `executions so far * priority` is next (triton-inference-server/core,
`src/rate_limiter.cc`, `ScaledPriority` and `AttemptAllocation`). It is off unless the server is started with
`prep_triton.triton.config.server_arguments.RATE_LIMIT`. `prep bench --bursts` measures what they are worth, and
docs/figures.md has what it found. Whatever the user wrote of these wins.
"""

from typing import Any

from prep_triton.spec import (
    InstanceGroupSpec,
    InstanceKind,
    QueueSpec,
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
PRIORITY_LEVELS = 2


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


def levels_of(tier: Tier) -> int:
    """Return how many priority levels an entry's queue gets: in tier 2 a request of level 1 overtakes the others.

    None in tier 1: with levels Triton prepares no batch ahead, so that one instance takes turns with tier 2 (33 % of
    its throughput kept in burst 2 of `prep bench --bursts`), and the second instance that mends this
    costs more than it gives on a CPU, where the two contend for the cores (59-76 % kept; without levels, one instance,
    99 %). What it costs on a GPU was not measured.
    """
    return PRIORITY_LEVELS if tier == 2 else 0


def default_priority_level(tier: Tier) -> int:
    """Return the level, of `PRIORITY_LEVELS`, of a request that names none: 1 is the highest.

    Levels rank requests within one entry and do nothing between entries. For one entry that both tiers use.
    """
    return int(tier)


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
    if queue is not None:
        queue = changed["dynamic_batching"] = _rank_queue(queue, tier)
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


def _rank_queue(queue: QueueSpec, tier: Tier) -> QueueSpec:
    """Give a queue of tier 2 its levels, unless it has some, or keeps an order that levels would break.

    In tier 1 nothing overtakes anything: see `levels_of`.
    """
    if not levels_of(tier) or "priority_levels" in queue.model_fields_set or queue.preserve_ordering:
        return queue
    levels = {"priority_levels": levels_of(tier), "default_priority_level": default_priority_level(tier)}
    return queue.model_copy(update=levels)
