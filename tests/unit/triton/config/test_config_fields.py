"""Each choice that a user has, as the message that the server reads."""

from typing import Any

import pytest
from hypothesis import given, settings
from prep_triton.errors import PrepError
from prep_triton.spec import ServingSpec, build_spec
from prep_triton.triton.config import parse_config, render_config

from scripts.benchmarks.serving_configs import build_config
from scripts.benchmarks.serving_specs import GPUS, PROFILE_SETS, DrawnRequest, drawn_engine, drawn_model, drawn_requests

BUCKETED = PROFILE_SETS[1]


def config_of(artifact, **serving):
    return build_config("entry", artifact, build_spec(ServingSpec, serving, where="a test"))


def plan_of(profiles=BUCKETED, **serving):
    return config_of((drawn_engine(*GPUS[0], profiles),), **serving)


def graph_of(**serving):
    return config_of(drawn_model(), **serving)


def test_queue_choices_are_written():
    policy = {"timeout_action": "delay", "default_timeout_us": 7, "allow_timeout_override": True, "max_queue_size": 3}
    queue = {"priority_levels": 2, "default_priority_level": 2, "priority_queue_policies": {1: policy}}
    batching = graph_of(dynamic_batching={**queue, "default_queue_policy": {"max_queue_size": 9}}).dynamic_batching
    assert batching.default_queue_policy.max_queue_size == 9
    written = batching.priority_queue_policy[1]
    assert written.timeout_action == written.DELAY
    assert (written.default_timeout_microseconds, written.allow_timeout_override, written.max_queue_size) == (
        7,
        True,
        3,
    )
    assert graph_of(dynamic_batching={"preserve_ordering": True}).dynamic_batching.preserve_ordering


def test_a_queue_rule_needs_the_batcher_even_at_batch_one():
    rules = {"default_queue_policy": {"max_queue_size": 9}}
    config = graph_of(max_batch_size=1, dynamic_batching=rules)
    assert config.dynamic_batching.default_queue_policy.max_queue_size == 9


def test_instance_groups_are_written_with_their_devices_profiles_and_shares():
    shares = {"priority": 3, "resources": [{"name": "a", "count": 2}, {"name": "b", "scope": "global"}]}
    groups = [{"count": 2, "gpus": [0, 1], "rate_limiter": shares}, {"profiles": [2, 1, 0]}]
    first, second = plan_of(instance_groups=groups).instance_group
    assert (first.count, list(first.gpus), first.kind) == (2, [0, 1], first.KIND_GPU)
    assert list(first.profile) == ["0", "1", "2"]
    assert first.rate_limiter.priority == 3
    message = [
        (resource.name, resource.count, getattr(resource, "global")) for resource in first.rate_limiter.resources
    ]
    assert message == [("a", 2, False), ("b", 1, True)]
    assert list(second.profile) == ["2", "1", "0"]
    assert not second.HasField("rate_limiter")


def test_the_short_way_writes_one_group():
    (group,) = graph_of(instance_count=3, instance_kind="gpu", rate_limiter={"priority": 2}).instance_group
    assert (group.count, group.kind, group.rate_limiter.priority) == (3, group.KIND_GPU, 2)


def test_gpus_make_a_graphs_instances_gpu_ones():
    (group,) = graph_of(instance_groups=[{"gpus": [1]}]).instance_group
    assert (group.kind, list(group.gpus)) == (group.KIND_GPU, [1])


def test_a_profile_named_twice_is_listed_once_and_one_profile_alone_when_it_is_asked_for():
    (group,) = plan_of(instance_groups=[{"profiles": [0, 0]}], length_buckets=[32]).instance_group
    assert list(group.profile) == ["0"]
    (group,) = plan_of(PROFILE_SETS[0]).instance_group
    assert not group.profile


def test_tensorrt_options_are_written():
    optimization = plan_of(stream_priority="min", output_copy_stream=True, eager_batching=True).optimization
    assert optimization.priority == optimization.PRIORITY_MIN
    assert optimization.cuda.output_copy_stream
    assert optimization.eager_batching
    assert not optimization.cuda.graphs


