"""The tracked config.pbtxt files are what the generator writes today."""

import subprocess

import pytest
from prep_triton.spec import load_run_spec

from tests.fakes.shipped_configs import REPOSITORY, ROOT, make_record, render_shipped_configs

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


# sentence_bert_config.json of all-MiniLM-L6-v2; model_max_length of bert-base-uncased and distilbert-base-uncased.
DECLARED = {"minilm": 256, "bert-base": 512, "distilbert": 512}


@pytest.mark.parametrize("name", sorted({path.stem for path in (ROOT / "configs").glob("*.yaml")} - {"gke-benchmark"}))
def test_the_plans_of_a_shipped_config_end_where_its_checkpoint_declares(name: str):
    """But for the benchmark's, whose 384 is that of the deployments that it repeats."""
    for model in load_run_spec(ROOT / "configs" / f"{name}.yaml").models:
        for variant in model.variants:
            profiles = variant.engine_profiles(make_record(model).usual_length)
            assert profiles[-1].max[1] == DECLARED[model.model]
