"""`prep --help`, and that of every command, stays light: no heavy library, little CPU time."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from prep_triton.cli.app import app
from prep_triton.cli.choices import CHOICES
from typer.core import TyperGroup
from typer.main import get_command

HEAVY = {
    "google.cloud",
    "numpy",
    "onnx",
    "onnxruntime",
    "openvino",
    "polygraphy",
    "tensorrt",
    "tensorrt_rtx",
    "torch",
    "transformers",
    "tritonclient",
}
GROUP = get_command(app)
assert isinstance(GROUP, TyperGroup)
COMMANDS = list(GROUP.commands)

# Lists what each help has loaded by then; that of `prep` itself comes first, so that it is not charged with the others.
PROBE = """
import json, resource, sys
from typer.testing import CliRunner
from prep_triton.cli.app import app
answers = {}
for command in ["", *sys.argv[1:]]:
    result = CliRunner().invoke(app, [*command.split(), "--help"])
    usage = resource.getrusage(resource.RUSAGE_SELF)
    answers[command] = {
        "exit": result.exit_code,
        "output": result.output,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "modules": sorted({name.split(".")[0] for name in sys.modules} | {"google.cloud"} & set(sys.modules)),
    }
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def helps() -> dict[str, Any]:
    """What each command's help is and has loaded, all from one process; `prep`'s own is under the empty name."""
    command = [sys.executable, "-c", PROBE, *COMMANDS]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | {"NO_COLOR": "1"})
    return json.loads(done.stdout)


@pytest.mark.parametrize("command", ["", *COMMANDS], ids=lambda command: command or "prep")
def test_help_imports_no_heavy_library(helps: dict[str, Any], command: str):
    assert helps[command]["exit"] == 0
    assert not set(helps[command]["modules"]) & HEAVY


def test_the_list_of_commands_needs_no_pydantic(helps: dict[str, Any]):
    assert "pydantic" not in helps[""]["modules"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_commands_help_shows_an_example(helps: dict[str, Any], command: str):
    assert f"  prep {command}" in helps[command]["output"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_commands_help_has_its_choices_filled_in(helps: dict[str, Any], command: str):
    assert [table for table in CHOICES if f"{{{table}}}" in helps[command]["output"]] == []


def test_help_takes_less_than_0_3_s_of_cpu_time(helps: dict[str, Any]):
    assert helps[""]["cpu_s"] < 0.3
