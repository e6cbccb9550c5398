import json

import pytest
from prep_triton.engine.inspect import EngineLayers, Proof, parse_engine_layers, proof_from_inspector
from prep_triton.engine.network import Gemm, narrowest, share_from_gemms, widest

QUERY = Gemm("/layer.0/query/MatMul", 300, "int8", is_encoder_linear=True)
SCORES = Gemm("/layer.0/MatMul", 100, "fp16", is_encoder_linear=False)
GEMMS = [QUERY, SCORES]
NETWORK = Proof(
    method="strongly typed network",
    gemm_flops_share={"fp16": 0.25, "int8": 0.75},
    layers={"fp16": 10, "int8": 1},
    linear_flops_share={"int8": 1.0},
    weighed_at=(8, 128),
    fused_attention=None,
    weights_bytes=1000,
)


def tensor(message):
    return {"Name": "t", "Dimensions": [1, 2], "Format/Datatype": message}


def layer(kind, told_in, told_out="Half", name="layer", tactic="", nodes=()):
    return {
        "Name": name,
        "LayerType": kind,
        "Inputs": [tensor(message) for message in told_in],
        "Outputs": [tensor(told_out)],
        "TacticName": tactic,
        "Metadata": "".join(f"[ONNX Layer: {node}]" for node in nodes),
    }


def render(*layers):
    return json.dumps({"Layers": list(layers), "Bindings": []})


def prove(*layers):
    return proof_from_inspector(parse_engine_layers(render(*layers)), NETWORK, GEMMS)


def test_kernels_that_keep_the_networks_types_confirm_it():
    proof = prove(
        layer("fusion", ["Int8", "Int8"], tactic="sm80_xmma_gemm_i8i8_i8i32_f32_tn_n", nodes=[QUERY.name]),
        layer("kgen", ["Half"], name="_gemm_mha_v2_myl0_8", nodes=[SCORES.name, "/layer.0/Softmax"]),
        layer("kgen", ["Half"], "Float", name="__myl_MeanSubMul_myl0_3", nodes=["/layer.0/LayerNorm"]),
    )
    assert proof.method == "engine inspector"
    assert proof.gemm_flops_share == NETWORK.gemm_flops_share
    assert proof.linear_flops_share == {"int8": 1.0}
    assert proof.layers == {"fp16": 1, "fp32": 1, "int8": 1}
    assert (proof.fused_attention, proof.weighed_at, proof.weights_bytes) == (True, (8, 128), 1000)


def test_an_int8_product_that_runs_as_fp16_is_found_by_its_onnx_node():
    proof = prove(
        layer("gemm", ["Half", "Half", "Float"], tactic="sm80_xmma_gemm_f16f16_f16f32_f32_tn_n", nodes=[QUERY.name]),
        layer("gemm", ["Half", "Half"], nodes=[SCORES.name]),
    )
    assert proof.gemm_flops_share == {"fp16": 1.0}
    assert proof.linear_flops_share == {"fp16": 1.0}
    assert proof.fused_attention is False


def test_of_several_kernels_of_one_product_the_widest_counts():
    message = parse_engine_layers(
        render(
            layer("gemm", ["Half"], nodes=[SCORES.name], name="a [profile 0]"),
            layer("gemm", ["Float"], nodes=[SCORES.name], name="a [profile 1]"),
        )
    )
    assert message.named_gemms == {SCORES.name: "fp32"}


def test_without_node_names_an_fp32_kernel_shows_as_its_fraction():
    proof = prove(layer("gemm", ["Int8"]), layer("gemm", ["Half"]), layer("MatrixMultiply", ["Float", "Float"]))
    assert proof.gemm_flops_share["fp32"] == pytest.approx(1 / 3, abs=0.01)


def test_without_node_names_a_precision_that_no_kernel_has_is_not_claimed():
    proof = prove(layer("gemm", ["Half"]), layer("kgen", ["Half"]))
    assert (proof.gemm_flops_share, proof.linear_flops_share) == ({"fp16": 1.0}, {"fp16": 1.0})


def test_an_fp32_operand_of_an_epilogue_does_not_make_a_product_fp32():
    assert parse_engine_layers(render(layer("gemm", ["Half", "Float"]))).gemms == {"fp16": 1}


def test_a_projection_called_attention_is_not_fused_attention():
    message = parse_engine_layers(render(layer("gemm", ["Half"], name="encoder.attention.query_myl0_2")))
    assert message.fused_attention is False


@pytest.mark.parametrize("name", ["_gemm_mha_v2_myl3_6", "__mye8037_gemm_mha_v2", "_gemv_mha_v1", "fmha_v2_flash"])
def test_fused_attention_kernels_are_known_by_their_names(name):
    message = parse_engine_layers(render(layer("kgen", ["Half"], name=name)))
    assert (message.fused_attention, message.gemms) == (True, {"fp16": 1})


def test_an_engine_that_shows_no_product_says_nothing_of_its_attention():
    message = parse_engine_layers(render(layer("Myelin", ["Half"], name="{ForeignNode[a...b]}")))
    assert message == EngineLayers({"fp16": 1}, {}, {}, None)
    assert proof_from_inspector(message, NETWORK, GEMMS).gemm_flops_share == NETWORK.gemm_flops_share


def test_the_older_format_words_are_read():
    text = render(layer("fc", ["Row major linear FP16 format"], "Row major linear FP32", name="matmul_1"))
    assert parse_engine_layers(text).layers == {"fp32": 1}


@pytest.mark.parametrize("text", ["not json", "{}", "[]", '{"Layers": []}', render("layer names only")])
def test_what_no_inspector_writes_is_refused(text):
    with pytest.raises(ValueError, match=r"no layer details|Expecting value"):
        parse_engine_layers(text)


def test_precisions_are_ranked_by_width():
    assert widest(["fp16", "fp32", "int8"]) == "fp32"
    assert narrowest(["fp16", "fp32", "int8"]) == "int8"


def test_shares_of_no_products_are_empty():
    assert share_from_gemms([]) == {}


@pytest.mark.parametrize("key", ["Bindings", "I/O Tensors"])
def test_inputs_and_outputs_are_read_under_both_of_their_names(key):
    text = json.dumps({"Layers": [layer("gemm", ["Half"])], key: ["input_ids", {"Name": "logits"}, 3]})
    assert parse_engine_layers(text).io_tensors == ("input_ids", "logits")


def test_an_inspector_that_names_no_inputs_is_read_all_the_same():
    assert parse_engine_layers(json.dumps({"Layers": [layer("gemm", ["Half"])]})).io_tensors == ()
