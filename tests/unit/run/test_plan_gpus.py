"""Each GPU builds what the whole file wants of it, and nothing else."""

import json
from pathlib import Path

import pytest
from prep_triton.cli.app import app
from prep_triton.errors import SpecError, UnsupportedGpuError
from prep_triton.gpus import resolve_gpu
from prep_triton.run.plan_gpus import list_plan_gpus, select_plans
from prep_triton.run.resolve import RunChoices, resolve_run
from prep_triton.spec import EngineSpec, RunSpec, load_run_spec, parse_run_spec
from prep_triton.workspace import Workspace
from typer.testing import CliRunner

from tests.fakes.documents import parse_document

NIGHTLY = Path(__file__).parents[3] / "configs" / "nightly.yaml"
CONFIG = """
models:
  - model: bert-base
    task: fill-mask
    variants:
      - {runtime: tensorrt, builder: tensorrt, precision: fp16, gpus: [T4, l4], seq_lens: "32,128", batch: "1,4,8"}
      - {runtime: onnxruntime}
  - model: distilbert
    variants:
      - {runtime: tensorrt, builder: tensorrt, precision: fp16, gpus: [l4, rtx2080]}
      - {runtime: tensorrt, builder: tensorrt-rtx, precision: fp16, gpus: [a10]}
publish: gs://bucket/models
"""
MIXED = parse_run_spec(CONFIG, where="a test")


def list_plans(spec: RunSpec) -> list[tuple[str, EngineSpec]]:
    return [
        (model.model, engine)
        for model in spec.models
        for variant in model.variants
        if variant.runtime == "tensorrt" and variant.builder == "tensorrt"
        for engine in variant.engine_specs()
    ]


def test_gpus_are_those_that_plans_are_built_for_one_for_each_architecture():
    assert list_plan_gpus(MIXED) == ["l4", "t4"]


@pytest.mark.parametrize("spec", [MIXED, load_run_spec(NIGHTLY)], ids=["mixed", "nightly.yaml"])
def test_gpus_together_build_the_very_plans_of_the_whole_file(spec: RunSpec):
    parts = [select_plans(spec, gpu) for gpu in list_plan_gpus(spec)]
    assert sorted(repr(plan) for part in parts for plan in list_plans(part)) == sorted(map(repr, list_plans(spec)))


@pytest.mark.parametrize("name", ["t4", "T4", "sm75", "rtx2080ti"])
def test_a_gpu_builds_for_its_architecture_alone_whatever_it_is_called(name: str):
    part = select_plans(MIXED, name)
    assert {resolve_gpu(plan.gpu).compute_capability for _, plan in list_plans(part)} == {"7.5"}
    assert [model.model for model in part.models] == ["bert-base", "distilbert"]
    assert all(variant.runtime == "tensorrt" for model in part.models for variant in model.variants)


def test_a_part_publishes_and_verifies_nothing(tmp_path: Path):
    part = select_plans(MIXED.model_copy(update={"jobs": 2}), "t4")
    assert (part.publish, part.jobs) == (None, 1)
    run = resolve_run(part, Workspace(tmp_path), RunChoices(only_engines=True))
    assert (run.store, run.is_verified) == (None, False)
    with pytest.raises(SpecError, match="publishes nothing"):
        resolve_run(part, Workspace(tmp_path), RunChoices("./releases", only_engines=True))


def test_a_gpu_without_plans_is_refused_with_those_that_have_some():
    with pytest.raises(SpecError, match="builds no plan for h100, only for l4, t4") as refused:
        select_plans(MIXED, "h100")
    assert "--only-gpu" in refused.value.hint
    without = parse_run_spec("models: [{model: minilm, variants: [{runtime: onnxruntime}]}]", where="a test")
    assert list_plan_gpus(without) == []
    with pytest.raises(SpecError, match=r"builds no plan for t4$"):
        select_plans(without, "t4")
    with pytest.raises(UnsupportedGpuError, match="unknown GPU 't44'"):
        select_plans(MIXED, "t44")


def test_the_command_lists_gpus_a_line_each_and_as_json(tmp_path: Path):
    (tmp_path / "config.yaml").write_text(CONFIG)
    command = ["run", str(tmp_path / "config.yaml"), "--list-gpus"]
    assert CliRunner().invoke(app, command).stdout == "l4\nt4\n"
    answer = CliRunner().invoke(app, [*command, "--json"]).stdout
    assert parse_document(answer, "run") == json.loads(answer) == {"gpus": ["l4", "t4"]}
