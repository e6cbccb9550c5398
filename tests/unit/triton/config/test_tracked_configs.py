"""The tracked config.pbtxt files are what the generator writes today."""

import subprocess

import pytest

from tests.fakes.shipped_configs import REPOSITORY, ROOT, render_shipped_configs

AGAIN = "write them again: python -m tests.fakes.shipped_configs, and look at the diff"


def tracked_names() -> set[str]:
    command = ["git", "-C", str(ROOT), "ls-files", "model_repository/*/config.pbtxt"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {line.split("/")[1] for line in listed.splitlines()}


def test_every_entry_of_a_shipped_config_is_tracked_and_nothing_else():
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    assert tracked_names() == set(render_shipped_configs()), AGAIN


@pytest.mark.parametrize("name", sorted(render_shipped_configs()))
def test_a_tracked_config_is_what_the_generator_writes(name: str):
    assert (REPOSITORY / name / "config.pbtxt").read_text(encoding="utf-8") == render_shipped_configs()[name], AGAIN


def test_the_five_deployments_of_the_benchmark_are_there():
    names = {"bert-base-onnx-cpu", "distilbert-onnx-cpu", "bert-base-onnx-gpu", "distilbert-onnx-gpu"}
    assert names | {"bert-base-trt-int8"} <= set(render_shipped_configs())
