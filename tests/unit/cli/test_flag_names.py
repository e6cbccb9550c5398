"""configs/README.md: a key and its flag have one name, but for those in its table."""

import re
from pathlib import Path

import pytest
from prep_triton.cli.app import app
from prep_triton.cli.flag_names import flags_named, name_flags
from prep_triton.errors import Fault, SpecError
from prep_triton.spec import RunSpec
from pydantic import BaseModel
from typer.core import TyperGroup
from typer.main import get_command

README = Path(__file__).parents[3] / "configs" / "README.md"
COMMANDS = ("export", "build-engine", "assemble", "lint", "verify", "publish", "run")


def list_flags() -> set[str]:
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    options = [option for name in COMMANDS for option in group.commands[name].params]
    return {flag for option in options for flag in (*option.opts, *option.secondary_opts)}


def read_table() -> dict[str, str]:
    """Return what the table says of each key."""
    text = README.read_text(encoding="utf-8").partition("**Flags.**")[2].partition("**Variables.**")[0]
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| `")]
    return {key: flag for keys, flag in rows for key in re.findall(r"`([^`]+)`", keys)}


def walk(name: str, annotation: object, path: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    here = (*path, name)
    keys = {here}
    for model in models_of(annotation):
        for key, field in model.model_fields.items():
            keys |= walk(key, field.annotation, here)
    return keys


def models_of(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in getattr(annotation, "__args__", ()) for model in models_of(argument)]


KEYS = sorted({path for name, field in RunSpec.model_fields.items() for path in walk(name, field.annotation)})


@pytest.mark.parametrize("path", KEYS, ids=".".join)
def test_a_key_has_a_flag_of_its_name_or_is_in_the_table(path: tuple[str, ...]):
    exceptions = read_table()
    if "--" + path[-1].replace("_", "-") in list_flags():
        return
    names = {".".join(path[begin:end]) for begin in range(len(path)) for end in range(begin + 1, len(path) + 1)}
    own = {name for name in names if name.split(".")[-1] == path[-1]}
    above = {name for name in names if "in a file alone" in exceptions.get(name, "")}
    assert own & exceptions.keys() or above, ".".join(path)


def test_every_flag_and_key_of_the_table_is_there():
    known = {name for path in KEYS for name in (path[-1], ".".join(path[-2:]))}
    for key, flag in read_table().items():
        assert key.removesuffix(": null") in known, key
        assert set(re.findall(r"--[a-z0-9-]+", flag)) <= list_flags(), flag


FLAGS = {
    "seed": "--seed",
    "weights": "--weights",
    "refit": "--refit",
    "min_cosine": "--min-cosine",
    "search": "--search",
}


@pytest.mark.parametrize(
    ("message", "named"),
    [
        ("seed belongs to weights: random", "--seed belongs to --weights random"),
        ("add weights: random, or remove seed", "add --weights random, or remove --seed"),
        ("min_cosine is 2", "--min-cosine is 2"),
        ("which search: false leaves out", "which --no-search leaves out"),
        ("refit means nothing to weights: it has none", "--refit means nothing to weights: it has none"),
        ("the weights of min_cosines are a seed of doubt", "the weights of min_cosines are a seed of doubt"),
    ],
)
def test_flags_stand_for_keys_where_a_sentence_means_the_key(message: str, named: str):
    error = SpecError(message, hint="x", faults=[Fault("the command line", message, "x")])
    assert name_flags(error, FLAGS, where="the command line").message.endswith(named)
    with pytest.raises(SpecError) as caught, flags_named(FLAGS):
        raise SpecError(message, hint=message)
    assert (caught.value.message, caught.value.hint) == (named, named)


def test_an_error_of_a_file_keeps_its_keys():
    fault = Fault("a.yaml:1:1: seed", "seed belongs to weights: random", "remove seed")
    with pytest.raises(SpecError) as caught, flags_named(FLAGS):
        raise SpecError(fault.message, hint=fault.hint, faults=[fault])
    assert caught.value.message == fault.message


def test_a_key_within_text_is_one_flag():
    with pytest.raises(SpecError) as caught, flags_named({"answers": "--answers", "text": "--text"}):
        raise SpecError("text.answers scores was asked for", hint="remove answers from text of e5")
    assert (caught.value.message, caught.value.hint) == ("--answers scores was asked for", "remove --answers of e5")
    with pytest.raises(SpecError) as caught, flags_named({"long_input": "--long-input", "text": "--text"}):
        raise SpecError("text.long_input stride", hint="choose long_input truncate or reject (--long-input), or not")
    assert (caught.value.message, caught.value.hint) == (
        "--long-input stride",
        "choose --long-input truncate or reject, or not",
    )
