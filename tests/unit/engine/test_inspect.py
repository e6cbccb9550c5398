import json

import pytest

from pipeline.engine.inspect import NETWORK_METHOD, Proof, narrowest, proof_from_inspector, widest

NETWORK = Proof(NETWORK_METHOD, {"fp16": 1.0}, {"fp16": 10})


def tensor(told):
    return {"Name": "t", "Dimensions": [1, 2], "Format/Datatype": told}


def layer(kind, told_in, told_out="Half", name="layer"):
    return {
        "Name": name,
        "LayerType": kind,
        "Inputs": [tensor(told) for told in told_in],
        "Outputs": [tensor(told_out)],
    }


def render(*layers):
    return json.dumps({"Layers": list(layers), "Bindings": []})


def test_an_fp16_engine_keeps_the_networks_shares():
    text = render(layer("gemm", ["Half", "Half"]), layer("kgen", ["Half"], "Float"), layer("gemm", ["Half", "Float"]))
    proof = proof_from_inspector(text, NETWORK)
    assert (proof.method, proof.gemm_flops_share) == ("engine inspector", {"fp16": 1.0})
    assert proof.layers == {"fp16": 2, "fp32": 1}


def test_an_fp32_gemm_in_an_fp16_engine_is_found():
    text = render(layer("gemm", ["Half"]), layer("MatrixMultiply", ["Float", "Float"], "Float"))
    assert proof_from_inspector(text, NETWORK).gemm_flops_share == {"fp16": 0.5, "fp32": 0.5}


def test_the_older_format_words_are_read():
    text = render(layer("fc", ["Row major linear FP16 format"], "Row major linear FP32", name="matmul_1"))
    assert proof_from_inspector(text, NETWORK).layers == {"fp32": 1}


@pytest.mark.parametrize("text", ["not json", "{}", render("layer names only")])
def test_what_no_inspector_writes_is_refused(text):
    with pytest.raises((ValueError, KeyError)):
        proof_from_inspector(text, NETWORK)


def test_precisions_are_ranked_by_width():
    assert widest(["fp16", "fp32"]) == "fp32"
    assert narrowest(["fp16", "fp32"]) == "fp16"
