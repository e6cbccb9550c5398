import subprocess
import sys
from pathlib import Path

import pytest
from prep_triton.artifact import QuantizationRecord, TensorSpec
from prep_triton.engine import build
from prep_triton.engine.build import build_engine, is_built_elsewhere, match_tensors, name_variant
from prep_triton.engine.builders import ResolvedBuilder
from prep_triton.errors import EngineError, SpecError, UnsupportedGpuError
from prep_triton.precision.fp16.stage import convert_to_fp16
from prep_triton.spec import EngineSpec, OptimizationProfile
from prep_triton.workspace import Workspace

from tests.fakes.onnx_bert import make_bert, store_model

PROFILE = OptimizationProfile(min=(1, 16), opt=(8, 32), max=(16, 64))
OUTPUT = TensorSpec(name="logits", dtype="FP32", shape=("batch", "sequence", 32))


@pytest.fixture
def workspace(tmp_path):
    return Workspace(tmp_path / "build")


@pytest.fixture
def model(workspace):
    return store_model(workspace, make_bert(layers=1))


def spec(**fields):
    return EngineSpec(**{"precision": "fp16", "gpu": "l4", "builder": "tensorrt-rtx", "profiles": (PROFILE,), **fields})


@pytest.fixture
def no_worker(monkeypatch):
    """Fail the test if a child would be started."""
    monkeypatch.setattr(build, "run_worker", lambda *_, **__: pytest.fail("the worker was started"))
    monkeypatch.setattr(build, "resolve_builder", lambda name: ResolvedBuilder(name, "1", "a test"))


@pytest.mark.usefixtures("no_worker")
def test_build_refuses_fp16_spec_when_graph_is_fp32(model, workspace):
    with pytest.raises(SpecError, match="an fp16 engine was asked for, but the graph of tiny is fp32") as caught:
        build_engine(model, spec(), workspace)
    assert "--fp16" in caught.value.hint


@pytest.mark.usefixtures("no_worker")
def test_build_refuses_an_int8_spec_when_the_graph_is_not_quantised(model, workspace):
    with pytest.raises(SpecError, match="an int8 engine was asked for, but the graph of tiny is fp32") as caught:
        build_engine(model, spec(precision="int8"), workspace)
    assert "--int8" in caught.value.hint


@pytest.mark.usefixtures("no_worker")
def test_build_refuses_a_graph_that_was_quantised_for_the_cpu(model, workspace):
    record = QuantizationRecord(scheme="dynamic W8A8", linear_flops_share=1.0)
    for_cpu = model.model_copy(update={"precision": "int8", "quantization": record})
    with pytest.raises(SpecError, match=r"quantised for ONNX Runtime on the CPU \(dynamic W8A8\)") as caught:
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
def test_standard_builder_refuses_a_gpu_that_is_not_present(model, workspace, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnsupportedGpuError, match=r"asked for l4 \(8\.9\), here: none"):
        build_engine(model, spec(precision="fp32", builder="tensorrt"), workspace)


def test_gpus_of_one_architecture_share_an_engine_and_builders_do_not(model, workspace, monkeypatch):
    def answer(request, **_):
        with open(request["engine_path"], "wb") as stream:  # noqa: PTH123
            stream.write(b"engine")
        tensors = [
            [{"name": tensor.name, "dtype": tensor.dtype, "shape": [-1] * len(tensor.shape)} for tensor in side]
            for side in (model.model_inputs, model.model_outputs)
        ]
        proof = {"method": "a test", "gemm_flops_share": {"fp32": 1.0}, "layers": {}}
        return {"inputs": tensors[0], "outputs": tensors[1], "proof": proof}

    monkeypatch.setattr(build, "run_worker", answer)
    monkeypatch.setattr(build, "check_gpu_present", lambda _: None)
    monkeypatch.setattr(build, "resolve_builder", lambda name: ResolvedBuilder(name, "1", "a test"))
    first, second, other = (
        build_engine(model, spec(precision="fp32", gpu=gpu, builder=builder), workspace)
        for gpu, builder in (("a10", "tensorrt-rtx"), ("rtx3090", "tensorrt-rtx"), ("a10", "tensorrt"))
    )
    assert [made.artifact.name for made in (first, other)] == ["tiny-fp32-rtx-sm86", "tiny-fp32-trt-sm86"]
    assert (second.reused, second.artifact.key, other.reused) == (True, first.artifact.key, False)
    assert first.artifact.tools == {"tensorrt-rtx": "1"}


