import subprocess
import sys
from pathlib import Path

import pytest
from prep_triton.artifact import Engine, QuantizationRecord, TensorSpec
from prep_triton.engine import build
from prep_triton.engine.build import build_engine, match_tensors
from prep_triton.engine.elsewhere import is_built_elsewhere
from prep_triton.engine.request import name_variant
from prep_triton.errors import EngineError, SpecError, UnsupportedGpuError
from prep_triton.precision.fp16.stage import convert_to_fp16
from prep_triton.publish.cache import StoredCache
from prep_triton.spec import EngineSpec, OptimizationProfile
from prep_triton.workspace import Workspace

from tests.fakes.machines import make_machine
from tests.fakes.onnx_bert import make_bert, store_model

PROFILE = OptimizationProfile(min=(1, 16), opt=(8, 32), max=(16, 64))
OUTPUT = TensorSpec(name="logits", dtype="FP32", shape=("batch", "sequence", 32))


@pytest.fixture
def model(workspace):
    return store_model(workspace, make_bert(layers=1))


def spec(**fields):
    return EngineSpec(**{"precision": "fp16", "gpu": "l4", "builder": "tensorrt-rtx", "profiles": (PROFILE,), **fields})


@pytest.fixture
def no_worker(monkeypatch):
    """Fail the test if a child would be started."""
    monkeypatch.setattr(build, "run_worker", lambda *_, **__: pytest.fail("the worker was started"))
    monkeypatch.setattr(build, "detect_machine", lambda _: make_machine(driver=True))


@pytest.mark.usefixtures("no_worker")
def test_build_refuses_fp16_spec_when_graph_is_fp32(model, workspace):
    with pytest.raises(SpecError, match=r"the graph of tiny is fp32, and .* expected fp16") as caught:
        build_engine(model, spec(), workspace)
    assert "--fp16" in caught.value.hint


@pytest.mark.usefixtures("no_worker")
def test_build_refuses_an_int8_spec_when_the_graph_is_not_quantised(model, workspace):
    with pytest.raises(SpecError, match=r"the graph of tiny is fp32, and .* expected int8") as caught:
        build_engine(model, spec(precision="int8"), workspace)
    assert "--int8" in caught.value.hint


@pytest.mark.usefixtures("no_worker")
def test_build_refuses_a_graph_that_was_quantised_for_the_cpu(model, workspace):
    record = QuantizationRecord(scheme="dynamic W8A8", runtime="onnxruntime", linear_flops_share=1.0)
    for_cpu = model.model_copy(update={"precision": "int8", "quantization": record})
    with pytest.raises(SpecError, match=r"quantised for onnxruntime \(dynamic W8A8\)") as caught:
        build_engine(for_cpu, spec(precision="int8"), workspace)
    assert "prep build-engine --int8" in caught.value.hint


@pytest.mark.usefixtures("no_worker")
def test_build_refuses_an_option_of_the_other_builder_before_any_work(model, workspace):
    with pytest.raises(SpecError, match="refit means nothing to the tensorrt-rtx builder"):
        build_engine(model, spec(precision="fp32", refit=True), workspace)


@pytest.mark.usefixtures("no_worker")
def test_build_refuses_a_bucket_longer_than_the_model(model, workspace):
    request = EngineSpec(precision="fp32", gpu="l4", builder="tensorrt-rtx", seq_lens=(32, 64, 128))
    with pytest.raises(SpecError, match="128, tiny takes at most 64"):
        build_engine(model, request, workspace)


@pytest.mark.usefixtures("no_worker")
def test_build_refuses_a_profile_longer_than_the_model(model, workspace):
    longer = OptimizationProfile(min=(1, 16), opt=(8, 32), max=(16, 384))
    with pytest.raises(SpecError, match="384, tiny takes at most 64"):
        build_engine(model, spec(precision="fp32", profiles=(longer,)), workspace)


@pytest.mark.usefixtures("no_worker")
@pytest.mark.parametrize(
    ("gpu", "message"), [("h100", "does not build for h100"), ("t4", "no FP32 GEMMs"), ("x", "unknown")]
)
def test_build_refuses_gpus_before_any_work(model, workspace, gpu, message):
    with pytest.raises(UnsupportedGpuError, match=message):
        build_engine(model, spec(precision="fp32", gpu=gpu), workspace)
    assert not (workspace.root / "engine").exists()


