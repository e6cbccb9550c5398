"""What a tier becomes."""

import pytest
from prep_triton.triton.config.tiers import (
    PRIORITY_LEVELS,
    RESOURCE_COUNT,
    TRAPS,
    Resource,
    default_priority_level,
    rate_limiter_resource,
    rate_limiter_weight,
    server_arguments,
    smallest_instance_count,
    stream_priority,
)

UINT32_MAX = 2**32 - 1


def test_weights_fit_the_field_and_rank_untiered_before_tier_1_before_tier_2():
    untiered = 1  # what the server takes for an instance that names no priority
    assert untiered < rate_limiter_weight(1) < rate_limiter_weight(2) <= UINT32_MAX


def test_tier_2_is_owed_little_after_a_month_of_tier_1_alone():
    executions = 30 * 24 * 3600 * 100  # 100 batches a second
    assert executions * rate_limiter_weight(1) / rate_limiter_weight(2) < 100


def test_cpu_entries_share_one_pool_and_gpu_entries_one_for_each_device():
    cpu, gpu = rate_limiter_resource("cpu"), rate_limiter_resource("gpu")
    assert cpu == Resource("prep-cpu", RESOURCE_COUNT, is_global=True)
    assert gpu == Resource("prep-gpu", RESOURCE_COUNT, is_global=False)


def test_tiers_name_streams_and_levels():
    assert (stream_priority(1), stream_priority(2)) == ("max", "min")
    assert [default_priority_level(tier) for tier in (1, 2)] == list(range(1, PRIORITY_LEVELS + 1))


@pytest.mark.parametrize(
    ("tier", "is_queue_ruled", "count"), [(1, False, 1), (1, True, 2), (2, False, 1), (2, True, 1)]
)
def test_only_a_tier_1_whose_queue_is_ruled_needs_a_second_instance(tier, is_queue_ruled, count):
    assert smallest_instance_count(tier, is_queue_ruled=is_queue_ruled) == count


@pytest.mark.parametrize("tiers", [[1], [2], [None, 2], [1, 2]])
def test_any_tier_turns_the_rate_limiter_on(tiers):
    assert server_arguments(tiers) == ("--rate-limit=execution_count",)


@pytest.mark.parametrize("tiers", [[], [None, None]])
def test_a_repository_without_tiers_needs_no_arguments(tiers):
    assert server_arguments(tiers) == ()


def test_traps_tell_when_and_what():
    assert {trap.name for trap in TRAPS} >= {"server#7116", "server#8870"}
    assert all(trap.condition and ": " in trap.sentence for trap in TRAPS)
