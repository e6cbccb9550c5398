"""A whole repository: what was assembled is right, some entries are linted alone, and reports print safely."""

import os

import pytest
from prep_triton.errors import RepositoryError, RepositoryMissingError
from prep_triton.triton.lint import check_lint, lint_repository

from tests.fakes.lint_cases import (
    ensemble_config,
    python_config,
    step,
    write_python,
)
from tests.fakes.lint_helpers import codes, target_for


def test_what_was_assembled_has_no_finding(onnx_entry, plan_entry, repository):
    report = lint_repository(repository, target_for("t4"), digest_all=True)
    assert report.findings == ()
    assert report.entries == ("bert", "plan")
    check_lint(report)


def test_a_missing_repository_is_refused_and_an_empty_one_is_found(tmp_path):
    with pytest.raises(RepositoryError, match="there is no model repository") as caught:
        lint_repository(tmp_path / "absent")
    assert "prep assemble" in caught.value.hint
    assert codes(lint_repository(tmp_path)) == {"repository-empty"}


def test_check_lint_names_the_first_error_and_counts_the_others(repository):
    folder = write_python(repository, "one", python_config("one", "max_batch: 1\nsteps: 2\nbatch: 3"))
    with pytest.raises(
        RepositoryError, match=r"one/config\.pbtxt:7 .*\[config-unknown-field\] \(and 2 more\)"
    ) as caught:
        check_lint(lint_repository(repository))
    assert "did you mean 'max_batch_size'?" in caught.value.hint
    assert "prep lint" in caught.value.hint
    (folder / "config.pbtxt").write_text(python_config("one"))
    check_lint(lint_repository(repository))


def test_linting_some_entries_lints_what_they_call_and_leaves_the_rest(repository):
    write_python(repository, "ok")
    write_python(repository, "broken", "what")
    (repository / "text" / "1").mkdir(parents=True)
    (repository / "text" / "config.pbtxt").write_text(ensemble_config("text", step("ok")))
    report = lint_repository(repository, names=["text"])
    assert report.entries == ("ok", "text")
    assert codes(report, "error") == set()
    with pytest.raises(RepositoryMissingError, match="has no entry 'absent'"):
        lint_repository(repository, names=["text", "absent"])


def test_names_that_would_steer_a_terminal_are_escaped(repository):
    write_python(repository, "one\x1b[2J", python_config("two\\033[31m\\nfalse alarm"))
    (repository / os.fsdecode(b"\xff\xfe")).mkdir()
    for finding in lint_repository(repository).findings:
        assert (finding.place + finding.message + finding.hint).isprintable()
