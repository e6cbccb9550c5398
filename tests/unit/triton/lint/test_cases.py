"""Each way of being wrong has its code, and what is right has none."""

import pytest
from prep_triton.triton.lint import CODES, lint_repository

from tests.fakes.lint_cases import REFUSED_CASES, SERVED_CASES, write_python


@pytest.fixture
def repository(tmp_path):
    write_python(tmp_path / "repo", "ok")
    return tmp_path / "repo"


def found_in(repository, name):
    findings = lint_repository(repository).findings
    return [finding for finding in findings if finding.path.split("/")[0] == name]


@pytest.mark.parametrize("case", REFUSED_CASES, ids=lambda case: case.name)
def test_what_the_server_refuses_is_an_error_with_its_code(repository, case):
    case.write(repository)
    errors = {finding.code for finding in found_in(repository, case.name) if finding.severity == "error"}
    assert case.code in errors


@pytest.mark.parametrize("case", SERVED_CASES, ids=lambda case: case.name)
def test_what_the_server_takes_is_no_error(repository, case):
    case.write(repository)
    findings = found_in(repository, case.name)
    assert [finding.message for finding in findings if finding.severity == "error"] == []
    if case.code:
        assert case.code in {finding.code for finding in findings}


def test_every_code_has_a_meaning_and_is_an_area_and_a_word():
    for code, (severity, meaning) in CODES.items():
        assert severity in {"error", "warning"}
        assert meaning
        assert "-" in code
        assert code.replace("-", "").islower()
