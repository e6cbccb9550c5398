"""Inputs and outputs by themselves."""

from prep_triton.triton.lint import lint_repository

from tests.fakes.lint_cases import python_config, write_python
from tests.fakes.lint_helpers import only


def test_duplicated_tensors_are_an_error_though_some_backends_take_them(repository):
    write_python(repository, "one", python_config("one", 'input [{ name: "a" data_type: TYPE_INT64 dims: [1] }]'))
    assert only(lint_repository(repository), "tensor-duplicate").field == "input[1]"
