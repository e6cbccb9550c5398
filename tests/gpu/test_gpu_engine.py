"""Plans built by the standard TensorRT on a GPU: proved by its engine inspector, run, and timed."""

import json

import numpy as np
import pytest
from prep_triton.engine.build import build_engine
from prep_triton.engine.execute import describe_engine, measure_latencies_ms, run_engine
from prep_triton.precision.fp16.stage import convert_to_fp16
from prep_triton.spec import EngineSpec, OptimizationProfile
from prep_triton.workspace import Workspace

from scripts.gpu_check import command
from scripts.gpu_check.machine import find_problem
from tests.fakes.onnx_bert import make_bert, make_feed, run_onnx, smallest_cosine, store_model
from tests.fakes.quantized_bert import store_quantized

PROBLEM = find_problem("tensorrt")
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(PROBLEM is not None, reason=str(PROBLEM))]

PROFILE = OptimizationProfile(min=(1, 16), opt=(8, 32), max=(16, 64))


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    return Workspace(tmp_path_factory.mktemp("build"))


@pytest.fixture(scope="module")
def graphs(workspace):
    fp32 = store_model(workspace, make_bert())
    fp16 = convert_to_fp16(fp32, workspace).artifact
    return {"fp32": fp32, "fp16": fp16, "int8": store_quantized(workspace, fp16)}


def build(graphs, workspace, precision, **fields):
    shapes = {} if "seq_lens" in fields else {"profiles": (PROFILE,)}
    spec = EngineSpec(precision=precision, gpu="native", builder="tensorrt", **shapes, **fields)
    return build_engine(graphs[precision], spec, workspace).artifact


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_plan_for_the_gpu_of_this_machine_holds_its_precision(graphs, workspace, precision):
    plan = build(graphs, workspace, precision)
    assert plan.proof.method == "engine inspector"
    assert plan.proof.gemm_flops_share == {precision: 1.0}
    assert plan.model_outputs == graphs[precision].model_outputs
    assert list((workspace.root / "timing-caches").glob("tensorrt-*.cache"))


def test_int8_plan_is_proved_by_the_inspector(graphs, workspace):
    proof = build(graphs, workspace, "int8").proof
    assert (proof.method, proof.linear_flops_share) == ("engine inspector", {"int8": 1.0})


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_plan_answers_as_onnx_runtime_does(graphs, workspace, precision):
    feed = make_feed()
    feed["attention_mask"][-1] = 1
    expected = run_onnx(graphs[precision].path("model.onnx"), feed)[0]
    answer = run_engine(build(graphs, workspace, precision), [feed])[0]["last_hidden_state"]
    real = feed["attention_mask"].astype(bool)
    assert smallest_cosine(expected[real], answer[real]) > 0.99


def test_plan_with_buckets_runs_and_is_timed_in_each(graphs, workspace):
    plan = build(graphs, workspace, "fp16", seq_lens=(16, 64), batch=(1, 4, 8))
    answers = run_engine(plan, [make_feed(rows=2, length=16), make_feed(rows=2, length=40)])
    assert [answer["last_hidden_state"].shape[1] for answer in answers] == [16, 40]
    assert all(np.isfinite(answer["last_hidden_state"][0]).all() for answer in answers)
    assert all(ms > 0 for ms in measure_latencies_ms([plan], [(1, 16), (8, 64)])[0])


@pytest.mark.parametrize("option", ["version_compatible", "refit", "strip_weights"])
def test_plan_options_are_honoured_and_proved(graphs, workspace, option):
    plan = build(graphs, workspace, "fp16", **{option: True})
    assert (plan.proof.method, plan.spec[option]) == ("engine inspector", True)


def test_a_loaded_plan_tells_of_itself(graphs, workspace):
    message = describe_engine(build(graphs, workspace, "fp16"))
    assert message["profiles"] == 1
    assert message["layers"]


def test_the_check_of_a_whole_model_passes(tmp_path):
    folder = tmp_path / "out"
    arguments = ["--model", "minilm", "--workspace", str(tmp_path / "build"), "--folder", str(folder)]
    # MiniLM is compared and timed, and not served, so that what serves it is skipped.
    assert command.main(arguments) == 3
    statuses = {step["name"]: step["status"] for step in json.loads((folder / "figures.json").read_text())["steps"]}
    assert {statuses[name] for name in ("export", "convert", "build", "parity", "latency", "archive")} == {"done"}
    assert {statuses[name] for name in ("assemble", "verify", "sweep", "bursts", "report")} == {"skipped"}
    assert "minilm-fp16-trt" in (folder / "summary.md").read_text()
