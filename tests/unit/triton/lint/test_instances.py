"""Instances, the rate limiter's resources, and what a backend reads."""

import pytest
from prep_triton.triton.lint import lint_repository

from tests.fakes.lint_cases import (
    ON_CPU,
    graph_config,
    python_config,
    write_graph,
    write_python,
)
from tests.fakes.lint_helpers import only


def test_a_resource_has_one_scope(repository):
    for name, scope in (("one", "true"), ("two", "false")):
        resource = f'rate_limiter {{ resources [{{ name: "R" global: {scope} count: 1 }}] }}'
        write_python(repository, name, python_config(name, f"instance_group [{{ kind: KIND_CPU {resource} }}]"))
    assert (
        "device in two and of scope global in one" in only(lint_repository(repository), "rate-limiter-resource").message
    )


def test_misspelt_parameters_accelerators_and_fields_of_another_backend_are_found(repository):
    extra = (
        'parameters { key: "intra_op_thread_counts" value { string_value: "1" } } '
        "optimization { priority: PRIORITY_MAX execution_accelerators { "
        'gpu_execution_accelerator [{ name: "tensorrt" }] '
        'cpu_execution_accelerator [{ name: "openvinno" }] } } instance_group [{ kind: KIND_CPU }]'
    )
    write_graph(repository, "one", graph_config("one", extra))
    report = lint_repository(repository)
    assert only(report, "backend-parameter").hint == "did you mean 'intra_op_thread_count'?"
    assert "openvinno" in only(report, "backend-accelerator").message
    ignored = {finding.field for finding in report.findings if finding.code == "backend-ignores-field"}
    assert ignored == {"optimization.priority", "optimization.execution_accelerators.gpu_execution_accelerator"}


@pytest.mark.parametrize(
    ("name", "value", "takes"),
    [
        ("execution_mode", "2", "it takes one of 0, 1"),
        ("execution_mode", "1", None),
        ("intra_op_thread_count", "two", "it takes a whole number"),
        ("inter_op_thread_count", "", "it takes a whole number"),
        ("inter_op_thread_count", "2", None),
        ("my_own", "anything", None),
    ],
)
def test_a_parameter_that_onnx_runtime_refuses_is_an_error(repository, name, value, takes):
    extra = f'{ON_CPU}parameters {{ key: "{name}" value {{ string_value: "{value}" }} }}'
    write_graph(repository, "one", graph_config("one", extra))
    findings = lint_repository(repository).errors
    assert [(finding.code, finding.field, finding.hint) for finding in findings] == (
        [("parameter-value", f"parameters.{name}", takes)] if takes else []
    )


def test_a_kind_of_instance_that_is_none_is_an_error(repository):
    write_graph(repository, "one", graph_config("one", "instance_group [{ kind: 7 }]"))
    finding = only(lint_repository(repository), "instance-kind")
    assert finding.message.startswith("kind is 7, expected one of KIND_AUTO, KIND_GPU")
    assert finding.severity == "error"


@pytest.mark.parametrize(
    ("name", "parameter", "value", "message"),
    [
        ("tensorrt", "precision_mode", "fp16", "precision_mode is 'fp16', which the backend refuses"),
        ("tensorrt", "trt_fp16_enable", "1", "parameter trt_fp16_enable is not known"),
        ("tensorrt", "max_workspace_size_bytes", "1GB", "max_workspace_size_bytes is '1GB'"),
        ("cuda", "gpu_mem_limit", "1GB", "gpu_mem_limit is '1GB'"),
    ],
)
def test_a_parameter_that_an_execution_provider_refuses_is_an_error(repository, name, parameter, value, message):
    accelerator = (
        f'gpu_execution_accelerator [{{ name: "{name}" parameters {{ key: "{parameter}" value: "{value}" }} }}]'
    )
    extra = f"optimization {{ execution_accelerators {{ {accelerator} }} }}\ninstance_group [{{ kind: KIND_GPU }}]\n"
    write_graph(repository, "one", graph_config("one", extra))
    assert message in only(lint_repository(repository), "parameter-value").message
