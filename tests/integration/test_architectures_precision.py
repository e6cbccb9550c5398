"""FP16, INT8, engines and OpenVINO of every architecture, from a tiny checkpoint with a tokenizer of its kind."""

from functools import partial

import pytest
from prep_triton.architectures import ARCHITECTURES
from prep_triton.engine.build import build_engine
from prep_triton.precision.fp16.arithmetic import open_in_half_arithmetic
from prep_triton.precision.fp16.stage import convert_to_fp16
from prep_triton.precision.int8.stage import quantize_for_openvino, quantize_to_int8
from prep_triton.precision.measure.executed import read_execution
from prep_triton.precision.measure.fidelity import measure_fidelity
from prep_triton.spec import CalibrationSpec, EngineSpec, OptimizationProfile, QuantizationSpec
from prep_triton.workspace import Workspace

from tests.fakes.architectures import TINY

pytestmark = pytest.mark.integration

PROFILE = OptimizationProfile(min=(1, 8), opt=(2, 32), max=(4, 64))
CALIBRATION = QuantizationSpec(calibration=CalibrationSpec(path="configs/calibration-sentences.txt", samples=32))


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("workspace"))


@pytest.fixture
def find_model(tiny_exports):
    """Text classification has a head behind the encoder, and few numbers."""
    return partial(tiny_exports.export, task="text-classification")


@pytest.mark.parametrize("architecture", TINY)
def test_fp16_answers_as_fp32_and_builds_for_an_l4(find_model, workspace, architecture):
    pytest.importorskip("tensorrt_rtx", reason="the TensorRT-RTX builder has wheels for Linux on x86-64 only")
    model = convert_to_fp16(find_model(architecture), workspace).artifact
    assert model.overflow is None
    halves = open_in_half_arithmetic(model.path("model.onnx"))
    assert measure_fidelity(halves, model.path("reference.npz"), model).min_cosine > 0.9999
    spec = EngineSpec(precision="fp16", gpu="l4", builder="tensorrt-rtx", profiles=(PROFILE,))
    assert build_engine(model, spec, workspace).artifact.proof.gemm_flops_share == {"fp16": 1.0}


@pytest.mark.parametrize("architecture", TINY)
def test_int8_is_that_of_all_layers_and_builds_for_a_t4(find_model, workspace, architecture):
    pytest.importorskip("tensorrt_rtx", reason="the TensorRT-RTX builder has wheels for Linux on x86-64 only")
    model = quantize_to_int8(find_model(architecture), CALIBRATION, workspace).artifact
    assert model.quantization.linear_flops_share == 1.0
    assert model.fidelity.mean_cosine > 0.98
    spec = EngineSpec(precision="int8", gpu="t4", builder="tensorrt-rtx", profiles=(PROFILE,))
    proof = build_engine(model, spec, workspace).artifact.proof
    assert proof.linear_flops_share == {"int8": 1.0}
    layers = TINY[architecture].config["num_hidden_layers"]
    assert proof.layers["int8"] == ARCHITECTURES[architecture].linears_in_layer * layers


@pytest.mark.parametrize("architecture", TINY)
def test_openvino_executes_all_layers_as_the_graph_has_them(find_model, workspace, architecture):
    model = quantize_for_openvino(find_model(architecture), CALIBRATION, workspace).artifact
    execution = read_execution(model.path("model.onnx"), model.max_sequence_length)
    assert execution.linear_flops_share == {"int8": 1.0}
