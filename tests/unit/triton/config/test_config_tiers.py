import pytest
from hypothesis import given
from hypothesis import strategies as st
from prep_triton.spec import (
    EntrySpec,
    InstanceGroupSpec,
    QueuePolicySpec,
    QueueSpec,
    RateLimiterSpec,
    ServingSpec,
    default_batch,
    default_profile,
    profiles_from_seq_lens,
)
from prep_triton.triton.config import tiers
from prep_triton.triton.config.resolve import resolve_serving
from prep_triton.triton.config.shapes import choose_bucket, length_buckets_from_artifact
from prep_triton.triton.config.tiers import apply_tier
from prep_triton.triton.config.traps import DEFAULT_TIMEOUT, ENSEMBLE_PRIORITY, HELD_BATCH, SINGLE_INSTANCE, find_traps
from prep_triton.triton.inside_server.encode.windows import choose_bucket as choose_inside_server

from scripts.benchmarks.serving_configs import build_config
from scripts.benchmarks.serving_specs import GPUS, PROFILE_SETS, drawn_engine, drawn_model

PLAN = (drawn_engine(*GPUS[0], PROFILE_SETS[0]),)


@pytest.mark.parametrize(("tier", "priority"), [(1, "PRIORITY_MAX"), (2, "PRIORITY_MIN")])
def test_a_plan_of_a_tier_has_stream_priority_and_a_share_and_no_levels(tier, priority):
    config = build_config("entry", PLAN, ServingSpec(tier=tier))
    assert config.optimization.priority == config.optimization.ModelPriority.Value(priority)
    limiter = config.instance_group[0].rate_limiter
    assert limiter.priority == tiers.rate_limiter_weight(tier)
    assert [resource.name for resource in limiter.resources] == [tiers.GPU_RESOURCE]
    assert config.dynamic_batching.priority_levels == 0
    assert config.instance_group[0].count == 1


def test_a_tier_1_that_was_given_levels_gets_the_second_instance_that_they_need():
    choices = ServingSpec(tier=1, dynamic_batching=QueueSpec(priority_levels=2, default_priority_level=1))
    assert apply_tier(choices, "tensorrt").instance_count == 2


def test_a_graph_of_a_tier_has_no_stream_priority_and_the_resource_of_its_device():
    config = build_config("entry", drawn_model(), ServingSpec(tier=1))
    assert config.optimization.priority == config.optimization.PRIORITY_DEFAULT
    (resource,) = config.instance_group[0].rate_limiter.resources
    assert (resource.name, getattr(resource, "global")) == (tiers.CPU_RESOURCE, True)
    mixed = ServingSpec(tier=1, instance_groups=(InstanceGroupSpec(kind="gpu"), InstanceGroupSpec()))
    groups = build_config("entry", drawn_model(), mixed).instance_group
    names = [group.rate_limiter.resources[0].name for group in groups]
    assert names == [tiers.GPU_RESOURCE, tiers.CPU_RESOURCE]


def test_what_the_user_wrote_wins_over_the_tier():
    serving = ServingSpec(
        tier=1,
        stream_priority="default",
        rate_limiter=RateLimiterSpec(priority=7),
        instance_count=1,
        dynamic_batching=QueueSpec(priority_levels=0),
    )
    assert apply_tier(serving, "tensorrt") == serving
    assert apply_tier(ServingSpec(tier=1, dynamic_batching=None), "tensorrt").dynamic_batching is None
    in_order = apply_tier(ServingSpec(tier=2, dynamic_batching=QueueSpec(preserve_ordering=True)), "tensorrt")
    assert in_order.dynamic_batching.priority_levels == 0
    assert in_order.instance_count == 1
    own = InstanceGroupSpec(rate_limiter=RateLimiterSpec(priority=7))
    assert apply_tier(ServingSpec(tier=1, instance_groups=(own,)), "tensorrt").instance_groups == (own,)


def test_no_tier_changes_nothing():
    assert apply_tier(ServingSpec(), "tensorrt") == ServingSpec()


