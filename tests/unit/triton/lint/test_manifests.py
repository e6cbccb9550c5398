"""An entry against its manifest.json, and a repository against its server.args."""

import os

import pytest
from prep_triton.triton.lint import lint_repository

from tests.fakes.lint_cases import (
    python_config,
    write_python,
)
from tests.fakes.lint_helpers import codes, edit_config, only, save_manifest_again


def test_an_edited_config_and_a_changed_model_are_findings(onnx_entry, repository):
    edit_config(repository / "bert", "max_batch_size: 16", "max_batch_size: 32")
    report = lint_repository(repository)
    assert codes(report) == {"config-edited", "manifest-batch-size"}
    content = bytearray((repository / "bert" / "1" / "model.onnx").read_bytes())
    content[-3] ^= 1
    (repository / "bert" / "1" / "model.onnx").write_bytes(content)
    assert only(lint_repository(repository), "manifest-file").path == "bert/1/model.onnx"


def test_a_large_file_that_looks_untouched_is_digested_when_asked(onnx_entry, repository):
    big = repository / "bert" / "1" / "weights.bin"
    big.write_bytes(bytes(2 << 20))
    save_manifest_again(onnx_entry, repository / "bert")
    big.write_bytes(b"\1" + bytes((2 << 20) - 1))
    os.utime(big, (0, 0))
    assert codes(lint_repository(repository)) == set()
    assert codes(lint_repository(repository, digest_all=True)) == {"manifest-file"}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 99}', "\xff", '{"schema": 1, "name": 3}'])
def test_a_damaged_manifest_is_an_error(onnx_entry, repository, text):
    (repository / "bert" / "manifest.json").write_text(text, encoding="latin-1")
    assert "manifest-damaged" in codes(lint_repository(repository), "error")


def test_a_manifest_of_another_entry_is_an_error(onnx_entry, repository):
    (repository / "bert").rename(repository / "roberta")
    assert codes(lint_repository(repository), "error") == {"manifest-entry", "config-name"}


def test_what_needs_a_server_argument_needs_it_in_server_args(repository):
    limiter = "instance_group [{ kind: KIND_CPU rate_limiter { priority: 2 } }] response_cache { enable: true }"
    write_python(repository, "one", python_config("one", limiter))
    findings = [finding for finding in lint_repository(repository).findings if finding.code == "server-arguments"]
    assert len(findings) == 2
    (repository / "server.args").write_text("--rate-limit=execution_count\n--cache-config=local,size=1048576\n")
    assert "server-arguments" not in codes(lint_repository(repository))
    (repository / "server.args").write_text("rate-limit\n--rate-limit=execution_count\n--cache-config=local,size=1\n")
    refused = only(lint_repository(repository), "server-argument-refused")
    assert (refused.path, refused.severity) == ("server.args", "error")