def test_a_cuda_graph_is_captured_for_each_bucket_at_the_batches_its_profile_is_tuned_for():
    cuda = plan_of(cuda_graphs=True, max_batch_size=4).optimization.cuda
    assert cuda.graphs
    shapes = [(spec.batch_size, {tuple(shape.dim) for shape in spec.input.values()}) for spec in cuda.graph_spec]
    assert shapes == [(1, {(32,)}), (1, {(64,)}), (1, {(384,)}), (4, {(384,)})]
    assert set(cuda.graph_spec[0].input) == {"input_ids", "attention_mask", "token_type_ids"}
    preferred = plan_of(cuda_graphs=True, dynamic_batching={"preferred_batch_sizes": [2]}).optimization.cuda
    assert [spec.batch_size for spec in preferred.graph_spec if spec.input["input_ids"].dim == [32]] == [1, 2, 8]


def test_no_cuda_graph_is_captured_for_a_batch_that_one_of_the_gpus_does_not_take():
    engines = (drawn_engine(*GPUS[0], PROFILE_SETS[3]), drawn_engine(*GPUS[1], PROFILE_SETS[0]))
    cuda = config_of(engines, cuda_graphs=True).optimization.cuda
    assert [(spec.batch_size, list(spec.input["input_ids"].dim)) for spec in cuda.graph_spec] == [
        (batch, [length]) for length in (16, 24) for batch in (4, 8)
    ]


def test_onnxruntime_options_are_written():
    accelerators: list[dict[str, Any]] = [
        {"name": "tensorrt", "parameters": {"precision_mode": "FP16", "max_workspace_size_bytes": "1073741824"}},
        {"name": "cuda", "parameters": {"use_tf32": "0"}},
        {"name": "openvino"},
    ]
    config = graph_of(
        threads=2, inter_op_threads=3, graph_level=-1, instance_kind="gpu", execution_accelerators=accelerators
    )
    assert config.optimization.graph.level == -1
    gpu = config.optimization.execution_accelerators.gpu_execution_accelerator
    assert [(accelerator.name, dict(accelerator.parameters)) for accelerator in gpu] == [
        (accelerator["name"], accelerator["parameters"]) for accelerator in accelerators[:2]
    ]
    assert [
        accelerator.name for accelerator in config.optimization.execution_accelerators.cpu_execution_accelerator
    ] == ["openvino"]
    assert {name: parameter.string_value for name, parameter in config.parameters.items()} == {
        "intra_op_thread_count": "2",
        "inter_op_thread_count": "3",
        "execution_mode": "1",
    }


@pytest.mark.parametrize(
    ("policy", "written"),
    [
        ({"latest": 2}, "latest {\n    num_versions: 2"),
        ({"all": True}, "all {\n"),
        ({"specific": [1]}, "specific {\n    versions: [1]"),
    ],
)
def test_a_version_policy_is_written(policy, written):
    assert f"version_policy {{\n  {written}" in render_config(graph_of(version_policy=policy))


def test_cache_and_parameters_are_written():
    config = graph_of(response_cache=True, parameters={"owner": 'a "team"\n'})
    assert config.response_cache.enable
    assert parse_config(render_config(config)).parameters["owner"].string_value == 'a "team"\n'


def test_warm_up_runs_each_bucket_at_one_and_at_the_largest_batch():
    samples = graph_of(warmup=True, length_buckets=[16, 64], max_batch_size=8).model_warmup
    assert [(sample.name, sample.batch_size) for sample in samples] == [
        (f"length-{length}-batch-{batch}", batch) for length in (16, 64) for batch in (1, 8)
    ]
    given_ = samples[2].inputs["attention_mask"]
    assert (list(given_.dims), given_.input_data_file) == ([64], "attention_mask-64.bin")
    assert len(graph_of(warmup=True, length_buckets=[16], max_batch_size=1).model_warmup) == 1
    smallest = plan_of(PROFILE_SETS[3], warmup=True).model_warmup
    assert {sample.batch_size for sample in smallest} == {2, 8}


@settings(max_examples=150)
@given(drawn_requests())
def test_what_is_not_refused_renders_to_a_text_that_parses_to_it_and_is_the_same_each_time(drawn: DrawnRequest):
    try:
        serving = build_spec(ServingSpec, drawn.values, where="a test")
        config = build_config("entry", drawn.artifact, serving)
    except PrepError as err:
        assert err.message
        assert err.hint
        return
    text = render_config(config)
    assert parse_config(text) == config
    assert render_config(build_config("entry", drawn.artifact, serving)) == text
