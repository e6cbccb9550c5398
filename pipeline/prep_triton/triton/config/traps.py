"""What the server does with a configuration and nobody would expect: one statement, for what is written and for lint.

Each rule takes the plain numbers of a configuration, so that a spec and a config.pbtxt are held to the same one.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from prep_triton.artifact import RepositoryEntry
from prep_triton.spec import QueueSpec, ServingSpec, Tier


@dataclass(frozen=True)
class Trap:
    """What happens (`message`) and what to do about it (`hint`); `name` is the issue of triton-inference-server."""

    name: str
    message: str
    hint: str

    @property
    def sentence(self) -> str:
        """The trap in one sentence."""
        return f"{self.message}: {self.hint} ({self.name})"


# Seen to arrive on 2.51 where the step has levels; reported as 0 on 2.43 and 23.05 (server#7116, #6055). `SetPriority`
# in core, `src/infer_request.cc`, turns whatever exceeds a step's own levels into its default.
ENSEMBLE_PRIORITY = Trap(
    "server#7116",
    "a request's priority reaches only the steps of an ensemble that have such a level themselves, and on older "
    "servers none, where default_priority_level decides",
    "give each step the levels and the default of its tier",
)
# With prefetching off, the count of waiting instances drifts at each merge of queued batches, for which several
# instances and a queue delay are needed (core#509, merged in July 2026). We sent 80,000 requests to 2.51 and saw no
# slowdown, so this is the report's word, and a warning.
DEFAULT_TIMEOUT = Trap(
    "server#8870",
    "a default timeout, with several instances and a queue delay, is reported to lower the throughput over time until "
    "the entry is loaded again; 80,000 requests to Triton 2.51 did not show it",
    "leave default_timeout_microseconds 0 and let clients give up by their own deadline, or keep one instance",
)
# Seen on 2.51: 67 executions each where the weights are 1 to 2^32 - 1; 131 to 1 with a second instance.
SINGLE_INSTANCE = Trap(
    "tier 1 alternates",
    "with priority levels or a queue policy Triton prepares no batch ahead, so a tier 1 of one instance takes turns "
    "with tier 2 whatever the weights",
    "set instance_count 2, or remove them",
)

# Seen on 2.51, without an issue that we know of: 128 queued requests for a small model took 3 to 7 s, not 0.04 s, and
# of 2,050 single ones five took half a second; with two instances none did.
HELD_BATCH = Trap(
    "held batches",
    "with priority levels and one instance Triton may hold a batch for up to half a second where no request follows it",
    "set instance_count 2, or remove the levels",
)

# Reported of the containers before 26.03, whose notes say that it is mended: a step that is refused never answers.
ENSEMBLE_QUEUE = Trap(
    "ensembles before 26.03",
    "a request that finds such a queue full may hang for ever in an ensemble of a Triton before 26.03",
    "serve with 26.03 or newer, or leave max_queue_size 0 and use timeouts",
)
_QUEUE_MENDED_IN = "26.03"


def hangs_when_full(tag: str, max_queue_sizes: Iterable[int]) -> bool:
    """Whether `ENSEMBLE_QUEUE` holds for a container's tag and the queues of an entry that an ensemble calls."""
    return tag < _QUEUE_MENDED_IN and any(max_queue_sizes)


def loses_priorities(*, priority_levels: int, is_composed: bool) -> bool:
    """Whether `ENSEMBLE_PRIORITY` holds: an ensemble calls an entry whose queue ranks requests."""
    return is_composed and priority_levels > 1


def slows_down(*, instances: int, queue_delay_us: int, default_timeouts_us: Iterable[int]) -> bool:
    """Whether `DEFAULT_TIMEOUT` holds.

    Args:
        instances: Over all instance groups.
        queue_delay_us: The batcher's.
        default_timeouts_us: Of the default queue policy and of every level's.
    """
    return instances > 1 and queue_delay_us > 0 and any(default_timeouts_us)


def holds_batches(*, priority_levels: int, instances: int) -> bool:
    """Whether `HELD_BATCH` holds."""
    return priority_levels > 0 and instances == 1


def smallest_instance_count(tier: Tier, *, is_queue_ruled: bool) -> int:
    """Return how many instances an entry needs for its tier to hold; fewer are `SINGLE_INSTANCE`.

    Args:
        tier: The entry's tier.
        is_queue_ruled: See `is_queue_ruled`: then the batcher prefetches nothing (core,
            `src/scheduler_utils.cc`, `support_prefetching_`), and a single instance has no batch in line at the
            moment that the resource comes free.
    """
    return 2 if tier == 1 and is_queue_ruled else 1


def is_queue_ruled(queue: QueueSpec) -> bool:
    """Whether a queue has priority levels, a largest size, or a timeout (its own, or allowed to requests)."""
    return bool(queue.priority_levels) or any(
        policy.max_queue_size or policy.default_timeout_us or policy.allow_timeout_override
        for policy in queue.policies()
    )


def find_traps(serving: ServingSpec, *, is_composed: bool) -> Iterator[Trap]:
    """Find the traps that choices lead into.

    Args:
        serving: The choices, their tier applied.
        is_composed: An ensemble calls the entry.
    """
    queue = serving.dynamic_batching
    if queue is None:
        return
    count = sum(group.count for group in serving.groups())
    timeouts_us = [policy.default_timeout_us for policy in queue.policies()]
    if loses_priorities(priority_levels=queue.priority_levels, is_composed=is_composed):
        yield ENSEMBLE_PRIORITY
    if slows_down(instances=count, queue_delay_us=queue.max_queue_delay_us, default_timeouts_us=timeouts_us):
        yield DEFAULT_TIMEOUT
    if holds_batches(priority_levels=queue.priority_levels, instances=count):
        yield HELD_BATCH
    if serving.tier and count < smallest_instance_count(serving.tier, is_queue_ruled=is_queue_ruled(queue)):
        yield SINGLE_INSTANCE


def find_ensemble_traps(ensemble: RepositoryEntry, others: Iterable[RepositoryEntry]) -> Iterator[tuple[str, Trap]]:
    """Find the traps that an ensemble leads the entries into that it calls; yields their names with each."""
    for step in others:
        queue = (step.spec.get("serving") or {}).get("dynamic_batching") or {}
        levels = int(queue.get("priority_levels") or 0)
        if loses_priorities(priority_levels=levels, is_composed=step.name in ensemble.composes):
            yield step.name, ENSEMBLE_PRIORITY
