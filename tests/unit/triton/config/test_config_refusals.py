"""What the server, or a backend, would refuse or never read is refused first, with a remedy."""

import re

import pytest
from prep_triton.errors import PrepError, RepositoryError, SpecError
from prep_triton.spec import ServingSpec, build_spec
from prep_triton.triton.config.backends import FIELD_RULES

from scripts.benchmarks.serving_configs import build_config
from scripts.benchmarks.serving_specs import GPUS, PROFILE_SETS, drawn_engine, drawn_model

PLAN = (drawn_engine(*GPUS[0], PROFILE_SETS[1]),)
DELAYING = {"timeout_action": "delay", "default_timeout_us": 5}


def refusal(artifact, serving, error=SpecError) -> PrepError:
    with pytest.raises(error) as caught:
        build_config("entry", artifact, build_spec(ServingSpec, serving, where="a test"))
    return caught.value


FOREIGN = {
    "stream_priority": "max",
    "cuda_graphs": True,
    "output_copy_stream": True,
    "eager_batching": True,
    "threads": 2,
    "inter_op_threads": 2,
    "graph_level": 1,
    "execution_accelerators": [{"name": "cuda"}],
    "profiles": None,
    "streams": 2,
    "performance_hint": "latency",
}


@pytest.mark.parametrize("field", FOREIGN)
def test_a_field_of_the_other_backend_is_refused(field):
    rule = FIELD_RULES[field]
    artifact, other = (drawn_model(), "ONNX Runtime") if "tensorrt" in rule.backends else (PLAN, "TensorRT")
    serving = {"instance_groups": [{"profiles": [0]}]} if field == "profiles" else {field: FOREIGN[field]}
    err = refusal(artifact, serving)
    assert re.search(f"^{field} .* was asked for, but it means nothing to the {other} backend: it is ", err.message)
    assert err.hint.startswith(f"remove {field}, or ")


def test_every_rule_is_tested():
    assert set(FOREIGN) == set(FIELD_RULES)


@pytest.mark.parametrize(
    ("serving", "message", "hint"),
    [
        (
            {"dynamic_batching": {"preserve_ordering": True, "default_queue_policy": DELAYING}},
            "a delayed request is overtaken",
            "timeout_action: reject",
        ),
        (
            {
                "dynamic_batching": {
                    "preserve_ordering": True,
                    "priority_levels": 1,
                    "default_priority_level": 1,
                    "priority_queue_policies": {1: DELAYING},
                }
            },
            "a delayed request is overtaken",
            "timeout_action: reject",
        ),
        ({"rate_limiter": {"resources": [{"name": "a b"}]}}, "the resource 'a b' cannot be named", "letters, digits"),
        ({"rate_limiter": {"resources": [{"name": "a"}, {"name": "a"}]}}, "listed twice", "the sum"),
        (
            {
                "instance_groups": [
                    {"rate_limiter": {"resources": [{"name": "a"}]}},
                    {"rate_limiter": {"resources": [{"name": "a", "scope": "global"}]}},
                ]
            },
            "a is of scope global in instance group 1 and of scope device in instance group 0",
            "two names",
        ),
        ({"version_policy": {"specific": [1, 2]}}, r"\[1, 2\] was asked for, but an entry has version 1", r"\[1\]"),
        ({"version_policy": {"latest": 1 << 32}}, "does not fit", "32-bit"),
        ({"rate_limiter": {"priority": 1 << 32}}, "does not fit", "32-bit"),
        ({"instance_groups": [{"gpus": [1 << 31]}]}, "does not fit", "32-bit"),
        ({"parameters": {"a": "\ud800"}}, "does not fit", "smaller"),
        ({"length_buckets": [16, 513]}, "length bucket 513 exceeds the model's longest sequence, 512", "within 512"),
        ({"parameters": {"execution_mode": "2"}}, "execution_mode is '2', which the ONNX Runtime", "one of 0, 1"),
        ({"parameters": {"enable_mem_arena": "yes"}}, "enable_mem_arena is 'yes'", "true or false"),
        ({"parameters": {"intra_op_thread_count": "many"}}, "is 'many'", "a whole number"),
        (
            {"threads": 2, "parameters": {"intra_op_thread_count": "3"}},
            "is '3', but threads or inter_op_threads make it '2'",
            r"remove parameters\.intra_op_thread_count",
        ),
        (
            {"inter_op_threads": 2, "parameters": {"execution_mode": "0"}},
            "is '0', but threads or inter_op_threads make it '1'",
            r"remove parameters\.execution_mode",
        ),
        ({"execution_accelerators": [{"name": "cuda"}]}, "cuda is for GPU instances, and there is none", "openvino"),
        (
            {"execution_accelerators": [{"name": "tensorrt", "parameters": {"precision_mod": "FP16"}}]},
            "tensorrt: parameter precision_mod is not known",
            "did you mean 'precision_mode'",
        ),
        (
            {"execution_accelerators": [{"name": "tensorrt", "parameters": {"precision_mode": "fp8"}}]},
            "precision_mode is 'fp8'",
            "one of FP32, FP16",
        ),
        (
            {"execution_accelerators": [{"name": "cuda", "parameters": {"gpu_mem_limit": "-1"}}]},
            "gpu_mem_limit is '-1'",
            "whole number from 0",
        ),
        (
            {"execution_accelerators": [{"name": "cuda", "parameters": {"zzzz": ""}}]},
            "parameter zzzz is not known",
            "it takes arena_extend_strategy, ",
        ),
        (
            {"execution_accelerators": [{"name": "openvino", "parameters": {"device": "CPU"}}]},
            "openvino: parameter device is not known",
            "no parameters",
        ),
        (
            {"warmup": True, "max_batch_size": 2048},
            "warmup at max_batch_size 2048 would have the server make 2048 requests",
            "1024 or less",
        ),
    ],
)
def test_a_graph_is_refused_what_the_server_would_refuse(serving, message, hint):
    err = refusal(drawn_model(), serving)
    assert re.search(message, err.message)
    assert re.search(hint, err.hint)


