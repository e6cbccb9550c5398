"""The text of config.pbtxt: unknown fields, keys given twice, escapes, each with its line."""

from prep_triton.triton.lint import lint_repository

from tests.fakes.lint_cases import (
    python_config,
    write_python,
)
from tests.fakes.lint_helpers import only


def test_every_unknown_field_has_its_line_wherever_it_is_nested(repository):
    write_python(
        repository,
        "one",
        python_config("one", 'dynamic_batching {\n  max_delay: 3\n}\nparameters {\n key: "a"\n value { s: "" }\n}'),
    )
    findings = [finding for finding in lint_repository(repository).errors if finding.code == "config-unknown-field"]
    line = python_config("one").count("\n") + 2
    assert [finding.line for finding in findings] == [line, line + 4]
    assert [finding.field for finding in findings] == ["max_delay", "s"]


def test_a_key_that_is_given_twice_is_found(repository):
    twice = 'parameters { key: "k" value { string_value: "1" } } ' * 2
    write_python(repository, "one", python_config("one", twice))
    assert "'k' twice" in only(lint_repository(repository), "config-duplicate-key").message


def test_an_escape_that_is_none_is_refused_as_the_server_does(repository):
    write_python(repository, "one", python_config("one", 'parameters { key: "a\\ " value { string_value: "" } }'))
    assert "escape" in only(lint_repository(repository), "config-syntax").message