@pytest.fixture
def build_on_a_gpu(monkeypatch, workspace):
    """Build a plan as a machine with the GPU would; afterwards this machine has neither GPU nor TensorRT."""

    def build_plan(model, request):
        def answer(wanted, **_):
            Path(wanted["engine_path"]).write_bytes(b"plan")
            sides = [
                [{"name": one.name, "dtype": one.dtype, "shape": [-1] * len(one.shape)} for one in side]
                for side in (model.model_inputs, model.model_outputs)
            ]
            proof = {"method": "a test", "gemm_flops_share": {"fp32": 1.0}, "layers": {}}
            return {"inputs": sides[0], "outputs": sides[1], "proof": proof}

        with monkeypatch.context() as played:
            played.setattr(build, "run_worker", answer)
            played.setattr(build, "check_gpu_present", lambda _: None)
            played.setattr(build, "is_built_elsewhere", lambda *_: False)
            played.setattr(build, "resolve_builder", lambda name: ResolvedBuilder(name, "10.13.2", "a test"))
            made = build_engine(model, request, workspace).artifact
        monkeypatch.setattr(build, "find_builder_problem", lambda _: "it is not installed")
        return made

    return build_plan


def test_a_plan_that_another_machine_built_is_shipped_without_its_gpu(model, workspace, build_on_a_gpu):
    request = spec(precision="fp32", gpu="a10", builder="tensorrt")
    assert not is_built_elsewhere(request, workspace)
    plan = build_on_a_gpu(model, request)
    assert is_built_elsewhere(request, workspace)
    assert is_built_elsewhere(spec(precision="fp32", gpu="rtx3090", builder="tensorrt"), workspace)  # one architecture
    assert not is_built_elsewhere(spec(precision="fp32", gpu="t4", builder="tensorrt"), workspace)
    assert not is_built_elsewhere(spec(precision="fp32", gpu="a10"), workspace)  # RTX builds ahead of time
    found = build_engine(model, request, workspace)
    assert (found.artifact.key, found.reused) == (plan.key, True)


def test_plans_of_one_name_with_other_profiles_are_told_apart(model, workspace, build_on_a_gpu):
    wide = OptimizationProfile(min=(1, 16), opt=(8, 64), max=(16, 64))
    requests = [spec(precision="fp32", builder="tensorrt", profiles=(profile,)) for profile in (PROFILE, wide)]
    plans = [build_on_a_gpu(model, request) for request in requests]
    assert plans[0].name == plans[1].name
    assert [build_engine(model, request, workspace).artifact.key for request in requests] == [one.key for one in plans]


def test_a_plan_of_another_graph_or_of_other_options_is_not_shipped(model, workspace, build_on_a_gpu):
    request = spec(precision="fp32", gpu="a10", builder="tensorrt")
    build_on_a_gpu(model, request)
    for other_model, other in (
        (model.model_copy(update={"key": "another"}), request),
        (model, request.model_copy(update={"optimization_level": 5})),
    ):
        with pytest.raises(EngineError, match=r"sm86 cannot be built here, .* of another graph") as caught:
            build_engine(other_model, other, workspace)
        assert "where there is a a10: prep build-engine --fp32 --gpu a10" in caught.value.hint
    with pytest.raises(EngineError, match="built elsewhere is missing"):
        build_engine(model.model_copy(update={"name": "other"}), request, workspace)


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
