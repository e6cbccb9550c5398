"""Names, versions and links of a repository's files."""

import os

import pytest
from prep_triton.triton.lint import lint_repository

from tests.fakes.lint_cases import (
    graph_config,
    python_config,
    warmup,
    write_graph,
    write_python,
)
from tests.fakes.lint_helpers import codes, only


@pytest.mark.parametrize("name", ["-1", "+1", "2abc", "99999999999999999999"])
def test_version_folders_that_the_server_misreads_are_errors(repository, name):
    write_python(repository, "one", version=name)
    assert only(lint_repository(repository), "version-name").path == f"one/{name}"


def test_names_that_lead_out_of_the_entry_are_not_followed(repository):
    write_graph(repository, "one", graph_config("one", 'default_model_filename: "../../../etc/passwd"'))
    write_python(repository, "two", python_config("two", warmup('input_data_file: "/etc/passwd"')))
    report = lint_repository(repository)
    assert "leads out of the version folder" in only(report, "file-missing").message
    assert "warmup-data" in codes(report)


def test_files_that_nothing_vouches_for_and_missing_ones_are_found(onnx_entry, repository):
    (repository / "bert" / "notes").write_text("")
    (repository / "bert" / "1" / "model.plan.tmp").write_text("")
    (repository / "bert" / "1" / "model.engine").write_text("")
    (repository / "bert" / ".cache").write_text("")
    (repository / "stray.bin").write_text("")
    (repository / "README.md").write_text("")
    (repository / "bert" / "tokenizer.json").unlink()
    (repository / ".staging-bert").mkdir()
    report = lint_repository(repository)
    stray = {finding.path for finding in report.findings if finding.code == "file-stray"}
    assert stray == {"bert/notes", "bert/1/model.plan.tmp", "bert/1/model.engine", "stray.bin"}
    assert only(report, "manifest-file").path == "bert/tokenizer.json"
    assert only(report, "entry-leftover").severity == "warning"


def test_links_are_followed_and_checked(onnx_entry, repository, tmp_path):
    model = repository / "bert" / "1" / "model.onnx"
    model.replace(tmp_path / "model.onnx")
    model.symlink_to(tmp_path / "model.onnx")
    (repository / "bert" / "nowhere").symlink_to("absent")
    os.mkfifo(repository / "bert" / "pipe")
    report = lint_repository(repository)
    assert only(report, "link-outside").severity == "warning"
    assert only(report, "link-broken").severity == "error"
    assert only(report, "file-stray").path == "bert/pipe"


def test_names_that_differ_in_case_alone_are_a_warning(repository):
    write_python(repository, "bert")
    write_python(repository, "BERT")
    finding = only(lint_repository(repository), "entry-case")
    assert finding.severity == "warning"
    assert "bert and BERT" in finding.message
