"""Commands in hints and messages, of every room: each is one that the command line takes as it is written.

They are read from the source, so that one that no test causes is checked too. A command's name in the middle of a
sentence ("make one with prep assemble") is a name; with arguments, or after a colon, it is to be run.
"""

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import typer
from prep_triton import spec as specs
from prep_triton.cli.app import app
from typer.core import TyperGroup
from typer.main import get_command
from typer.testing import CliRunner

ROOT = Path(specs.__file__).parent.parent
GROUP = get_command(app)
assert isinstance(GROUP, TyperGroup)
COMMANDS = GROUP.commands
UsageError: type[Exception] = typer.BadParameter.__mro__[1]

# What stands for a value of the message: by the words in its expression, else a name.
SAMPLES = {
    "spec.seed": "1",
    "seed": "1",
    "flags_from_precision": "--int8 --calibration-data texts.txt",
    "precision": "fp16",
    "runtime": "onnxruntime",
    "gpu": "t4",
    "engine.gpu": "t4",
    "store": "gs://bucket/models",
    "uri": "gs://bucket/models",
    "keep": "3",
    "options": "--task fill-mask",
    "flags": "--int8 --min-cosine 0.9",
    "release_id": "20260131T235959Z-0123456789ab",
    "newest": "20260131T235959Z-0123456789ab",
    "config": "nightly.yaml",
}
FLAGS_OF_PIP = ("--upgrade", "--force-reinstall", "--only-binary")
NAMES_OF_MODELS = ("minilm", "bert-base")
COMMAND = re.compile(r"prep (?P<name>[a-z][a-z-]*)(?P<rest>[^`]*)", re.DOTALL)


class Hint(NamedTuple):
    where: str
    command: str
    words: list[str]
    is_complete: bool

    def __str__(self) -> str:
        return f"{self.where}: prep {' '.join([self.command, *self.words])}"


def sample_of(expression: str) -> str:
    words = re.findall(r"[a-z_.]+", expression)
    matches = [sample for key, sample in SAMPLES.items() for word in words if key in (word, word.split(".")[-1])]
    return matches[0] if matches else "NAME"


def render(node: ast.AST) -> str | None:
    """Render what a string of the source would be, with samples in its gaps."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value.replace("%s", "NAME")
    if isinstance(node, ast.FormattedValue):
        return sample_of(ast.unparse(node.value))
    if isinstance(node, ast.JoinedStr):
        return "".join(render(value) or "" for value in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        parts = [render(side) or sample_of(ast.unparse(side)) for side in (node.left, node.right)]
        return "".join(parts)
    return None


def iterate_strings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield every string but docstrings, with its line; of nested ones the outermost."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        text = render(node)
        if text is not None:
            yield getattr(node, "lineno", 0), text
            continue
        is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if not is_docstring:
            waiting += ast.iter_child_nodes(node)


def is_argument(word: str) -> bool:
    """Whether a word belongs to a command, and is no word of the sentence around it."""
    return not re.fullmatch(r"[a-z]+[.,;:)]*", word) or word in NAMES_OF_MODELS


def find_examples() -> Iterator[Hint]:
    """Yield the commands of every help."""
    for name, command in COMMANDS.items():
        for line in re.findall(r"^ *prep (.*)$", command.help or "", re.MULTILINE):
            words = shlex.split(line.partition(" > ")[0])  # without what the shell does
            yield Hint(f"prep {name} --help", words[0], words[1:], is_complete=True)


def find_hints() -> Iterator[Hint]:
    for path in sorted(ROOT.rglob("*.py")):
        for line, text in iterate_strings(ast.parse(path.read_text(encoding="utf-8"))):
            for chunk in re.split(r"(?=\bprep [a-z])", text):
                match = COMMAND.match(chunk)
                if match is None or match["name"] not in COMMANDS:
                    continue
                clause = re.split(r"[,;)]( |$)|, | \(|\n", match["rest"])[0]
                words = list[str]()
                for word in re.findall(r'"[^"]*"|\S+', clause):
                    if not is_argument(word) and not (words and words[-1].startswith("-")):
                        break
                    words.append(word.strip('"'))
                before = text[: text.index(chunk)].rstrip("`")
                is_run = bool(words) or before.endswith(": ") or not before
                yield Hint(f"{path.relative_to(ROOT)}:{line}", match["name"], words, is_run)


HINTS = [hint for hint in find_hints() if hint.is_complete]


@pytest.mark.parametrize("hint", [*HINTS, *find_examples()], ids=str)
def test_a_command_of_a_message_is_taken_by_the_command_line(hint: Hint):
    try:
        COMMANDS[hint.command].make_context(hint.command, list(hint.words))
    except UsageError as err:
        pytest.fail(f"{hint}: {err}")


@pytest.mark.parametrize(
    "hint", [hint for hint in (*HINTS, *find_examples()) if hint.command == "build-engine"], ids=str
)
def test_an_engine_of_a_message_can_be_asked_for(hint: Hint, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """An INT8 engine needs text, and some flags exclude others: all that is found before a model is needed."""
    monkeypatch.setattr("prep_triton.cli.build_engine.find_exported", lambda *_: [])
    monkeypatch.setattr("prep_triton.run.inputs.check_files", lambda _: None)
    answer = CliRunner().invoke(app, [hint.command, *hint.words, "--workspace", str(tmp_path)])
    assert answer.exit_code == 0, answer.output


def find_flags() -> Iterator[tuple[str, str]]:
    for path in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == "hint":
                for flag in re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", render(node.value) or ""):
                    yield f"{path.relative_to(ROOT)}:{node.value.lineno}", flag


@pytest.mark.parametrize(("where", "flag"), [pair for pair in find_flags() if pair[1] not in FLAGS_OF_PIP])
def test_a_flag_of_a_hint_is_one_of_a_command(where: str, flag: str):
    options = [option for command in COMMANDS.values() for option in command.params]
    assert flag in {name for option in options for name in (*option.opts, *option.secondary_opts)}, where


def test_the_source_has_many_of_them():
    rooms = {hint.where.partition("/")[0] for hint in HINTS}
    assert len(HINTS) > 40
    assert rooms >= {"cli", "engine", "precision", "publish", "run", "triton"}


OF_A_CHECKOUT = re.compile(r"(?<![\w/.-])(?:configs|scripts|tests|docs)/|\bconstraints\.txt\b|\bquickstart\.yaml\b")


def find_texts() -> Iterator[tuple[str, str]]:
    for path in sorted(ROOT.rglob("*.py")):
        for line, text in iterate_strings(ast.parse(path.read_text(encoding="utf-8"))):
            yield f"{path.relative_to(ROOT)}:{line}", text
    for name, command in COMMANDS.items():
        yield f"prep {name} --help", command.help or ""


def test_no_message_sends_to_a_file_that_a_wheel_does_not_have():
    """But for `python -m prep_triton.cli.documents.schemas`, which writes into a checkout."""
    found = [(where, text) for where, text in find_texts() if OF_A_CHECKOUT.search(text)]
    assert [(where, text) for where, text in found if not where.startswith("cli/documents/schemas.py")] == []