@pytest.mark.parametrize(
    ("serving", "message", "hint"),
    [
        (
            {"instance_groups": [{"profiles": [3]}]},
            "the t4 engine does not have the profile 3: it has 3, numbered from 0",
            r"0\.\.2",
        ),
        ({"instance_groups": [{"kind": "cpu"}]}, "runs on a GPU only", "onnxruntime"),
        ({"length_buckets": [32, 400]}, "length bucket 400 is beyond .*: 1..32 or 33..64 or 65..384", "--seq-lens"),
        (
            {"instance_groups": [{}, {"profiles": [0]}], "length_buckets": [64]},
            "length bucket 64 is beyond the profiles of an instance: .*; 1..32$",
            "within the profiles",
        ),
        ({"max_batch_size": 9}, "9 exceeds the batch of the t4 engine's profile, 8", "--profile"),
        (
            {"parameters": {"execution_context_allocation_strategy": "DYNAMIC"}},
            "'DYNAMIC', which the TensorRT backend refuses",
            "one of STATIC, ON_PROFILE_CHANGE",
        ),
    ],
)
def test_a_plan_is_refused_what_the_backend_would_refuse(serving, message, hint):
    err = refusal(PLAN, serving)
    assert re.search(message, err.message)
    assert re.search(hint, err.hint)


def test_a_group_of_some_profiles_has_their_batch():
    serving = build_spec(ServingSpec, {"instance_groups": [{"profiles": [0, 1]}]}, where="a test")
    assert build_config("entry", PLAN, serving).max_batch_size == 32


def test_plans_without_a_common_length_or_batch_are_refused():
    long = drawn_engine(*GPUS[1], ("1x100,1x100,1x100",))
    err = refusal((*PLAN[:0], drawn_engine(*GPUS[0], PROFILE_SETS[3]), long), {}, RepositoryError)
    assert "no sequence length is taken by every instance: 8..24; 100..100" in err.message
    assert "overlapping profiles" in err.hint
    err = refusal((drawn_engine(*GPUS[0], PROFILE_SETS[3]),), {"max_batch_size": 1})
    assert "at length 16 the smallest batch of a profile in use is 2, but max_batch_size is 1" in err.message
    assert "--batch 1,8,16" in err.hint


def test_a_graph_of_a_fixed_length_has_one_bucket():
    model = drawn_model()
    inputs = tuple(tensor.model_copy(update={"shape": ("batch", 128)}) for tensor in model.model_inputs)
    fixed = model.model_copy(update={"model_inputs": inputs})
    serving = build_spec(ServingSpec, {"warmup": True}, where="a test")
    config = build_config("entry", fixed, serving)
    assert [sample.name for sample in config.model_warmup] == ["length-128-batch-1", "length-128-batch-16"]
    err = refusal(fixed, {"length_buckets": [64, 128]})
    assert "the graph takes length 128 alone" in err.message
    assert "length_buckets: [128]" in err.hint
