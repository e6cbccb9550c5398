"""What a server completes by itself is no difference; `tests/integration/test_triton_verify.py` asks a real one."""

import pytest
from google.protobuf import text_format
from prep_triton.triton.verify.served_config import find_differences
from tritonclient.grpc.model_config_pb2 import ModelConfig

STATED = 'backend: "onnxruntime" max_batch_size: 8 input {name: "ids" data_type: TYPE_INT64 dims: [-1]}'
# As Triton 24.10 with its auto-complete on reports it; onnxruntime_backend, AutoCompleteMaxBatch, adds the batcher.
SERVED = """
name: "m" platform: "onnxruntime_onnx" backend: "onnxruntime" max_batch_size: 8 default_model_filename: "model.onnx"
version_policy {latest {num_versions: 1}}
input {name: "ids" data_type: TYPE_INT64 dims: [-1]} output {name: "out" data_type: TYPE_FP32 dims: [2]}
instance_group {name: "m_0" count: 2 kind: KIND_CPU}
dynamic_batching {preferred_batch_size: [8]}
optimization {input_pinned_memory {enable: true} output_pinned_memory {enable: true}}
model_transaction_policy {}
"""


def differences(stated, served):
    configs = (text_format.Parse(text, ModelConfig()) for text in (stated, served))
    return [difference.field for difference in find_differences(*configs)]


def test_completions_are_no_differences():
    assert differences(STATED, SERVED) == []
    assert differences(SERVED, SERVED) == []


@pytest.mark.parametrize(
    ("added", "field"),
    [
        ("dynamic_batching {preserve_ordering: true}", "dynamic_batching.preserve_ordering"),
        ("dynamic_batching {preferred_batch_size: [4]}", "dynamic_batching.preferred_batch_size"),
        ("instance_group {count: 1 rate_limiter {priority: 3}}", "instance_group[0].rate_limiter.priority"),
        ("instance_group {count: 3}", "instance_group[0].count"),
        ("optimization {graph {level: 1}}", "optimization.graph.level"),
        ('model_warmup {name: "a"}', "the number of model_warmup"),
        ('parameters {key: "a" value {string_value: "b"}}', "parameters['a']"),
        ('cc_model_filenames {key: "7.5" value: "a"}', "cc_model_filenames['7.5']"),
        ('default_model_filename: "other.onnx"', "default_model_filename"),
        ("version_policy {all {}}", "version_policy.all"),
        ("response_cache {enable: true}", "response_cache.enable"),
    ],
)
def test_what_no_server_completes_is_a_difference(added, field):
    assert differences(STATED, f"{STATED} {added}") == [field]


@pytest.mark.parametrize(
    "stated",
    ["dynamic_batching {}", "response_cache {enable: true}", 'parameters {key: "a" value {string_value: "b"}}'],
)
def test_what_is_stated_and_not_served_is_a_difference(stated):
    (field,) = differences(f"{STATED} {stated}", STATED)
    assert stated.startswith(field.partition("[")[0])
