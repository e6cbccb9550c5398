"""`prep assemble` from the flags to the files, on a workspace that holds a small graph."""

import shutil

import pytest
from prep_triton.artifact import OnnxModel
from prep_triton.cli.app import app
from prep_triton.workspace import Recipe, Workspace
from typer.testing import CliRunner

from scripts.benchmarks.small_artifacts import make_model
from tests.fakes.documents import parse_document


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = make_model(tmp_path / "model")
    own = set(OnnxModel.model_fields) - {"name", "key", "folder", "files", "spec", "inputs", "tools", "created_at"}

    def make(staging):
        shutil.copytree(model.folder, staging, dirs_exist_ok=True)
        return {name: getattr(model, name) for name in own}

    Workspace(tmp_path / "build").produce(Recipe(stage="export", name="tiny", spec={}), OnnxModel, make)
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(app, ["assemble", "tiny", *map(str, arguments)])


def test_a_dry_run_prints_what_would_be_written_and_writes_nothing(folder):
    shown = run("--tier", 1, "--warmup", "--dry-run")
    assert shown.exit_code == 0, shown.output
    assert not (folder / "build/model_repository").exists()
    assert run("--tier", 1, "--warmup").exit_code == 0
    written = (folder / "build/model_repository/tiny-onnx-fp32/config.pbtxt").read_text()
    assert shown.stdout == written
    document = parse_document(run("--tier", 1, "--warmup", "--dry-run", "--json").stdout, "assemble")
    assert document == {"dry_run": True, "entries": [{"name": "tiny-onnx-fp32", "config": written}]}


def test_a_dry_run_converts_nothing(folder):
    done = run("--precision", "fp16", "--dry-run", "--json")
    assert done.exit_code == 1
    error = parse_document(done.stdout, "error")["error"]
    assert error["message"] == "the fp16 graph of tiny is not made yet, and a dry run makes nothing"
    assert error["hint"].startswith("prep build-engine tiny --runtime onnxruntime --fp16")
    assert not (folder / "build/precision").exists()


def test_serving_choices_reach_the_file_and_the_server_arguments_are_told(folder):
    (folder / "serving.yaml").write_text("instance_groups: [{count: 2, rate_limiter: {priority: 3}}]\n")
    done = run("--serving", "serving.yaml", "--max-queue-delay-us", 7, "--graph-level", -1)
    assert done.exit_code == 0, done.output
    assert (
        "tritonserver --model-repository=build/model_repository $(cat build/model_repository/server.args)"
        in done.stdout
    )
    assert (folder / "build/model_repository/server.args").read_text() == "--rate-limit=execution_count\n"
    text = (folder / "build/model_repository/tiny-onnx-fp32/config.pbtxt").read_text()
    for line in ("priority: 3", "max_queue_delay_microseconds: 7", "level: -1"):
        assert line in text


def test_a_choice_that_means_nothing_is_a_usage_error(folder):
    done = run("--cuda-graphs", "--json")
    assert done.exit_code == 2
    assert parse_document(done.stdout, "error")["error"]["message"].startswith(
        "--cuda-graphs true was asked for, but it means nothing"
    )
    assert not (folder / "build/model_repository/tiny-onnx-fp32").exists()
