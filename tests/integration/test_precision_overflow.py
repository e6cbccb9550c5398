"""Values that FP16 cannot hold, judged by ONNX's reference evaluator and by PyTorch, which compute FP16 in FP16."""

import warnings
from functools import partial

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto
from onnx.reference import ReferenceEvaluator
from prep_triton.engine.build import build_engine
from prep_triton.errors import PrecisionError
from prep_triton.precision.fp16.arithmetic import round_every_node
from prep_triton.precision.fp16.convert import convert_file_to_fp16
from prep_triton.precision.fp16.ranges import find_remedy
from prep_triton.precision.fp16.remedy import apply_remedy
from prep_triton.precision.fp16.stage import convert_to_fp16
from prep_triton.precision.int8.stage import NO_GATE, quantize_to_int8
from prep_triton.run.conversion import put_in_precision
from prep_triton.spec import (
    CalibrationSpec,
    ConversionSpec,
    EngineSpec,
    GateSpec,
    OptimizationProfile,
    QuantizationSpec,
)

from tests.fakes.onnx_bert import HIDDEN, VOCAB, change_weight, make_bert, make_feed, smallest_cosine, store_model

pytestmark = pytest.mark.integration

PROFILE = OptimizationProfile(min=(1, 16), opt=(8, 32), max=(16, 64))
SIGNS = np.where(np.arange(HIDDEN) % 3 == 0, -1.0, 1.0).astype(np.float32)


def overflow_product(proto: ModelProto) -> None:
    """3000 * 40 is 120,000."""
    change_weight(proto, "layer0.up.bias", lambda bias: bias.__setitem__(0, 3000.0))
    change_weight(proto, "layer0.down.weight", lambda weight: weight.__setitem__(0, SIGNS * 40))


def overflow_operand(proto: ModelProto) -> None:
    """What GELU gives is 90,000, and is small again behind the next product."""
    change_weight(proto, "layer0.norm1.bias", lambda bias: bias.__setitem__(0, 3000.0))
    change_weight(proto, "layer0.up.weight", lambda weight: weight.__setitem__(0, np.arange(len(weight[0])) < 1))
    change_weight(proto, "layer0.up.weight", lambda weight: weight.__imul__(np.where(weight == 1, 30, 1)))
    change_weight(proto, "layer0.down.weight", lambda weight: weight.__setitem__(0, SIGNS * 1e-3))


def overflow_both(proto: ModelProto) -> None:
    overflow_operand(proto)
    change_weight(proto, "layer0.down.weight", lambda weight: weight.__setitem__(0, SIGNS * 40))


def overflow_hidden_state(proto: ModelProto) -> None:
    """Three products and a residual sum read one tensor that is out of range."""
    change_weight(proto, "embedding_norm.weight", lambda weight: weight.__setitem__(0, 60000.0))
    for role in ("query", "key"):
        change_weight(proto, f"layer0.{role}.weight", lambda weight: weight.__setitem__(0, 0.0))
    change_weight(proto, "layer0.value.weight", lambda weight: weight.__setitem__(0, SIGNS * 1e-3))


def overflow_attention(proto: ModelProto) -> None:
    """A product of two activations, neither of which is a weight that could be scaled."""
    for role in ("query", "key"):
        change_weight(proto, f"layer0.{role}.bias", lambda bias: bias.__setitem__(0, 300.0))
        change_weight(proto, f"layer0.{role}.weight", lambda weight: weight.__setitem__((slice(None), 0), 0.0))


OVERFLOWS = [overflow_product, overflow_operand, overflow_both, overflow_hidden_state]


