"""What `tier` becomes in a configuration: a stream's priority, a share between models, levels within a queue.

The numbers, and why they are so, are in `prep_triton.triton.config.tiers`; whatever the user wrote of these wins.
"""

import logging
from collections.abc import Iterable, Iterator
from typing import Any

from prep_triton.artifact import RepositoryEntry
from prep_triton.spec import InstanceGroupSpec, QueueSpec, RateLimiterSpec, ResourceSpec, Runtime, ServingSpec, Tier
from prep_triton.triton.config import tiers
from prep_triton.triton.config.instances import kind_of

log = logging.getLogger(__name__)


def apply_tier(serving: ServingSpec, backend: Runtime) -> ServingSpec:
    """Return the choices with the tier's own where the user made none; applying it again changes nothing.

    Raises:
        SpecError: A plan was to run on a CPU.
    """
    tier = serving.tier
    if tier is None:
        return serving
    changed: dict[str, Any] = {}
    if backend == "tensorrt" and "stream_priority" not in serving.model_fields_set:
        changed["stream_priority"] = tiers.stream_priority(tier)
    if serving.instance_groups:
        changed["instance_groups"] = tuple(_limit_group(group, tier, backend) for group in serving.instance_groups)
    elif serving.rate_limiter is None:
        changed["rate_limiter"] = _limiter(serving.groups()[0], tier, backend)
    queue = serving.dynamic_batching
    if queue is not None:
        queue = changed["dynamic_batching"] = _rank_queue(queue, tier)
    if not {"instance_count", "instance_groups"} & serving.model_fields_set:
        is_ruled = queue is not None and is_queue_ruled(queue)
        changed["instance_count"] = tiers.smallest_instance_count(tier, is_queue_ruled=is_ruled)
    return serving.model_copy(update=changed)


def is_queue_ruled(queue: QueueSpec) -> bool:
    """Whether a queue has a rule for which the server prepares no batch ahead (see `smallest_instance_count`)."""
    policies = [queue.default_queue_policy, *queue.priority_queue_policies.values()]
    return bool(queue.priority_levels) or any(
        policy and (policy.max_queue_size or policy.default_timeout_us or policy.allow_timeout_override)
        for policy in policies
    )


def find_traps(serving: ServingSpec, *, is_composed: bool) -> Iterator[tiers.Trap]:
    """Find the known traps of the server that choices lead into.

    Args:
        serving: The choices, their tier applied.
        is_composed: An ensemble calls the entry.
    """
    queue = serving.dynamic_batching
    if queue is None:
        return
    count = sum(group.count for group in serving.groups())
    policies = [queue.default_queue_policy, *queue.priority_queue_policies.values()]
    if is_composed and queue.priority_levels:
        yield tiers.ENSEMBLE_PRIORITY
    if count > 1 and queue.max_queue_delay_us and any(policy and policy.default_timeout_us for policy in policies):
        yield tiers.DEFAULT_TIMEOUT
    if serving.tier and count < tiers.smallest_instance_count(serving.tier, is_queue_ruled=is_queue_ruled(queue)):
        yield tiers.SINGLE_INSTANCE


def warn_of_traps(name: str, serving: ServingSpec, *, is_composed: bool) -> None:
    """Log the traps that an entry's choices lead into."""
    for trap in find_traps(serving, is_composed=is_composed):
        log.warning("%s: %s (%s)", name, trap.sentence, trap.name)


def warn_of_ensemble_traps(entry: RepositoryEntry, others: Iterable[RepositoryEntry]) -> None:
    """Log the traps that an ensemble leads the entries into that it calls."""
    for step in others:
        queue = (step.spec.get("serving") or {}).get("dynamic_batching") or {}
        if step.name in entry.composes and queue.get("priority_levels"):
            trap = tiers.ENSEMBLE_PRIORITY
            log.warning("%s, in %s: %s (%s)", step.name, entry.name, trap.sentence, trap.name)


def _limit_group(group: InstanceGroupSpec, tier: Tier, backend: Runtime) -> InstanceGroupSpec:
    if group.rate_limiter:
        return group
    return group.model_copy(update={"rate_limiter": _limiter(group, tier, backend)})


def _limiter(group: InstanceGroupSpec, tier: Tier, backend: Runtime) -> RateLimiterSpec:
    taken = tiers.rate_limiter_resource(kind_of(group, backend))
    resource = ResourceSpec(name=taken.name, count=taken.count, scope="global" if taken.is_global else "device")
    return RateLimiterSpec(resources=(resource,), priority=tiers.rate_limiter_weight(tier))


def _rank_queue(queue: QueueSpec, tier: Tier) -> QueueSpec:
    """Give a queue of tier 2 its levels, unless it has some, or keeps an order that levels would break.

    In tier 1 nothing overtakes anything: see `tiers.levels_of`.
    """
    if not tiers.levels_of(tier) or "priority_levels" in queue.model_fields_set or queue.preserve_ordering:
        return queue
    levels = {"priority_levels": tiers.levels_of(tier), "default_priority_level": tiers.default_priority_level(tier)}
    return queue.model_copy(update=levels)
