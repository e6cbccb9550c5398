"""INT8 engines of explicitly quantised graphs, built by the real TensorRT-RTX builder and proved."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from prep_triton.engine.build import build_engine
from prep_triton.engine.child import run_worker
from prep_triton.engine.options import plan_options
from prep_triton.errors import EngineError
from prep_triton.precision.fp16.stage import convert_to_fp16
from prep_triton.spec import EngineSpec, OptimizationProfile
from prep_triton.workspace import Workspace

from tests.fakes.onnx_bert import HIDDEN, make_bert, store_model
from tests.fakes.quantized_bert import store_quantized

pytest.importorskip("tensorrt_rtx", reason="the TensorRT-RTX builder has wheels for Linux on x86-64 only")
pytestmark = pytest.mark.integration

PROFILE = OptimizationProfile(min=(1, 16), opt=(8, 32), max=(16, 64))
SEQUENCE = 32
# FLOPs of a layer over 2 * batch * sequence: 4 projections, FFN up and down; scores and context.
PROJECTION, UP = HIDDEN * HIDDEN, 2 * HIDDEN * HIDDEN
LINEAR = 4 * PROJECTION + 2 * UP


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    return Workspace(tmp_path_factory.mktemp("build"))


@pytest.fixture(scope="module")
def fp16_model(workspace):
    return convert_to_fp16(store_model(workspace, make_bert()), workspace).artifact


@pytest.fixture(scope="module")
def int8_model(workspace, fp16_model):
    return store_quantized(workspace, fp16_model)


def spec(gpu, **fields):
    return EngineSpec(precision="int8", gpu=gpu, builder="tensorrt-rtx", **{"profiles": (PROFILE,), **fields})


def name_linears(model):
    graph = onnx.load(model.path("model.onnx")).graph
    stored = {tensor.name for tensor in graph.initializer}
    return [node.name for node in graph.node if node.op_type == "MatMul" and node.input[1] in stored]


def rewrite(model, folder, name, change):
    """Return the record of a copy of a model whose graph was changed."""
    graph = onnx.load(model.path("model.onnx"))
    change(graph.graph)
    folder.mkdir(exist_ok=True)
    onnx.save(graph, folder / "model.onnx")
    return model.model_copy(update={"name": name, "key": name, "folder": folder})


@pytest.mark.parametrize("gpu", ["t4", "l4"])
def test_int8_engine_is_proved_by_its_share_of_the_flops(workspace, int8_model, gpu):
    engine = build_engine(int8_model, spec(gpu), workspace).artifact
    attention = 2 * SEQUENCE * HIDDEN
    assert engine.name.startswith("tiny-int8-rtx-sm")
    assert engine.proof.gemm_flops_share["int8"] == pytest.approx(LINEAR / (LINEAR + attention))
    assert set(engine.proof.gemm_flops_share) == {"fp16", "int8"}
    assert engine.proof.linear_flops_share == {"int8": 1.0}
    assert engine.proof.layers["int8"] == 2 * 6
    assert (engine.proof.weighed_at, engine.proof.fused_attention) == ((8, 32), None)


def test_int8_weights_are_smaller(workspace, fp16_model, int8_model):
    fp16 = EngineSpec(precision="fp16", gpu="l4", builder="tensorrt-rtx", profiles=(PROFILE,))
    wide = build_engine(fp16_model, fp16, workspace).artifact.proof.weights_bytes
    narrow = build_engine(int8_model, spec("l4"), workspace).artifact.proof.weights_bytes
    assert wide is not None
    assert narrow is not None
    weights = 2 * LINEAR
    assert wide - narrow == pytest.approx(weights, rel=0.25)  # two bytes became one, and scales were added


def test_layers_kept_out_of_int8_are_counted_and_a_broken_promise_is_refused(workspace, fp16_model):
    kept = name_linears(fp16_model)[-1:]  # the last FFN-down
    share = 1 - UP / (2 * LINEAR)
    honest = store_quantized(workspace, fp16_model, keep_out=kept, promised=share)
    proof = build_engine(honest, spec("t4"), workspace).artifact.proof
    assert proof.linear_flops_share["int8"] == pytest.approx(share)
    liar = store_quantized(workspace, fp16_model, keep_out=kept, promised=1.0)
    with pytest.raises(EngineError, match=r"87\.5% of the encoder's linear-layer FLOPs are int8 .*expected 100\.0%"):
        build_engine(liar, spec("t4"), workspace)


def test_a_head_does_not_weigh_in_the_encoders_share(workspace, int8_model, tmp_path):
    def add_head(graph):
        output = graph.output[0].name
        graph.initializer.append(numpy_helper.from_array(np.ones((HIDDEN, HIDDEN), np.float16), "head"))
        graph.node.append(helper.make_node("Cast", [output], ["half"], to=TensorProto.FLOAT16))
        graph.node.append(helper.make_node("MatMul", ["half", "head"], ["logits_half"], name="head"))
        graph.node.append(helper.make_node("Cast", ["logits_half"], ["logits"], to=TensorProto.FLOAT))
        graph.output[0].name = "logits"

    outputs = (int8_model.model_outputs[0].model_copy(update={"name": "logits"}),)
    headed = rewrite(int8_model, tmp_path, "headed", add_head).model_copy(update={"model_outputs": outputs})
    proof = build_engine(headed, spec("l4"), workspace).artifact.proof
    assert proof.linear_flops_share == {"int8": 1.0}


def test_an_int8_record_over_an_fp16_graph_is_found_out(workspace, fp16_model):
    liar = fp16_model.model_copy(update={"name": "liar", "precision": "int8"})
    with pytest.raises(EngineError, match=r"100\.0% fp16 .*expected int8 and, for the rest, fp16"):
        build_engine(liar, spec("l4"), workspace)


def test_quantised_weights_alone_are_not_an_int8_product(workspace, int8_model, tmp_path):
    def bypass_activations(graph):
        sources = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "QuantizeLinear"}
        for node in graph.node:
            if node.op_type == "MatMul" and node.input[0].endswith("/activation"):
                node.input[0] = sources[node.input[0].removesuffix("activation") + "quantized"]

    with pytest.raises(EngineError, match=r"its GEMM FLOPs are 100\.0% fp16"):
        build_engine(rewrite(int8_model, tmp_path, "weight-only", bypass_activations), spec("l4"), workspace)


def test_a_product_left_in_fp32_is_found_out(workspace, tmp_path):
    fp32 = store_model(workspace, make_bert(layers=1), name="half-done")
    scores_stay_wide = store_quantized(workspace, fp32, promised=1.0)

    with pytest.raises(EngineError, match=r"fp32.*expected int8 and, for the rest, fp16"):
        build_engine(rewrite(scores_stay_wide, tmp_path, "half-done", widen_scales), spec("l4"), workspace)


def widen_scales(graph):
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT16:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype("float32"), tensor.name))


def test_the_builders_words_about_an_asymmetric_graph_are_kept(workspace, int8_model, tmp_path):
    def shift_zero_points(graph):
        for tensor in graph.initializer:
            if tensor.name.endswith("/zero"):
                tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) + 3, tensor.name))

    with pytest.raises(EngineError, match=r"(?s)tensorrt-rtx failed: .*zero.?point") as caught:
        build_engine(rewrite(int8_model, tmp_path, "shifted", shift_zero_points), spec("l4"), workspace)
    assert "-v" in caught.value.hint


def test_each_length_bucket_becomes_a_profile(workspace, int8_model):
    buckets = EngineSpec(precision="int8", gpu="t4", builder="tensorrt-rtx", seq_lens=(16, 32, 64), batch=(1, 4, 8))
    engine = build_engine(int8_model, buckets, workspace).artifact
    assert [str(profile) for profile in engine.profiles] == ["1x1,4x16,8x16", "1x17,4x32,8x32", "1x33,4x64,8x64"]
    assert engine.proof.weighed_at == (4, 64)
    attention = 2 * 64 * HIDDEN
    assert engine.proof.gemm_flops_share["int8"] == pytest.approx(LINEAR / (LINEAR + attention))


def test_an_attention_node_is_weighed_and_known_to_be_fused(tmp_path):
    shape = ["batch", 2, "sequence", 16]
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT16, shape) for name in "qkvy"]
    graph = helper.make_graph([helper.make_node("Attention", list("qkv"), ["y"])], "g", infos[:3], infos[3:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=11), tmp_path / "a.onnx")
    request = {
        "task": "build",
        "builder": "tensorrt-rtx",
        "onnx_path": str(tmp_path / "a.onnx"),
        "engine_path": str(tmp_path / "model.engine"),
        "compute_capability": "8.9",
        "profiles": [{name: [[1, 2, 16, 16], [2, 2, 32, 16], [2, 2, 32, 16]] for name in "qkv"}],
        "weigh_at": [2, 32],
        **plan_options(spec("l4")),
        "timing_cache_path": None,
    }
    proof = run_worker(request, on_progress=lambda _: None)["proof"]
    assert (proof["gemm_flops_share"], proof["fused_attention"]) == ({"fp16": 1.0}, True)
