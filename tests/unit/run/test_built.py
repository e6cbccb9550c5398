"""What was built of a model, served or left out."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prep_triton.artifact import Artifact, Engine, OnnxModel
from prep_triton.run.built import choose_built, find_left_out
from prep_triton.spec import EntrySpec
from prep_triton.workspace import Recipe, Workspace

from scripts.benchmarks.small_artifacts import make_engine, make_model
from tests.fakes.exported import store_export

FP32 = EntrySpec(runtime="onnxruntime")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "build")


@pytest.fixture
def model(workspace: Workspace) -> OnnxModel:
    return store_export(workspace.root)


def own_fields(artifact: Artifact) -> dict:
    return {key: getattr(artifact, key) for key in type(artifact).model_fields if key not in Artifact.model_fields}


def store_graph(workspace: Workspace, model: OnnxModel, precision: str, name: str = "") -> OnnxModel:
    recipe = Recipe("precision", name or f"tiny-{precision}", {}, {"onnx": model.key})
    return workspace.produce(
        recipe, OnnxModel, lambda folder: own_fields(make_model(folder)) | {"precision": precision}
    ).artifact


def store_engine(workspace: Workspace, graph: OnnxModel, **changes) -> Engine:
    recipe = Recipe("engine", f"tiny-{graph.precision}-{changes['builder']}", {}, {"onnx": graph.key})
    return workspace.produce(
        recipe, Engine, lambda folder: own_fields(make_engine(folder)) | {"precision": graph.precision, **changes}
    ).artifact


def test_a_model_of_which_nothing_was_built_is_served_in_fp32(workspace: Workspace, model: OnnxModel):
    assert choose_built(model, workspace) == ("onnxruntime", "fp32")
    assert find_left_out(model, FP32, workspace) == []


def test_engines_that_no_backend_loads_are_left_out_and_said(workspace: Workspace, model: OnnxModel):
    store_engine(workspace, store_graph(workspace, model, "fp16"), builder="tensorrt-rtx")
    assert choose_built(model, workspace) == ("onnxruntime", "fp32")
    (left,) = find_left_out(model, FP32, workspace)
    assert left.artifact == "tiny-fp16-tensorrt-rtx"
    assert "no Triton backend loads" in left.reason


def test_the_plans_that_were_built_last_are_served(workspace: Workspace, model: OnnxModel, monkeypatch):
    store_engine(workspace, store_graph(workspace, model, "fp16"), builder="tensorrt")
    assert choose_built(model, workspace) == ("tensorrt", "fp16")
    later = store_graph(workspace, model, "int8")
    store_engine(workspace, later, builder="tensorrt", created_at=datetime.now(UTC) + timedelta(hours=1))
    assert choose_built(model, workspace) == ("tensorrt", "int8")
    assert choose_built(model, workspace, "fp16") == ("tensorrt", "fp16")
    assert choose_built(model, workspace, "fp32") == ("onnxruntime", "fp32")
    (left,) = find_left_out(model, EntrySpec(runtime="tensorrt", precision="int8"), workspace)
    assert left.command == "prep assemble tiny --runtime tensorrt --precision fp16"


def test_a_graph_for_onnx_runtime_is_left_out_until_it_is_asked_for(workspace: Workspace, model: OnnxModel):
    store_graph(workspace, model, "fp16")
    (left,) = find_left_out(model, FP32, workspace)
    assert left.command == "prep assemble tiny --runtime onnxruntime --precision fp16"
    assert find_left_out(model, EntrySpec(runtime="onnxruntime", precision="fp16"), workspace) == []


def test_a_graph_that_is_no_longer_made_has_no_command(workspace: Workspace, model: OnnxModel):
    store_graph(workspace, model, "int8", "tiny-int8-cpu")
    (left,) = find_left_out(model, FP32, workspace)
    assert (left.artifact, left.reason, left.command) == ("tiny-int8-cpu", "a graph in int8 for ONNX Runtime", None)
