"""The documents name files and commands that exist, and README stays short."""

import re
from pathlib import Path

import pytest
from prep_triton.cli.app import app
from typer.core import TyperGroup
from typer.main import get_command

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "pipeline" / "prep_triton"
DOCUMENTS = sorted(path for folder in (".", "docs", "scripts", "configs") for path in (ROOT / folder).glob("*.md"))
# A path in backticks with a folder and an ending, or a link's target.
PATHS = re.compile(r"`((?:\./)?[\w.-]+(?:/[\w.-]+)*/[\w-]+\.(?:py|md|yaml|yml|toml))`|\]\(((?!https?:)[^)#]+)\)")
# A command at the beginning of a line or of a code span, and what follows it but for a comment or a pipe of a shell.
COMMANDS = re.compile(r"(?:^ {4,}|`)(?:\$ )?prep ([a-z][a-z-]*)([^`#|\n]*)", re.MULTILINE)
FLAGS = re.compile(r"(?<!\S)--?[a-z][a-z0-9-]*")
MODULES = re.compile(r"python -m ((?:scripts|tests)[a-z_.]+)\b(?!\.?[A-Z])")


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_named_files_exist(path):
    named = [code or link for code, link in PATHS.findall(path.read_text(encoding="utf-8"))]
    roots = (path.parent, ROOT, PACKAGE, ROOT / "pipeline")
    assert [name for name in named if not any((root / name).exists() for root in roots)] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_named_modules_exist(path):
    for module in MODULES.findall(path.read_text(encoding="utf-8").replace(".NAME", "")):
        if (ROOT / module.replace(".", "/")).is_dir():
            continue
        assert (ROOT / f"{module.replace('.', '/')}.py").is_file(), module


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_named_flags_are_flags_of_the_command(path):
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    for name, rest in COMMANDS.findall(path.read_text(encoding="utf-8")):
        assert name in group.commands, f"prep {name}"
        options = {flag for option in group.commands[name].params for flag in (*option.opts, *option.secondary_opts)}
        assert set(FLAGS.findall(rest)) <= options | {"--help"}, f"prep {name}{rest}"