def evaluate_in_fp16(path, feed):
    """Compute a graph as its types say, in numpy."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        (answer,) = ReferenceEvaluator(str(path)).run(None, feed)
    return answer


def run_in_fp32(proto, feed):
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, feed)[0]


def multiply(factor, weight):
    weight *= factor


def make_overflowing(overflow):
    proto = make_bert()
    overflow(proto)
    return proto


@pytest.mark.parametrize("overflow", OVERFLOWS)
def test_what_overflows_is_kept_out_of_fp16_and_answers_as_fp32(workspace, tmp_path, overflow):
    feed = make_feed(rows=3)
    proto = make_overflowing(overflow)
    model = store_model(workspace, proto)
    expected, counted = run_in_fp32(proto, feed), feed["attention_mask"].astype(bool)
    convert_file_to_fp16(model.path("model.onnx"), tmp_path / "plain.onnx")
    assert not np.isfinite(evaluate_in_fp16(tmp_path / "plain.onnx", feed)[counted]).all()  # the evaluator sees it
    spec = ConversionSpec(runtime="tensorrt", precision="fp16")
    converted = put_in_precision(model, spec, workspace).artifact
    onnx.checker.check_model(converted.path("model.onnx"), full_check=True)
    answer = evaluate_in_fp16(converted.path("model.onnx"), feed)
    assert smallest_cosine(expected[counted], answer[counted]) > 0.999
    assert converted.overflow.kept_out


def test_a_gate_judges_what_fp16_arithmetic_loses(workspace):
    """Scores of 90,000 are kept finite, but 11 bits do not tell their keys apart: it is refused, not hidden."""
    feed = make_feed(rows=3)
    model = store_model(workspace, make_overflowing(overflow_attention))
    converted = convert_to_fp16(model, workspace).artifact
    answer = evaluate_in_fp16(converted.path("model.onnx"), feed)
    assert np.isfinite(answer[feed["attention_mask"].astype(bool)]).all()
    with pytest.raises(PrecisionError, match=r"tiny-fp16 misses its gate: it has a mean cosine of 0\.997") as caught:
        put_in_precision(model, ConversionSpec(runtime="tensorrt", precision="fp16"), workspace)
    assert "--min-cosine" in caught.value.hint


@pytest.mark.parametrize("overflow", [overflow_product, overflow_attention])
def test_the_gates_arithmetic_is_that_of_the_reference_evaluator(workspace, tmp_path, overflow):
    model = store_model(workspace, make_overflowing(overflow))
    feed = make_feed(rows=3)
    counted = feed["attention_mask"].astype(bool)
    for path in (convert_to_fp16(model, workspace).artifact.path("model.onnx"), tmp_path / "plain.onnx"):
        if not path.is_file():
            convert_file_to_fp16(model.path("model.onnx"), path)
        rounded = onnx.load(path)
        round_every_node(rounded)
        expected, answer = evaluate_in_fp16(path, feed)[counted], run_in_fp32(rounded, feed)[counted]
        assert np.isfinite(answer).all() == np.isfinite(expected).all()
        if np.isfinite(expected).all():
            assert smallest_cosine(expected, answer) > 0.9995


@pytest.mark.parametrize("overflow", [*OVERFLOWS, overflow_attention])
def test_a_scaled_graph_answers_in_fp32_bit_for_bit_as_before(workspace, overflow):
    proto = make_overflowing(overflow)
    model = store_model(workspace, proto)
    remedy = find_remedy(make_overflowing(overflow), model.path("reference.npz"), model)
    scaled = make_overflowing(overflow)
    _, factors = apply_remedy(scaled.graph, remedy)
    for name, factor in factors.items():
        change_weight(scaled, name, partial(multiply, np.float32(factor)))
    assert len(scaled.graph.node) > len(proto.graph.node)
    feed = make_feed()
    assert np.array_equal(run_in_fp32(scaled, feed), run_in_fp32(proto, feed), equal_nan=True)


def test_kept_layers_are_named_and_their_products_stay_fp16(workspace, caplog):
    model = store_model(workspace, make_overflowing(overflow_product))
    converted = convert_to_fp16(model, workspace).artifact
    names = converted.overflow.kept_out  # the product, its bias, the residual sum
    assert [name.split("_")[1] for name in names] == ["matmul", "add", "add"]
    assert all(value == pytest.approx(120_000, rel=0.01) for value in converted.overflow.largest.values())
    assert f"kept out of fp16, which holds 65504 at most: {names[0]} (120" in caplog.text
    graph = onnx.shape_inference.infer_shapes(onnx.load(converted.path("model.onnx"))).graph
    types = {info.name: info.type.tensor_type.elem_type for info in (*graph.value_info, *graph.output)}
    products = [node.output[0] for node in graph.node if node.op_type == "MatMul"]
    assert {types[name] for name in products} == {TensorProto.FLOAT16}


def test_what_fits_is_rewritten_as_before(workspace):
    model = store_model(workspace, make_bert())
    assert convert_to_fp16(model, workspace).artifact.overflow is None
    assert not find_remedy(make_bert(), model.path("reference.npz"), model).fp32


def test_a_value_near_the_range_is_kept_out_too(workspace):
    proto = make_bert()
    change_weight(proto, "layer0.up.bias", lambda bias: bias.__setitem__(0, 1000.0))
    change_weight(proto, "layer0.down.weight", lambda weight: weight.__setitem__(0, SIGNS * 40))
    converted = convert_to_fp16(store_model(workspace, proto), workspace).artifact
    assert max(converted.overflow.largest.values()) == pytest.approx(40_000, rel=0.01)


def quantize(workspace, tmp_path, overflow, gate=NO_GATE):
    ids = np.random.default_rng(0).integers(0, VOCAB, (120, 12))
    np.savez(tmp_path / "rows.npz", input_ids=ids)
    spec = QuantizationSpec(calibration=CalibrationSpec(path=str(tmp_path / "rows.npz"), samples=32))
    return quantize_to_int8(store_model(workspace, make_overflowing(overflow)), spec, workspace, gate=gate).artifact


def test_int8_is_refused_for_what_the_fp16_around_it_loses(workspace, tmp_path):
    with pytest.raises(
        PrecisionError, match=r"tiny in int8 loses 0\.0\d+ of its cosine to the fp16 around it"
    ) as caught:
        quantize(workspace, tmp_path, overflow_attention, GateSpec(min_cosine=0.998))
    assert "--fp32" in caught.value.hint


@pytest.mark.parametrize("overflow", OVERFLOWS)
def test_int8_keeps_out_of_fp16_what_overflows_it(workspace, tmp_path, overflow):
    quantized = quantize(workspace, tmp_path, overflow)
    onnx.checker.check_model(quantized.path("model.onnx"), full_check=True)
    assert quantized.overflow.kept_out
    assert quantized.quantization.linear_flops_share == 1.0
    feed = make_feed(rows=3)
    counted = feed["attention_mask"].astype(bool)
    expected = run_in_fp32(make_overflowing(overflow), feed)
    answer = evaluate_in_fp16(quantized.path("model.onnx"), feed)
    assert np.isfinite(answer[counted]).all()
    assert smallest_cosine(expected[counted], answer[counted]) > 0.99


@pytest.mark.parametrize(("gpu", "overflow"), [("t4", overflow_both), ("l4", overflow_hidden_state)])
def test_engines_of_a_t4_and_an_l4_are_built(workspace, tmp_path, overflow, gpu):
    pytest.importorskip("tensorrt_rtx", reason="the TensorRT-RTX builder has wheels for Linux on x86-64 only")
    half = convert_to_fp16(store_model(workspace, make_overflowing(overflow)), workspace).artifact
    for model, linear in ((half, {"fp16": 1.0}), (quantize(workspace, tmp_path, overflow), {"int8": 1.0})):
        spec = EngineSpec(precision=model.precision, gpu=gpu, builder="tensorrt-rtx", profiles=(PROFILE,))
        engine = build_engine(model, spec, workspace).artifact
        assert engine.proof.linear_flops_share == linear
        assert engine.overflow == model.overflow
        assert "fp32" not in engine.proof.gemm_flops_share
