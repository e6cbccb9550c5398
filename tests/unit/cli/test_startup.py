"""`prep --help` stays light: it imports no heavy library and takes little CPU time."""

import json
import os
import subprocess
import sys

import pytest

HEAVY = {
    "torch",
    "transformers",
    "onnx",
    "onnxruntime",
    "tensorrt",
    "tensorrt_rtx",
    "polygraphy",
    "tritonclient",
    "numpy",
}
COMMANDS = [
    "export",
    "build-engine",
    "assemble",
    "lint",
    "verify",
    "client",
    "publish",
    "releases",
    "rollback",
    "prune",
    "fetch",
    "run",
    "doctor",
    "inspect",
]

PROBE = """
import json, resource, sys
from typer.testing import CliRunner
from prep_triton.cli.main import app
result = CliRunner().invoke(app, {arguments})
usage = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({{
    "exit": result.exit_code,
    "output": result.output,
    "cpu_s": usage.ru_utime + usage.ru_stime,
    "modules": sorted({{name.split(".")[0] for name in sys.modules}} | {{"google.cloud"}} & set(sys.modules)),
}}))
"""


def probe(*arguments: str) -> dict:
    command = [sys.executable, "-c", PROBE.format(arguments=list(arguments))]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | {"NO_COLOR": "1"})
    return json.loads(done.stdout)


@pytest.mark.parametrize("command", [[], *[[name] for name in COMMANDS]], ids=lambda given: " ".join(given) or "prep")
def test_help_imports_no_heavy_library(command: list[str]):
    seen = probe(*command, "--help")
    assert seen["exit"] == 0
    assert not set(seen["modules"]) & (HEAVY | {"google.cloud"})


@pytest.mark.parametrize("command", COMMANDS)
def test_every_commands_help_shows_an_example(command: str):
    assert f"prep {command}" in probe(command, "--help")["output"]


def test_help_takes_less_than_0_3_s_of_cpu_time():
    assert min(probe("--help")["cpu_s"] for _ in range(3)) < 0.3
