"""Engines built by the real TensorRT-RTX builder, which needs no GPU."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper
from prep_triton.engine.build import build_engine
from prep_triton.engine.child import run_worker
from prep_triton.engine.options import plan_options
from prep_triton.errors import DiskFullError, EngineError
from prep_triton.precision.fp16.stage import convert_to_fp16
from prep_triton.spec import EngineSpec, OptimizationProfile
from prep_triton.workspace import Workspace

from tests.fakes.onnx_bert import HIDDEN, make_bert, store_model

pytest.importorskip("tensorrt_rtx", reason="the TensorRT-RTX builder has wheels for Linux on x86-64 only")
pytestmark = pytest.mark.integration

PROFILES = (
    OptimizationProfile(min=(1, 16), opt=(8, 32), max=(16, 64)),
    OptimizationProfile(min=(1, 1), opt=(1, 16), max=(1, 32)),
)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    return Workspace(tmp_path_factory.mktemp("build"))


@pytest.fixture(scope="module")
def fp32_model(workspace):
    return store_model(workspace, make_bert())


@pytest.fixture(scope="module")
def fp16_model(workspace, fp32_model):
    return convert_to_fp16(fp32_model, workspace).artifact


def spec(gpu, precision="fp16", **fields):
    return EngineSpec(precision=precision, gpu=gpu, builder="tensorrt-rtx", **{"profiles": PROFILES[:1], **fields})


def test_fp16_engine_for_a_t4_is_proved_and_reused(workspace, fp16_model):
    message = []
    built = build_engine(fp16_model, spec("t4"), workspace, progress=lambda _, fraction=None: message.append(fraction))
    engine = built.artifact
    assert (engine.name, engine.compute_capability, engine.builder) == ("tiny-fp16-rtx-sm75", "7.5", "tensorrt-rtx")
    assert engine.proof.gemm_flops_share == {"fp16": 1.0}
    assert engine.proof.method == "strongly typed network"
    assert engine.model_inputs == fp16_model.model_inputs
    assert engine.model_outputs == fp16_model.model_outputs
    assert engine.files["model.engine"].size > 10_000
    assert message == sorted(message)
    assert (message[0], message[-1]) == (0.0, 1.0)
    assert len(message) > 5
    assert build_engine(fp16_model, spec("t4"), workspace).reused


def test_fp32_engine_for_an_l4_takes_several_profiles_and_a_workspace_limit(workspace, fp32_model):
    fields = {"profiles": PROFILES, "workspace_limit_mib": 512}
    engine = build_engine(fp32_model, spec("l4", "fp32", **fields), workspace).artifact
    assert engine.proof.gemm_flops_share == {"fp32": 1.0}
    assert engine.profiles == PROFILES


def test_gemm_flops_are_those_of_the_architecture(fp16_model, tmp_path):
    """Counted by hand for the opt shape: 4 projections and 2 FFN products a layer, 2 attention products."""
    code = (
        "import sys\n"
        "from prep_triton.engine.flavour import choose_flavour\n"
        "choose_flavour('tensorrt-rtx')\n"
        "from polygraphy.backend.trt import NetworkFromOnnxPath\n"
        "from prep_triton.engine.network import NetworkReader\n"
        "_, network, _ = NetworkFromOnnxPath(sys.argv[1], strongly_typed=True)()\n"
        "print(sum(gemm.flops for gemm in NetworkReader(network).find_gemms((8, 32))))\n"
    )
    path = str(fp16_model.path("model.onnx"))
    answer = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    batch, sequence, layers = 8, 32, 2
    linear = 2 * batch * sequence * (4 * HIDDEN * HIDDEN + 2 * HIDDEN * 2 * HIDDEN)
    attention = 2 * 2 * batch * sequence * sequence * HIDDEN
    assert int(answer.stdout.splitlines()[-1]) == layers * (linear + attention)


def test_an_fp16_record_over_an_fp32_graph_is_found_out(workspace, fp32_model):
    liar = fp32_model.model_copy(update={"name": "liar", "precision": "fp16"})
    with pytest.raises(EngineError, match=r"its GEMM FLOPs are 100\.0% fp32 .*expected 100% fp16"):
        build_engine(liar, spec("l4"), workspace)
    assert list((workspace.root / "engine" / "liar-fp16-rtx-sm89").iterdir()) == []


def test_a_builder_error_is_told_in_its_own_words(fp32_model, tmp_path):
    """FP32 for Turing, past the check that refuses it first."""
    with pytest.raises(EngineError, match="FP32 GEMM is not supported") as caught:
        run_worker(request_for(fp32_model.path("model.onnx"), tmp_path, "7.5"), on_progress=lambda _: None)
    assert caught.value.message.startswith("tensorrt-rtx failed: ")


def test_a_parser_error_is_told_in_its_own_words(tmp_path):
    node = helper.make_node("Einsum", ["x", "x", "x"], ["y"], equation="ij,jk,kl->il")
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", "batch"]) for name in "xy"]
    graph = helper.make_graph([node, helper.make_node("Unknown", ["y"], ["z"])], "g", infos[:1], infos[1:])
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]), path)
    with pytest.raises(EngineError, match="Unknown"):
        run_worker(request_for(path, tmp_path, "8.9"), on_progress=lambda _: None)


def test_a_graph_that_is_not_there_is_an_engine_error(tmp_path):
    with pytest.raises(EngineError, match="Input file cannot be found"):
        run_worker(request_for(tmp_path / "missing.onnx", tmp_path, "8.9"), on_progress=lambda _: None)


def request_for(onnx_path: Path, folder: Path, capability: str) -> dict[str, object]:
    shapes = [[1, 16], [8, 32], [16, 64]]
    names = ("input_ids", "attention_mask", "token_type_ids")
    return {
        "task": "build",
        "builder": "tensorrt-rtx",
        "onnx_path": str(onnx_path),
        "engine_path": str(folder / "model.engine"),
        "compute_capability": capability,
        "profiles": [dict.fromkeys(names, shapes)],
        "weigh_at": [8, 32],
        **plan_options(spec("l4")),
        "timing_cache_path": None,
    }


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_told_as_such_and_leaves_nothing(workspace, fp16_model, monkeypatch):
    from prep_triton.engine import build

    def onto_a_full_disk(request, **options):
        return run_worker({**request, "engine_path": "/dev/full"}, **options)

    monkeypatch.setattr(build, "run_worker", onto_a_full_disk)
    with pytest.raises(DiskFullError):
        build_engine(fp16_model, spec("a100"), workspace)
    assert list((workspace.root / "engine" / "tiny-fp16-rtx-sm80").iterdir()) == []


def test_the_switch_of_one_flavour_does_not_reach_the_other(monkeypatch):
    """Polygraphy would take TensorRT-RTX for a standard build where the variable is set outside."""
    code = (
        "import os\n"
        "from prep_triton.engine import flavour\n"
        "flavour.choose_flavour('tensorrt')\n"
        "assert 'POLYGRAPHY_USE_TENSORRT_RTX' not in os.environ\n"
        "flavour.choose_flavour('tensorrt-rtx')\n"
        "from prep_triton.engine.flavour import trt\n"
        "print(trt.__name__)\n"
    )
    monkeypatch.setenv("POLYGRAPHY_USE_TENSORRT_RTX", "1")
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "tensorrt_rtx"


def test_worker_imports_neither_torch_nor_onnx():
    code = (
        "import sys\n"
        "from prep_triton.engine.flavour import choose_flavour\n"
        "choose_flavour('tensorrt-rtx')\n"
        "import prep_triton.engine.worker, prep_triton.engine.inspect\n"
        "import prep_triton.engine.progress, prep_triton.engine.device\n"
        "import tensorrt_rtx, polygraphy.backend.trt, polygraphy.backend.tensorrt_rtx\n"
        "print(*sorted({'onnx', 'onnxruntime', 'pydantic', 'torch', 'transformers'} & set(sys.modules)))\n"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == ""


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_a_worker_ends_when_its_parent_is_killed(tmp_path):
    """The parent is killed with SIGKILL right after the worker has asked the kernel to follow it."""
    code = (
        "import os, subprocess, sys\n"
        'child = "import os, sys, time\\n'
        "from prep_triton.child_process import end_with_parent\\n"
        "end_with_parent(int(sys.argv[1]))\\n"
        "print(os.getpid(), flush=True)\\n"
        'time.sleep(60)"\n'
        "subprocess.run([sys.executable, '-c', child, str(os.getpid())])\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        worker_pid = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        assert wait_until_gone(worker_pid)


def wait_until_gone(pid: int) -> bool:
    for _ in range(1200):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        stat = Path(f"/proc/{pid}/stat")
        if stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z":
            return True  # dead, and waiting for init to notice
        time.sleep(0.05)
    return False
