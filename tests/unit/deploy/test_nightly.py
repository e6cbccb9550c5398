"""The nightly's files: each GPU builds what the whole file wants, nothing has a key, and nobody runs as root."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from pipeline.cli.main import app
from pipeline.deploy.accelerators import ACCELERATOR_BY_GPU
from pipeline.spec import EngineSpec, RunSpec, load_run_spec, parse_run_spec

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / "scripts" / "select_gpus.py"
WORKFLOW = ROOT / ".github" / "workflows" / "nightly.yml"
JOBS_DIR = ROOT / "configs" / "gke" / "nightly"
NIGHTLY = ROOT / "configs" / "nightly.yaml"
CONFIG = """
models:
  - model: bert-base
    task: fill-mask
    variants:
      - {runtime: tensorrt, builder: tensorrt, precision: fp16, gpus: [T4, l4], seq_lens: "32,128", batch: "1,4,8"}
      - {runtime: onnxruntime}
  - model: distilbert
    variants:
      - {runtime: tensorrt, builder: tensorrt, precision: fp16, gpus: [l4]}
      - {runtime: tensorrt, builder: tensorrt-rtx, precision: fp16, gpus: [a10]}
publish: gs://bucket/models
"""


@pytest.fixture(scope="module")
def script() -> Any:
    """The module of `scripts/select_gpus.py`."""
    spec = importlib.util.spec_from_file_location("select_gpus", SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def list_engines(spec: RunSpec) -> list[tuple[str, EngineSpec]]:
    return [
        (model.model, engine)
        for model in spec.models
        for variant in model.variants
        if variant.runtime == "tensorrt" and variant.builder == "tensorrt"
        for engine in variant.engine_specs()
    ]


def test_gpus_are_those_that_plans_are_built_for(script):
    assert script.list_gpus(yaml.safe_load(CONFIG)) == ["l4", "t4"]


@pytest.mark.parametrize("text", [CONFIG, NIGHTLY.read_text()], ids=["mixed", "nightly.yaml"])
def test_gpus_together_build_the_very_engines_of_the_whole_file(script, text: str):
    config = yaml.safe_load(text)
    parts = [yaml.safe_dump(script.select_gpu(config, gpu)) for gpu in script.list_gpus(config)]
    built = [engine for part in parts for engine in list_engines(parse_run_spec(part, where="a part"))]
    wanted = list_engines(parse_run_spec(text, where="the whole"))
    assert sorted(map(repr, built)) == sorted(map(repr, wanted))


def test_part_of_a_gpu_publishes_nothing(script):
    assert "publish" not in script.select_gpu(yaml.safe_load(CONFIG), "t4")


def test_gpu_without_plans_is_refused_with_those_that_have_some(tmp_path: Path):
    (tmp_path / "config.yaml").write_text(CONFIG)
    command = [sys.executable, str(SCRIPT), str(tmp_path / "config.yaml"), "h100"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "builds no plan for h100, only for l4, t4" in done.stderr
    listed = subprocess.run(command[:-1], capture_output=True, text=True, check=True)
    assert json.loads(listed.stdout) == ["l4", "t4"]


def load_workflow() -> dict[str, Any]:
    return yaml.safe_load(WORKFLOW.read_text())


def list_scripts() -> list[str]:
    """Every shell script of the workflow and of the Jobs."""
    steps = [step["run"] for job in load_workflow()["jobs"].values() for step in job["steps"] if "run" in step]
    pods = [load_pod(path) for path in list_jobs()]
    return steps + [one["args"][0] for pod in pods for one in [*pod.get("initContainers", ()), *pod["containers"]]]


def test_workflow_may_read_and_its_last_job_alone_may_prove_who_it_is():
    workflow = load_workflow()
    assert workflow["permissions"] == {"contents": "read"}
    allowed = {name: job.get("permissions") for name, job in workflow["jobs"].items()}
    assert allowed == {"plan": None, "engines": None, "gather": {"contents": "read", "id-token": "write"}}
    assert "secrets." not in WORKFLOW.read_text()
    assert workflow["concurrency"] == {"group": "nightly", "cancel-in-progress": False}


def test_workflow_has_a_job_for_each_gpu_of_the_file():
    engines = load_workflow()["jobs"]["engines"]
    assert engines["strategy"]["matrix"]["gpu"] == "${{ fromJSON(needs.plan.outputs.gpus) }}"
    assert engines["runs-on"][-1] == "gpu-${{ matrix.gpu }}"


def test_no_expression_is_pasted_into_a_script():
    assert not [script for script in list_scripts() if "${{" in script]


def test_every_flag_that_the_nightly_gives_prep_exists():
    told = CliRunner().invoke(app, ["run", "--help"], env={"NO_COLOR": "1", "COLUMNS": "200"}).output
    lines = [
        line for script in list_scripts() for line in script.replace("\\\n", " ").splitlines() if "prep run" in line
    ]
    assert lines
    for flag in re.findall(r"(--[a-z-]+)", "\n".join(lines)):
        assert re.search(rf"{flag}\b", told), flag


def list_jobs() -> list[Path]:
    return [*sorted(JOBS_DIR.glob("engines-*.yaml")), JOBS_DIR / "gather.yaml"]


def load_pod(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text())["spec"]["jobTemplate"]["spec"]["template"]["spec"]


@pytest.mark.parametrize("path", list_jobs(), ids=lambda path: path.stem)
def test_job_has_no_right_that_it_does_not_need(path: Path):
    pod = load_pod(path)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    for container in [*pod.get("initContainers", ()), *pod["containers"]]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


@pytest.mark.parametrize("path", sorted(JOBS_DIR.glob("engines-*.yaml")), ids=lambda path: path.stem)
def test_job_of_a_gpu_runs_on_that_gpu_for_that_gpu(path: Path):
    gpu, pod = path.stem.removeprefix("engines-"), load_pod(path)
    assert pod["nodeSelector"] == {"cloud.google.com/gke-accelerator": ACCELERATOR_BY_GPU[gpu]}
    assert f'select_gpus.py "$CONFIG" {gpu}' in pod["containers"][0]["args"][0]
    assert f'touch "/work/nights/$night/{gpu}"' in pod["containers"][0]["args"][0]


def test_jobs_build_for_every_gpu_of_the_nightly_file(script):
    resources = yaml.safe_load((JOBS_DIR / "kustomization.yaml").read_text())["resources"]
    gpus = script.list_gpus(yaml.safe_load(NIGHTLY.read_text()))
    assert {f"engines-{gpu}.yaml" for gpu in gpus} == {name for name in resources if name.startswith("engines")}
    assert load_run_spec(NIGHTLY).publish is None


def test_an_outcome_that_another_try_does_not_mend_is_not_tried_again():
    job = yaml.safe_load((JOBS_DIR / "gather.yaml").read_text())["spec"]["jobTemplate"]["spec"]
    assert job["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"] == [2, 3, 4]
    assert load_pod(JOBS_DIR / "gather.yaml")["restartPolicy"] == "Never"
