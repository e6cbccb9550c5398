"""The dynamic batcher and its queue: `ModelDynamicBatching` of model_config.proto."""

from typing import TYPE_CHECKING, Any

from prep_triton.errors import SpecError
from prep_triton.spec import QueuePolicySpec, QueueSpec, ServingSpec, server_rules

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig


# Of a queue, what means something only where requests are merged.
MERGING_CHOICES = ("max_queue_delay_us", "preferred_batch_sizes")


def fill_dynamic_batching(config: "ModelConfig", serving: ServingSpec) -> None:
    """Write the batcher of a configuration whose `max_batch_size` is set already.

    Raises:
        SpecError: The server would refuse it (core, src/model_config_utils.cc, ValidateModelConfig).
    """
    queue, largest = serving.dynamic_batching, config.max_batch_size
    if queue is None:
        return
    check_queue(queue, largest)
    if largest <= 1 and not _has_queue_choices(queue):
        return  # nothing to batch, and no queue to rank
    batching = config.dynamic_batching
    batching.max_queue_delay_microseconds = queue.max_queue_delay_us if largest else 0
    batching.preferred_batch_size.extend(queue.preferred_batch_sizes)
    batching.preserve_ordering = queue.preserve_ordering
    if queue.priority_levels:
        batching.priority_levels = queue.priority_levels
        batching.default_priority_level = queue.default_priority_level
    if queue.default_queue_policy:
        _fill_policy(batching.default_queue_policy, queue.default_queue_policy)
    for level, policy in queue.priority_queue_policies.items():
        _fill_policy(batching.priority_queue_policy[level], policy)
    batching.SetInParent()


def check_queue(queue: QueueSpec, largest: int) -> None:
    """Refuse what the server refuses in a queue, given the largest batch."""
    for size in queue.preferred_batch_sizes:
        if problem := server_rules.find_preferred_size_problem(size, largest):
            raise SpecError(problem, hint=f"keep preferred_batch_sizes within 1..{largest}")
    delays = any(policy.default_timeout_us and policy.timeout_action == "delay" for policy in queue.policies())
    if problem := server_rules.find_delay_problem(is_ordered=queue.preserve_ordering, delays=delays):
        raise SpecError(problem, hint="write timeout_action: reject, or remove preserve_ordering")


def _has_queue_choices(queue: QueueSpec) -> bool:
    return bool(
        queue.priority_levels or queue.preserve_ordering or queue.default_queue_policy or queue.priority_queue_policies
    )


def _fill_policy(message: Any, policy: QueuePolicySpec) -> None:
    message.timeout_action = policy.timeout_action.upper()
    message.default_timeout_microseconds = policy.default_timeout_us
    message.allow_timeout_override = policy.allow_timeout_override
    message.max_queue_size = policy.max_queue_size
    message.SetInParent()
