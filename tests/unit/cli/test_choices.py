"""The choices that help and completion show are those of the tables they are stated in."""

import re
from typing import get_args

import pytest
from prep_triton.cli.choices import CHOICES, complete, fill_choices
from prep_triton.cli.entry_options import QueueOptions, ServingOptions, TextOptions
from prep_triton.cli.variant_options import CalibrationOptions
from prep_triton.spec import CalibrationSpec, LongInput, QueueSpec, ServingSpec, TextSpec
from pydantic import BaseModel

# A default that a help text names at its end, such as "[64]", by the spec that has it; a text that is no value of the
# field (say "[the profiles']") describes how it is found.
DOCUMENTED = [(TextOptions, TextSpec), (QueueOptions, QueueSpec), (ServingOptions, ServingSpec)]


@pytest.mark.parametrize("table", CHOICES)
def test_a_table_has_words_and_completes_each(table: str):
    words = CHOICES[table]()
    assert words
    assert all(word in complete(table)(word[:1]) for word in words)
    assert complete(table)("no such word") == []


def test_a_text_gets_the_words_of_the_tables_it_names():
    *others, last = get_args(LongInput)
    assert fill_choices("Long: {long_inputs}.") == f"Long: {', '.join(others)} or {last}."
    with pytest.raises(KeyError):
        fill_choices("{no_such_table}")


@pytest.mark.parametrize(
    ("group", "spec"), [*DOCUMENTED, (CalibrationOptions, CalibrationSpec)], ids=lambda kind: kind.__name__
)
def test_a_default_in_a_help_text_is_the_specs(group: type, spec: type[BaseModel]):
    texts = {name: hint.__metadata__[0].help for name, hint in group.__annotations__.items() if get_args(hint)}
    named = {name: match[1] for name, text in texts.items() if (match := re.search(r"\[([\w.]+)\]$", text))}
    defaults = {name: spec.model_fields[name.removeprefix("text_")].default for name in named}
    assert named
    assert named == {name: _as_text(value, like=named[name]) for name, value in defaults.items()}


def _as_text(value: object, *, like: str) -> str:
    return ("yes" if value else "no") if like in ("yes", "no") else str(value)
