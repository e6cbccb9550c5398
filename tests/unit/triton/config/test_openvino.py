"""Entries of Triton's OpenVINO backend: what their configuration says, and which choices it refuses."""

import pytest
from prep_triton.errors import SpecError
from prep_triton.spec import EntrySpec, InstanceGroupSpec, QueueSpec, ServingSpec
from prep_triton.triton.config import model_config_from_artifact, resolve_serving

from scripts.benchmarks.small_artifacts import make_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("model"))


def build(model, precision="fp32", **serving):
    spec = EntrySpec(runtime="openvino", precision=precision, serving=ServingSpec(**serving))
    resolved = resolve_serving(model, spec, longest=model.max_sequence_length)
    return resolved, model_config_from_artifact("bert", model, resolved)


def parameters_of(config):
    return {name: value.string_value for name, value in config.parameters.items()}


def test_any_batch_and_any_length_are_taken_and_nothing_waits(model):
    resolved, config = build(model)
    assert (config.backend, config.platform, config.max_batch_size) == ("openvino", "", 0)
    assert config.default_model_filename == "model.onnx"
    assert {tuple(tensor.dims) for tensor in config.input} == {(-1, -1)}
    assert {tensor.dims[0] for tensor in config.output} == {-1}
    assert not config.HasField("dynamic_batching")
    assert resolved.choices.padding == "longest"
    assert [group.kind for group in config.instance_group] == [type(config.instance_group[0]).KIND_CPU]
    assert parameters_of(config) == {}


@pytest.mark.parametrize(
    ("serving", "parameters"),
    [
        ({"threads": 4}, {"INFERENCE_NUM_THREADS": "4"}),
        ({"threads": 2, "instance_count": 3}, {"INFERENCE_NUM_THREADS": "6", "NUM_STREAMS": "3"}),
        ({"instance_groups": (InstanceGroupSpec(count=2), InstanceGroupSpec(count=1))}, {"NUM_STREAMS": "3"}),
        ({"instance_count": 2, "streams": 1}, {"NUM_STREAMS": "1"}),
        ({"instance_count": 2, "performance_hint": "throughput"}, {"PERFORMANCE_HINT": "THROUGHPUT"}),
        ({"parameters": {"NUM_STREAMS": "AUTO"}}, {"NUM_STREAMS": "AUTO"}),
    ],
)
def test_typed_choices_become_the_backends_parameters(model, serving, parameters):
    assert parameters_of(build(model, **serving)[1]) == parameters


def test_bf16_is_a_hint_and_the_graph_stays(model):
    resolved, config = build(model, precision="bf16")
    assert resolved.precision == "bf16"
    assert parameters_of(config) == {"HINT_BF16": "YES"}


def test_a_queue_may_rank_requests_though_it_merges_none(model):
    config = build(model, dynamic_batching=QueueSpec(priority_levels=2, default_priority_level=2))[1]
    assert (config.max_batch_size, config.dynamic_batching.priority_levels) == (0, 2)
    assert config.dynamic_batching.max_queue_delay_microseconds == 0


@pytest.mark.parametrize(
    ("serving", "message"),
    [
        (
            {"dynamic_batching": QueueSpec(max_queue_delay_us=100)},
            "max_queue_delay_us was asked for, but requests",
        ),
        (
            {"max_batch_size": 8},
            "max_batch_size 8 was asked for, but with one Triton's OpenVINO backend takes requests of",
        ),
        ({"instance_kind": "gpu"}, "instance_kind gpu was asked for, but Triton's OpenVINO backend runs on a CPU only"),
        ({"graph_level": 1}, "graph_level 1 was asked for, but it means nothing to the OpenVINO backend"),
        ({"inter_op_threads": 1}, "inter_op_threads 1 was asked for, but it means nothing"),
        ({"cuda_graphs": True}, "cuda_graphs true was asked for, but it means nothing to the OpenVINO backend"),
        (
            {"parameters": {"NUM_STREAMS": "many"}},
            "parameters.NUM_STREAMS is 'many', which the OpenVINO backend refuses",
        ),
        ({"parameters": {"HINT_BF16": "NO"}}, "parameters.HINT_BF16 is 'NO', which the OpenVINO backend refuses"),
        ({"threads": 2, "parameters": {"INFERENCE_NUM_THREADS": "4"}}, "parameters.INFERENCE_NUM_THREADS is '4', but"),
    ],
)
def test_choices_that_mean_nothing_to_it_are_refused(model, serving, message):
    with pytest.raises(SpecError, match="^" + message.replace(".", r"\.")):
        build(model, **serving)


@pytest.mark.parametrize(
    ("runtime", "precision", "message"),
    [
        ("openvino", "fp16", "fp16 on a CPU is computed in fp32"),
        ("onnxruntime", "bf16", "bf16 is for openvino"),
        ("tensorrt", "bf16", "bf16 is for openvino"),
    ],
)
def test_a_precision_is_one_that_the_runtime_has(runtime, precision, message):
    with pytest.raises(ValueError, match=message):
        EntrySpec(runtime=runtime, precision=precision)