@pytest.mark.usefixtures("no_worker")
def test_standard_builder_refuses_a_gpu_that_is_not_present(model, workspace):
    with pytest.raises(UnsupportedGpuError, match=r"asked for l4 \(8\.9\), here: none"):
        build_engine(model, spec(precision="fp32", builder="tensorrt"), workspace)


@pytest.fixture
def worker(monkeypatch, model):
    """A worker that writes an engine and describes it as its graph is."""

    def answer(request, **_):
        Path(request["engine_path"]).write_bytes(b"engine")
        sides = [
            [{"name": tensor.name, "dtype": tensor.dtype, "shape": [-1] * len(tensor.shape)} for tensor in side]
            for side in (model.model_inputs, model.model_outputs)
        ]
        proof = {"method": "a test", "gemm_flops_share": {"fp32": 1.0}, "layers": {}}
        return {"inputs": sides[0], "outputs": sides[1], "proof": proof}

    monkeypatch.setattr(build, "run_worker", answer)
    monkeypatch.setattr("prep_triton.engine.builders._find_version", lambda _: "10.13.2")


@pytest.mark.usefixtures("worker")
def test_gpus_of_one_architecture_share_an_engine_and_builders_do_not(model, workspace):
    first, second, other = (
        build_engine(model, spec(precision="fp32", gpu=gpu, builder=builder), workspace, make_machine("a10"))
        for gpu, builder in (("a10", "tensorrt-rtx"), ("rtx3090", "tensorrt-rtx"), ("a10", "tensorrt"))
    )
    assert [built.artifact.name for built in (first, other)] == ["tiny-fp32-rtx-sm86", "tiny-fp32-trt-sm86"]
    assert (second.reused, second.artifact.key, other.reused) == (True, first.artifact.key, False)
    assert first.artifact.tools == {"tensorrt-rtx": "10.13.2"}


NO_GPU = make_machine(builders=["tensorrt-rtx"])


def gathered(workspace):
    """A machine that has neither GPU nor TensorRT, and the workspace of those that have."""
    plans = workspace.list_current("engine", Engine)
    return make_machine(builders=["tensorrt-rtx"], plans=plans)


@pytest.mark.usefixtures("worker")
def test_a_plan_that_another_machine_built_is_shipped_without_its_gpu(model, workspace):
    request = spec(precision="fp32", gpu="a10", builder="tensorrt")
    assert not is_built_elsewhere(request, NO_GPU)
    plan = build_engine(model, request, workspace, make_machine("a10")).artifact
    machine = gathered(workspace)
    assert is_built_elsewhere(request, machine)
    assert is_built_elsewhere(spec(precision="fp32", gpu="rtx3090", builder="tensorrt"), machine)  # one architecture
    assert not is_built_elsewhere(spec(precision="fp32", gpu="t4", builder="tensorrt"), machine)
    assert not is_built_elsewhere(spec(precision="fp32", gpu="a10"), machine)  # RTX builds ahead of time
    assert not is_built_elsewhere(request, make_machine("a10", plans=machine.plans))  # it can be built here
    gathered_plan = build_engine(model, request, workspace, machine)
    assert (gathered_plan.artifact.key, gathered_plan.reused) == (plan.key, True)


@pytest.mark.usefixtures("worker")
def test_plans_are_handed_over_by_a_remote_cache(model, workspace, tmp_path):
    """What the Jobs of a fleet do: each GPU's machine saves its plan, and one without a GPU gathers them."""
    remote = StoredCache(str(tmp_path / "cache"))
    wide = OptimizationProfile(min=(1, 16), opt=(8, 64), max=(16, 64))
    requests = [
        spec(precision="fp32", gpu="a10", builder="tensorrt", profiles=(profile,)) for profile in (PROFILE, wide)
    ]
    builder = Workspace(tmp_path / "a10", remote=remote)
    plans = [build_engine(model, request, builder, make_machine("a10")).artifact for request in requests]
    gathering = Workspace(tmp_path / "gather", remote=StoredCache(remote.uri))
    machine = make_machine(remote_names=gathering.list_remote_names("engine"))
    assert not is_built_elsewhere(spec(precision="fp32", gpu="t4", builder="tensorrt"), machine)
    for request, plan in zip(requests, plans, strict=True):
        assert is_built_elsewhere(request, machine)
        gathered_plan = build_engine(model, request, gathering, machine).artifact
        assert gathered_plan.key == plan.key
        assert gathered_plan.folder.is_relative_to(gathering.root)
        assert gathered_plan.path("model.engine").read_bytes() == plan.path("model.engine").read_bytes()
        assert gathering.current("engine", plan.name, Engine) == gathered_plan
    with pytest.raises(EngineError, match=r"is of another graph or of other options in .*gather and .*cache"):
        build_engine(model.model_copy(update={"key": "another"}), requests[0], gathering, machine)


