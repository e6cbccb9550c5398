"""Files beside the model that a configuration names, and what server.args gives."""

import os

import pytest
from prep_triton.triton.lint import lint_repository

from tests.fakes.lint_cases import environment, labelled, python_config, write_python
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
    (folder / "env.tar.gz").write_bytes(b"x")
    assert lint_repository(repository).errors == ()


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
