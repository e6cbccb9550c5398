"""What a run is refused for before its first minute of work."""

from pathlib import Path

import pytest
from prep_triton.engine.machine import Machine
from prep_triton.errors import EngineError, ServerError, SpecError, UnsupportedGpuError, WorkspaceError
from prep_triton.run.checks import check_machine, check_places
from prep_triton.run.file_checks import check_run_spec
from prep_triton.run.names import name_of_model
from prep_triton.run.resolve import ResolvedRun
from prep_triton.spec import ModelSpec, RunSpec, parse_run_spec
from prep_triton.workspace import Workspace

from tests.fakes.machines import make_machine

ONNX = "{runtime: onnxruntime}"
RTX = "{runtime: tensorrt, builder: tensorrt-rtx, precision: fp16, gpus: [t4]}"


def run_spec(*models: tuple[str, str], more: str = "") -> RunSpec:
    """Build a pipeline of (model and its keys, variants) pairs."""
    lines = [f"  - {{model: {model}, variants: [{variants}]}}" for model, variants in models]
    return parse_run_spec("\n".join([more, "models:", *lines]), where="a test")


@pytest.mark.parametrize(
    ("spec", "message", "hint"),
    [
        (
            run_spec(("./bert", ONNX), ("./other/bert", RTX)),
            "models[1]: it has the name 'bert', as models[0] has",
            "name",
        ),
        (run_spec(("./a, name: x", ONNX), ("./b, name: x", ONNX)), "it has the name 'x'", "name"),
        (run_spec(("bert-base", f"{ONNX}, {ONNX}")), "models[0].variants[1]: it is there twice", "remove"),
        (
            run_spec(("bert-base", f"{ONNX}, {{runtime: onnxruntime, serving: {{instance_count: 2}}}}")),
            "models[0].variants[1]: it would be the entry 'bert-base-onnx-fp32', as models[0].variants[0] is",
            "name: bert-base-onnx-fp32-2",
        ),
        (
            run_spec(("./a", "{runtime: onnxruntime, name: x}"), ("./b", "{runtime: onnxruntime, name: x}")),
            "models[1].variants[0]: it would be the entry 'x', as models[0].variants[0] is",
            "another name",
        ),
        (
            run_spec(("./a", ONNX), ("./a-fp32", ONNX)),  # an entry's name does not say a precision twice
            "it would be the entry 'a-onnx-fp32'",
            "another name",
        ),
    ],
)
def test_a_config_that_no_machine_can_run_is_refused(spec: RunSpec, message: str, hint: str):
    with pytest.raises(SpecError) as refused:
        check_run_spec(spec)
    assert message in refused.value.message
    assert hint in refused.value.hint


@pytest.mark.parametrize(
    "spec",
    [
        run_spec(("bert-base", f"{ONNX}, {{runtime: onnxruntime, precision: fp16}}"), ("distilbert", ONNX)),
        run_spec(("./a", f"{ONNX}, {{runtime: onnxruntime, name: second}}")),
        # Engines of TensorRT-RTX become no entry, so two profiles do not meet.
        run_spec(("./a", f"{RTX}, {{runtime: tensorrt, builder: tensorrt-rtx, precision: fp16, gpus: [l4]}}, {ONNX}")),
    ],
)
def test_what_has_names_of_its_own_passes(spec: RunSpec):
    check_run_spec(spec)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("bert-base", "bert-base"),
        ("sentence-transformers/all-MiniLM-L6-v2", "all-minilm-l6-v2"),
        ("./folder/My Bert/", "my-bert"),
        ("/", "model"),
    ],
)
def test_a_model_has_the_name_of_its_last_part(model: str, name: str):
    assert name_of_model(ModelSpec(model=model)) == name


def test_a_folder_named_by_a_dot_has_its_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "bert"
    folder.mkdir()
    monkeypatch.chdir(folder)
    assert name_of_model(ModelSpec(model=".")) == "bert"
    assert name_of_model(ModelSpec(model=".", name="chosen")) == "chosen"


def resolved(spec: RunSpec, *, verify: bool = False, machine: Machine | None = None) -> ResolvedRun:
    """A run of a file on a machine that builds ahead of time alone."""
    machine = machine or make_machine(builders=["tensorrt-rtx"])
    return ResolvedRun(spec, Workspace(), machine, store=None, is_verified=verify)


def test_engines_that_nothing_loads_are_not_built():
    with pytest.raises(SpecError, match="only engines are TensorRT-RTX ones") as refused:
        check_machine(resolved(run_spec(("./a", RTX))))
    assert "runtime: onnxruntime" in refused.value.hint
    check_machine(resolved(run_spec(("./a", RTX), ("./b", ONNX))))


def test_a_gpu_that_the_builder_cannot_build_for_is_refused():
    spec = run_spec(("./a", ONNX), ("./b", RTX.replace("t4", "h100")))
    with pytest.raises(UnsupportedGpuError, match="h100"):
        check_machine(resolved(spec))


def test_a_builder_that_is_not_there_is_refused():
    spec = run_spec(("./a", RTX), ("./b", ONNX))
    with pytest.raises(EngineError, match="cannot be used here: it is not installed"):
        check_machine(resolved(spec, machine=make_machine(builders=[])))


def test_a_missing_server_is_refused_only_where_one_is_needed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PREP_TRITONSERVER", "/nowhere/tritonserver")
    spec = run_spec(("./a", ONNX))
    with pytest.raises(ServerError, match="which is not a program"):
        check_machine(resolved(spec, verify=True))
    check_machine(resolved(spec))
    check_machine(resolved(run_spec(("./a", ONNX), more="verify: {server_url: host:8001}"), verify=True))


def test_a_workspace_or_repository_that_cannot_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    run = resolved(run_spec(("./a", ONNX), more="repository: taken/repository"))
    check_places(run)
    (tmp_path / "taken").touch()
    with pytest.raises(
        WorkspaceError, match=r"the model repository taken/repository cannot be written: .*taken is a file"
    ):
        check_places(run)
    assert list(tmp_path.iterdir()) == [tmp_path / "taken"]
    # The tests may run as root, who may write everywhere.
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(WorkspaceError, match=r"the workspace .*build cannot be written") as refused:
        check_places(run)
    assert "--workspace" in refused.value.hint
