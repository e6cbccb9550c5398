"""What `tier: 1` and `tier: 2` become in Triton, and the arguments without which they mean nothing.

Tier 1 keeps its throughput when the server is asked for more than it can do; tier 2 gets what is left. Between
models only the rate limiter arbitrates: an execution needs the one copy of a resource, and of the instances that
wait for it the one with the least `executions so far * priority` is next (triton-inference-server/core,
`src/rate_limiter.cc`, `ScaledPriority` and `AttemptAllocation`). What was measured, and by which script, is in
`scripts/measure_tiers.py`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Tier = Literal[1, 2]

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


@dataclass(frozen=True)
class Resource:
    """A resource that each execution of an entry takes (`ModelRateLimiter.Resource` in model_config.proto).

    `is_global`: one pool for the server, else one for each device.
    """

    name: str
    count: int
    is_global: bool


@dataclass(frozen=True)
class Trap:
    """Something that the server does with a configuration and nobody would expect.

    `condition` says of which configurations, `sentence` what happens and what to do about it.
    """

    name: str
    condition: str
    sentence: str


# Seen to arrive on 2.51 where the step has levels; reported as 0 on 2.43 and 23.05 (server#7116, #6055). `SetPriority`
# in core, `src/infer_request.cc`, turns whatever exceeds a step's own levels into its default.
ENSEMBLE_PRIORITY = Trap(
    "server#7116",
    "an ensemble has a step with priority levels, or is asked with priorities that a step has no level for",
    "a request's priority reaches only the steps of an ensemble that have such a level themselves, and on older "
    "servers none, where default_priority_level decides: give each step the levels and the default of its tier",
)
# With prefetching off, the count of waiting instances drifts at each merge of queued batches, for which several
# instances and a queue delay are needed (core#509, merged in July 2026). Not seen in 80,000 requests on 2.51.
DEFAULT_TIMEOUT = Trap(
    "server#8870",
    "default_timeout_microseconds is not 0, instance_count exceeds 1 and max_queue_delay_microseconds is not 0",
    "a non-zero default_timeout_microseconds is reported to lower the throughput over time until the entry is "
    "loaded again: leave it 0 and let clients give up by their own deadline, or keep instance_count 1",
)
# Seen on 2.51: 67 executions each where the weights are 1 to 2^32 - 1; 131 to 1 with a second instance.
SINGLE_INSTANCE = Trap(
    "tier 1 alternates",
    "a tier 1 entry has one instance and priority levels, a largest queue size or a timeout",
    "with priority levels or a queue policy Triton prepares no batch ahead, so a tier 1 of one instance takes turns "
    "with tier 2 whatever the weights: set instance_count 2, or remove them",
)
TRAPS = (ENSEMBLE_PRIORITY, DEFAULT_TIMEOUT, SINGLE_INSTANCE)


def rate_limiter_weight(tier: Tier) -> int:
    """Return `rate_limiter.priority`: an instance with twice the number gets half the turns, not the other way."""
    return TIER_1_WEIGHT if tier == 1 else TIER_2_WEIGHT


def rate_limiter_resource(kind: Literal["cpu", "gpu"]) -> Resource:
    """Return the resource of every entry of any tier: one pool for the CPU, one for each GPU.

    Without a resource to wait for, every execution is let through at once and weights mean nothing.
    """
    if kind == "cpu":
        return Resource(CPU_RESOURCE, RESOURCE_COUNT, is_global=True)
    return Resource(GPU_RESOURCE, RESOURCE_COUNT, is_global=False)


def stream_priority(tier: Tier) -> Literal["max", "min"]:
    """Return `optimization.priority` of a TensorRT entry: the priority of its CUDA streams."""
    return "max" if tier == 1 else "min"


def levels_of(tier: Tier) -> int:
    """Return how many priority levels an entry's queue gets: in tier 2 a request of level 1 overtakes the others.

    None in tier 1: with levels Triton prepares no batch ahead, so that one instance takes turns with tier 2 (33 % of
    its throughput kept in burst 2 of `scripts/measure_tiers.py`), and the second instance that mends this costs more
    than it gives on a CPU, where the two contend for the cores (59-76 % kept; without levels, one instance, 99 %).
    What it costs on a GPU was not measured.
    """
    return PRIORITY_LEVELS if tier == 2 else 0


def default_priority_level(tier: Tier) -> int:
    """Return the level, of `PRIORITY_LEVELS`, of a request that names none: 1 is the highest.

    Levels rank requests within one entry and do nothing between entries. For one entry that both tiers ask.
    """
    return int(tier)


def smallest_instance_count(tier: Tier, *, is_queue_ruled: bool) -> int:
    """Return how many instances an entry needs for its tier to hold.

    Args:
        tier: The entry's tier.
        is_queue_ruled: It has priority levels, a largest queue size, or a timeout (its own, or allowed to
            requests): then the batcher prefetches nothing (core, `src/scheduler_utils.cc`, `support_prefetching_`),
            and a single instance has no batch in line at the moment that the resource comes free.
    """
    return 2 if tier == 1 and is_queue_ruled else 1


def server_arguments(tiers: Iterable[Tier | None]) -> tuple[str, ...]:
    """Return the server's arguments that the tiers of a repository's entries need; none without any tier.

    The rate limiter is off by default, and then weights and resources are ignored. No ``--rate-limit-resource``:
    by default there are as many copies of a resource as the neediest instance takes, which is `RESOURCE_COUNT`,
    while naming one makes every other that a user's own entry may take unavailable.
    """
    return ("--rate-limit=execution_count",) if any(tier is not None for tier in tiers) else ()
