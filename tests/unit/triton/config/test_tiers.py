"""What a tier becomes."""

import pytest
from prep_triton.spec import ResourceSpec, ServingSpec
from prep_triton.triton.config.server_arguments import CACHE, RATE_LIMIT, arguments_from_serving
from prep_triton.triton.config.tiers import (
    RESOURCE_COUNT,
    apply_tier,
    rate_limiter_resource,
    rate_limiter_weight,
    stream_priority,
)
from prep_triton.triton.config.traps import smallest_instance_count

UINT32_MAX = 2**32 - 1


def test_weights_fit_the_field_and_rank_untiered_before_tier_1_before_tier_2():
    untiered = 1  # what the server takes for an instance that names no priority
    assert untiered < rate_limiter_weight(1) < rate_limiter_weight(2) <= UINT32_MAX


def test_tier_2_is_owed_little_after_a_month_of_tier_1_alone():
    executions = 30 * 24 * 3600 * 100  # 100 batches a second
    assert executions * rate_limiter_weight(1) / rate_limiter_weight(2) < 100


def test_cpu_entries_share_one_pool_and_gpu_entries_one_for_each_device():
    cpu, gpu = rate_limiter_resource("cpu"), rate_limiter_resource("gpu")
    assert cpu == ResourceSpec(name="prep-cpu", count=RESOURCE_COUNT, scope="global")
    assert gpu == ResourceSpec(name="prep-gpu", count=RESOURCE_COUNT, scope="device")


def test_tiers_name_streams():
    assert (stream_priority(1), stream_priority(2)) == ("max", "min")


@pytest.mark.parametrize(
    ("tier", "is_queue_ruled", "count"), [(1, False, 1), (1, True, 2), (2, False, 1), (2, True, 1)]
)
def test_only_a_tier_1_whose_queue_is_ruled_needs_a_second_instance(tier, is_queue_ruled, count):
    assert smallest_instance_count(tier, is_queue_ruled=is_queue_ruled) == count


@pytest.mark.parametrize("backend", ["tensorrt", "onnxruntime"])
@pytest.mark.parametrize("tier", [1, 2])
def test_any_tier_turns_the_rate_limiter_on(tier, backend):
    serving = ServingSpec(tier=tier, response_cache=True)
    assert arguments_from_serving(apply_tier(serving, backend)) == (CACHE, RATE_LIMIT)


def test_choices_without_a_tier_need_no_arguments():
    assert arguments_from_serving(ServingSpec()) == ()
