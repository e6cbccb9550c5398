"""Files beside the model that a configuration names, and what server.args gives."""

import gzip
import os
import tarfile

import onnx
import pytest
from prep_triton.triton.lint import lint_repository
from prep_triton.triton.lint.graph import SERVED_DOMAINS

from tests.fakes.lint_cases import (
    add_operator,
    environment,
    graph_config,
    labelled,
    python_config,
    write_graph,
    write_python,
)
from tests.fakes.lint_helpers import codes, only


def test_fewer_labels_than_values_are_a_warning_with_both_numbers(repository):
    folder = write_python(repository, "one", python_config("one", tensors=labelled("labels.txt")))
    (folder / "labels.txt").write_text("a\nb\n")
    finding = only(lint_repository(repository), "labels-count")
    assert "labels.txt has 2 labels" in finding.message
    assert "has 3 values" in finding.message


def test_as_many_labels_as_values_are_right(repository):
    folder = write_python(repository, "one", python_config("one", tensors=labelled("labels.txt")))
    (folder / "labels.txt").write_text("a\nb\nc")
    report = lint_repository(repository)
    assert report.errors == ()
    assert "labels-count" not in codes(report)


def test_an_environment_that_is_not_there_is_named(repository):
    folder = write_python(repository, "one", python_config("one", environment("env.tar.gz")))
    assert "env.tar.gz is not there" in only(lint_repository(repository), "file-missing").message
    with tarfile.open(folder / "env.tar.gz", "w:gz") as archive:
        archive.add(folder / "config.pbtxt", "bin/activate")
    assert lint_repository(repository).errors == ()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x1f\x8b", gzip.compress(b"x" * 600, mtime=0), b"x" * 600])
def test_an_environment_that_is_no_tar_is_an_error(repository, content):
    folder = write_python(repository, "one", python_config("one", environment("env.tar.gz")))
    (folder / "env.tar.gz").write_bytes(content)
    assert "env.tar.gz is not a tar archive" in only(lint_repository(repository), "file-missing").message


def test_a_folder_that_the_configuration_names_is_not_called_ignored(repository):
    folder = write_python(repository, "one", python_config("one", environment("env"), tensors=labelled("l/a.txt")))
    for name in ("env/bin/activate", "l/a.txt", "other/x"):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text("a\nb\nc")
    assert only(lint_repository(repository), "version-ignored").path == "one/other"


LIBRARY = 'model_operations {{ op_library_filename: ["{}"] }}'
PLUGINS = (
    'optimization {{ execution_accelerators {{ gpu_execution_accelerator: [{{ name: "tensorrt" '
    'parameters {{ key: "trt_extra_plugin_lib_paths" value: "{}" }} }}] }} }}'
)


@pytest.mark.parametrize("field", [LIBRARY, PLUGINS], ids=["operators", "plugins"])
@pytest.mark.parametrize(("path", "is_said"), [("/opt/ops.so", False), ("ops.so", True), ("1/ops.so", True)])
def test_a_relative_path_of_a_library_is_the_servers_and_said(repository, field, path, is_said):
    write_graph(repository, "one", graph_config("one", field.format(path)))
    report = lint_repository(repository)
    assert report.errors == ()
    assert ("path-relative" in codes(report)) == is_said


def test_a_relative_environment_is_the_servers_and_said_with_the_word_for_the_folder(repository):
    parameter = environment("env").replace("$$TRITON_MODEL_DIRECTORY/", "")
    write_python(repository, "one", python_config("one", parameter))
    assert "$$TRITON_MODEL_DIRECTORY/" in only(lint_repository(repository), "path-relative").hint


def test_custom_operators_are_right_where_their_library_is_named(repository):
    folder = write_graph(repository, "one")
    path = folder / "1" / "model.onnx"
    onnx.save(add_operator(onnx.load(path)), path)
    finding = only(lint_repository(repository), "model-operators")
    assert "(acme:Fuse)" in finding.message
    assert "op_library_filename" in finding.hint
    (folder / "config.pbtxt").write_text(graph_config("one", LIBRARY.format("/opt/ops.so")))
    assert lint_repository(repository).errors == ()


def test_the_domains_of_onnx_runtime_are_those_that_it_has():
    from onnxruntime.capi.onnxruntime_pybind11_state import get_all_operator_schema

    assert {schema.domain for schema in get_all_operator_schema()} <= set(SERVED_DOMAINS)


def test_a_library_of_operators_on_another_backend_is_ignored_there(repository):
    write_python(repository, "one", python_config("one", LIBRARY.format("/opt/ops.so")))
    assert "op_library_filename" in only(lint_repository(repository), "backend-ignores-field").message


@pytest.mark.parametrize("argument", ["--backend-config=tensorrt,plugins=/opt/p.so", "--backend-directory=/opt"])
def test_plugins_in_server_args_are_refused(repository, argument):
    write_python(repository, "one")
    (repository / "server.args").write_text(f"{argument}\n")
    assert argument in only(lint_repository(repository), "server-argument-refused").message


def resources(count: int, name: str = "R") -> str:
    limiter = f'rate_limiter {{ resources {{ name: "{name}" count: {count} }} priority: 1 }}'
    return f"instance_group [{{ kind: KIND_CPU count: 2 {limiter} }}]"


# Triton 2.51: 'Resource count for "R" is limited to 2 which will prevent scheduling of one or more model instances, the
# minimum required count is 4', and of a resource that is not named 'limited to 0'.
@pytest.mark.parametrize(("count", "limit"), [("R:2", 2), ("S:9", 0)])
def test_a_resource_that_is_too_small_is_an_error_with_both_numbers(repository, count, limit):
    write_python(repository, "one", python_config("one", resources(4)))
    (repository / "server.args").write_text(f"--rate-limit=execution_count\n--rate-limit-resource={count}\n")
    message = only(lint_repository(repository), "server-resource").message
    assert f"needs 4 of the resource R, and server.args gives {limit}:" in message


@pytest.mark.parametrize(
    "arguments",
    [
        "--rate-limit=execution_count\n",
        "--rate-limit=execution_count\n--rate-limit-resource=R:4:0\n--rate-limit-resource=R:1:1\n",
        "--rate-limit-resource=R:2\n",
    ],
    ids=["no-counts", "one-device", "limiter-off"],
)
def test_a_resource_that_suffices_or_is_never_counted_is_no_error(repository, arguments):
    write_python(repository, "one", python_config("one", resources(4)))
    (repository / "server.args").write_text(arguments)
    assert lint_repository(repository).errors == ()


def test_a_folder_that_cannot_be_read_is_one_finding_that_names_it(repository, monkeypatch):
    folder = write_python(repository, "one")
    closed = str(folder / "1")
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) != closed)  # root may read everything
    findings = [finding for finding in lint_repository(repository).findings if finding.path.startswith("one")]
    assert [finding.code for finding in findings] == ["file-unreadable"]
    assert closed in findings[0].message
