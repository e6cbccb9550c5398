"""`prep inspect` and `prep compare`: what is meant by a name or a path, and what is said of it."""

import shutil

import pytest
from prep_triton.artifact import Engine, PrecisionProof, TensorSpec
from prep_triton.cli.app import app
from prep_triton.cli.documents.inspect import LoadedEngine, describe_loaded
from prep_triton.errors import SpecError, WorkspaceError
from prep_triton.run.subjects import find_subject
from prep_triton.spec import OptimizationProfile
from prep_triton.workspace import Recipe, Workspace
from typer.testing import CliRunner

from tests.fakes.documents import parse_document
from tests.fakes.onnx_bert import make_bert, store_model

NAME = "tiny-int8-rtx-sm75"


@pytest.fixture
def engine(workspace):
    def make(folder):
        (folder / "model.engine").write_bytes(b"engine")
        return {
            "builder": "tensorrt-rtx",
            "builder_version": "1.7.1",
            "precision": "int8",
            "gpu": "t4",
            "compute_capability": "7.5",
            "profiles": (OptimizationProfile(min=(1, 1), opt=(8, 32), max=(16, 32)),),
            "model_inputs": (TensorSpec(name="input_ids", dtype="INT64", shape=("batch", "sequence")),),
            "model_outputs": (TensorSpec(name="logits", dtype="FP32", shape=("batch", 2)),),
            "proof": PrecisionProof(
                method="strongly typed network",
                gemm_flops_share={"fp16": 0.25, "int8": 0.75},
                linear_flops_share={"int8": 1.0},
                layers={"fp16": 10, "int8": 4},
                weighed_at=(8, 32),
                weights_bytes=2048,
            ),
            "build_seconds": 1.5,
        }

    recipe = Recipe("engine", NAME, {"workspace_limit_mib": 512, "refit": False, "hardware_compatible": "none"})
    return workspace.produce(recipe, Engine, make).artifact


def test_an_engine_is_found_by_name_folder_and_file(workspace, engine, tmp_path):
    elsewhere = Workspace(tmp_path / "other")
    assert find_subject(NAME, workspace) == engine
    for reference in (engine.folder, engine.path("model.engine"), engine.path("manifest.json")):
        assert find_subject(str(reference), elsewhere) == engine


@pytest.mark.usefixtures("engine")
def test_an_unknown_engine_is_refused_with_the_nearest_names(workspace, tmp_path):
    with pytest.raises(SpecError, match="there is no 'tiny-int8-rtx-sm57'") as caught:
        find_subject("tiny-int8-rtx-sm57", workspace)
    assert caught.value.hint == f"did you mean {NAME}?"
    with pytest.raises(SpecError, match=f"no 'zzz' in .*; it holds {NAME}"):
        find_subject("zzz", workspace)
    for reference in ("", "..", "a" * 5000, "a/" * 2000, "no\0name"):
        with pytest.raises(SpecError, match=r"there is no|holds no artifact"):
            find_subject(reference, workspace)
    with pytest.raises(SpecError, match=r"and no such path$") as caught:
        find_subject(NAME, Workspace(tmp_path / "other"))
    assert "prep export" in caught.value.hint


def test_what_is_no_artifact_is_refused_and_what_is_damaged_says_so(workspace, engine, tmp_path):
    with pytest.raises(SpecError, match=r"holds no artifact: its manifest\.json cannot be read"):
        find_subject(str(tmp_path), workspace)
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(SpecError, match="holds neither a graph, an engine nor an entry"):
        find_subject(str(tmp_path), workspace)
    engine.path("model.engine").write_bytes(b"cut")
    with pytest.raises(WorkspaceError, match=r"model\.engine has 3 bytes, the manifest says"):
        find_subject(str(engine.folder), workspace)


def test_a_graph_is_found_by_name_folder_and_file_and_a_bare_file_belongs_to_none(workspace, tmp_path):
    model = store_model(workspace, make_bert(layers=1))
    for reference in (model.name, str(model.folder), str(model.path("model.onnx"))):
        assert find_subject(reference, workspace) == model
    shutil.copy(model.path("model.onnx"), tmp_path / "bare.onnx")
    assert find_subject(str(tmp_path / "bare.onnx"), workspace) is None


def test_inspect_takes_a_graph(workspace):
    model = store_model(workspace, make_bert(layers=1))
    answer = CliRunner().invoke(app, ["inspect", model.name, "--workspace", str(workspace.root), "--json"])
    content = parse_document(answer.stdout, "inspect")
    assert content["flops_share"] == {"fp32": 1.0}
    assert content["layers"]["fp32"] >= 6
    answer = CliRunner().invoke(app, ["inspect", model.name, "--workspace", str(workspace.root)])
    assert answer.exit_code == 0 and "100.0% FP32" in answer.output


def test_inspect_prints_what_an_engine_holds(workspace, engine):
    answer = CliRunner().invoke(app, ["inspect", NAME, "--workspace", str(workspace.root)])
    assert answer.exit_code == 0
    for message in (
        "25.0% FP16, 75.0% INT8, at 8x32",
        "100.0% INT8",
        "10 FP16, 4 INT8",
        "fused attention",
        "strongly typed network",
        "1x1,8x32,16x32",
        "2.0 KiB",
        "tensorrt-rtx 1.7.1",
        "7.5",
        "workspace_limit_mib 512",
        "[batch, sequence]",
        str(engine.folder),
        "No documented configuration: TensorRT-RTX documents INT8 for weights alone, and none on Turing",
        "The engine was not loaded",
    ):
        assert message in answer.output


@pytest.mark.usefixtures("engine")
def test_inspect_gives_one_json_document(workspace):
    answer = CliRunner().invoke(app, ["inspect", NAME, "--workspace", str(workspace.root), "--json"])
    content = parse_document(answer.stdout, "inspect")
    assert content["proof"]["linear_flops_share"] == {"int8": 1.0}
    assert content["loaded"] is None
    assert "NVIDIA driver" in content["problem"]
    assert content["caveat"].startswith("TensorRT-RTX documents INT8 for weights alone")


def test_an_unknown_engine_is_a_wrong_request(workspace):
    answer = CliRunner().invoke(app, ["inspect", "nothing", "--workspace", str(workspace.root)])
    assert answer.exit_code == 2


def test_a_loaded_engines_own_facts_are_told():
    facts = {
        "kernels": 30,
        "profiles": 1,
        "layers": {"fp16": 20, "int8": 10},
        "gemm_kernels": {"int8": 10},
        "fused_attention": True,
        "weights_bytes": None,
        "device_memory_bytes": 1 << 20,
        "refittable": False,
    }
    rows = dict(describe_loaded(LoadedEngine.model_validate(facts)))
    assert rows["GEMM kernels"] == "10 INT8"
    assert (rows["fused attention"], rows["activation memory"], rows["refittable"]) == ("yes", "1.0 MiB", "no")
    assert "weights" not in rows
