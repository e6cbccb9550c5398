"""The error tree: what its docstring draws is what exists, and every error carries a hint."""

import inspect
import re

import pytest
from prep_triton import errors
from prep_triton.errors import PrepError, find_nearest, suggest

CLASSES = [
    item
    for _, item in inspect.getmembers(errors, inspect.isclass)
    if issubclass(item, PrepError) and item.__module__ == errors.__name__
]


def test_the_docstring_draws_every_error_and_no_other():
    assert errors.__doc__
    tree = errors.__doc__.split("::", 1)[1].split("A command ends", 1)[0]
    drawn = set(re.findall(r"^[\s|`-]*(\w+Error)\b", tree, flags=re.MULTILINE))
    assert drawn == {item.__name__ for item in CLASSES}


@pytest.mark.parametrize("error", CLASSES, ids=lambda item: item.__name__)
def test_every_error_says_what_and_what_to_do(error: type[PrepError]):
    raised = error("the model has no vocabulary", hint="add vocab.txt")
    assert str(raised) == raised.message == "the model has no vocabulary"
    assert raised.hint == "add vocab.txt"


def test_what_was_asked_for_wrongly_is_told_from_what_failed():
    """README: 2 when the request is wrong, 1 when something failed."""
    wrong = {"SpecError", "ModelMissingError", "UnsupportedGpuError", "RepositoryMissingError"}
    wrong |= {"BucketMissingError", "ReleaseMissingError"}
    assert {item.__name__ for item in CLASSES if item.exit_code == 2} == wrong
    assert {item.exit_code for item in CLASSES} == {1, 2}


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.SpecError, "spec_error"),
        (errors.WorkspaceBusyError, "workspace_busy"),
        (errors.UnsupportedGpuError, "unsupported_gpu"),
    ],
)
def test_an_error_has_a_code_for_a_machine(error: type[PrepError], code: str):
    assert error.code == code
    assert len({item.code for item in CLASSES}) == len(CLASSES)


def test_the_nearest_word_is_suggested_in_its_own_case():
    assert suggest("precison", ("precision", "profiles"), otherwise="known: ...") == "did you mean 'precision'?"
    assert suggest("B-per", ("O", "B-PER"), otherwise="known: ...") == "did you mean 'B-PER'?"


def test_a_word_that_is_near_nothing_gets_the_other_hint():
    assert suggest("zzz", ("precision",), otherwise="known keys: precision") == "known keys: precision"
    assert suggest("zzz", (), otherwise="there are none") == "there are none"


def test_of_names_that_differ_in_case_alone_the_first_is_suggested():
    assert find_nearest("label", ("Label", "LABEL"), count=3) == ["Label"]
    assert find_nearest("a1000", ("t4", "a100", "a10"), count=2) == ["a100", "a10"]