@pytest.mark.usefixtures("worker")
def test_plans_of_one_name_with_other_profiles_are_told_apart(model, workspace):
    wide = OptimizationProfile(min=(1, 16), opt=(8, 64), max=(16, 64))
    requests = [spec(precision="fp32", builder="tensorrt", profiles=(profile,)) for profile in (PROFILE, wide)]
    plans = [build_engine(model, request, workspace, make_machine("l4")).artifact for request in requests]
    assert plans[0].name == plans[1].name
    keys = [build_engine(model, request, workspace, gathered(workspace)).artifact.key for request in requests]
    assert keys == [plan.key for plan in plans]


@pytest.mark.usefixtures("worker")
def test_a_plan_of_another_graph_or_of_other_options_is_not_shipped(model, workspace):
    request = spec(precision="fp32", gpu="a10", builder="tensorrt")
    build_engine(model, request, workspace, make_machine("a10"))
    for other_model, other in (
        (model.model_copy(update={"key": "another"}), request),
        (model, request.model_copy(update={"optimization_level": 5})),
    ):
        with pytest.raises(EngineError, match=r"sm86 cannot be built here, .* of another graph") as caught:
            build_engine(other_model, other, workspace, gathered(workspace))
        assert "prep run FILE --only-gpu a10" in caught.value.hint
    with pytest.raises(EngineError, match="built elsewhere is missing"):
        build_engine(model.model_copy(update={"name": "other"}), request, workspace, gathered(workspace))


def test_a_name_says_its_precision_once():
    assert (name_variant("minilm", "fp32"), name_variant("minilm-fp16", "fp16")) == ("minilm-fp32", "minilm-fp16")


def test_dynamic_axes_take_the_names_of_the_graph():
    built = [{"name": "logits", "dtype": "FP32", "shape": [-1, -1, 32]}]
    assert match_tensors(built, [OUTPUT], "output") == (OUTPUT,)


@pytest.mark.parametrize("change", [{"dtype": "FP16"}, {"shape": [-1, -1, 33]}, {"shape": [-1, 32]}])
def test_a_tensor_that_differs_from_the_graphs_record_is_refused(change):
    built = [{"name": "logits", "dtype": "FP32", "shape": [-1, -1, 32], **change}]
    with pytest.raises(EngineError, match="the graph's record says FP32") as caught:
        match_tensors(built, [OUTPUT], "output")
    assert "prep export" in caught.value.hint


def test_other_tensor_names_are_refused():
    with pytest.raises(EngineError, match=r"outputs are \['y'\], the graph's record says \['logits'\]"):
        match_tensors([{"name": "y", "dtype": "FP32", "shape": []}], [OUTPUT], "output")


def test_a_found_engine_costs_no_heavy_import(workspace, model):
    convert_to_fp16(model, workspace)
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "import prep_triton.engine.build\n"
        "from prep_triton.artifact import OnnxModel\n"
        "from prep_triton.precision.fp16.stage import convert_to_fp16\n"
        "from prep_triton.workspace import Workspace\n"
        "workspace = Workspace(Path(sys.argv[1]))\n"
        "assert convert_to_fp16(workspace.current('export', 'tiny', OnnxModel), workspace).reused\n"
        "print(*sorted({'numpy', 'onnx', 'polygraphy', 'tensorrt_rtx', 'torch'} & set(sys.modules)))\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code, str(workspace.root)], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == ""