def test_the_known_traps_are_found():
    late = QueueSpec(default_queue_policy=QueuePolicySpec(default_timeout_us=5))
    ranked = QueueSpec(priority_levels=2, default_priority_level=1)
    cases = [
        (ServingSpec(dynamic_batching=ranked, instance_count=2), True, [ENSEMBLE_PRIORITY]),
        (ServingSpec(dynamic_batching=ranked), False, [HELD_BATCH]),
        (ServingSpec(dynamic_batching=late, instance_count=2), True, [DEFAULT_TIMEOUT]),
        (ServingSpec(dynamic_batching=late), True, []),
        (ServingSpec(dynamic_batching=ranked, tier=1, instance_count=1), False, [HELD_BATCH, SINGLE_INSTANCE]),
        (apply_tier(ServingSpec(tier=1), "onnxruntime"), False, []),
        (ServingSpec(dynamic_batching=None, tier=1), True, []),
    ]
    for serving, is_composed, expected in cases:
        assert list(find_traps(serving, is_composed=is_composed)) == expected


@pytest.mark.parametrize(
    ("longest", "expected"),
    [
        (3000, (32, 64, 128, 256, 384, 512, 1024, 2048, 3000)),
        (512, (32, 64, 128, 256, 384, 512)),
        (384, (32, 64, 128, 256, 384)),
        (300, (32, 64, 128, 256, 300)),
        (20, (20,)),
    ],
)
def test_a_graphs_buckets_end_where_the_model_does(longest, expected):
    assert length_buckets_from_artifact(drawn_model(), ServingSpec(), longest=longest) == expected


@pytest.mark.parametrize(
    ("profiles", "expected"),
    [(PROFILE_SETS[0], (128, 384)), (PROFILE_SETS[1], (32, 64, 384)), (("1x1,1x64,1x64", "1x1,8x32,8x64"), (32, 64))],
)
def test_a_plans_buckets_are_the_lengths_its_profiles_are_tuned_for_and_end_at(profiles, expected):
    engine = drawn_engine(*GPUS[0], profiles)
    assert length_buckets_from_artifact((engine,), ServingSpec(), longest=512) == expected
    assert length_buckets_from_artifact((engine,), ServingSpec(), longest=64)[-1] == 64


def test_a_plan_for_long_texts_pads_none_to_twice_its_tokens_and_no_batch_needs_more_memory_than_one_of_8192():
    profile = default_profile(8192)
    assert str(profile) == "1x16,1x128,1x8192"
    engine = drawn_engine(*GPUS[0], (profile,))
    buckets = (128, 512, 1024, 2048, 4096, 8192)
    assert length_buckets_from_artifact((engine,), ServingSpec(), longest=8192) == buckets
    tuned = drawn_engine(*GPUS[0], profiles_from_seq_lens((512, 4096), (1, 1, 1)))
    assert length_buckets_from_artifact((tuned,), ServingSpec(), longest=8192) == (512, 4096)


@pytest.mark.parametrize(("longest", "batch"), [(512, 16), (2048, 16), (2049, 15), (4096, 4), (8192, 1), (20_000, 1)])
def test_a_graphs_batch_is_by_default_what_memory_holds_of_its_longest_texts(longest, batch):
    spec = EntrySpec(runtime="onnxruntime", serving=ServingSpec())
    assert resolve_serving(drawn_model(), spec, longest=longest).max_batch_size == batch
    assert default_batch(longest) == (1, min(8, batch), batch)
    asked = EntrySpec(runtime="onnxruntime", serving=ServingSpec(length_buckets=(512,)))
    assert resolve_serving(drawn_model(), asked, longest=longest).max_batch_size == 16


def test_given_buckets_are_kept():
    assert length_buckets_from_artifact(PLAN, ServingSpec(length_buckets=(16, 100)), longest=512) == (16, 100)


@given(st.integers(0, 600), st.sets(st.integers(1, 600), min_size=1).map(sorted))
def test_the_bucket_for_a_length_is_the_one_that_the_tokenizer_pads_to(length, buckets):
    chosen = choose_bucket(length, buckets)
    if chosen is None:
        with pytest.raises(ValueError, match="exceed the longest length bucket"):
            choose_inside_server(length, buckets)
    else:
        assert choose_inside_server(length, buckets) == chosen
