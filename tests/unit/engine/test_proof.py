import pytest
from prep_triton.artifact import PrecisionProof, QuantizationRecord
from prep_triton.engine.proof import check_proof
from prep_triton.errors import EngineError

from scripts.benchmarks.records import make_graph


def model(promised=None):
    record = None
    if promised is not None:
        record = QuantizationRecord(scheme="static symmetric W8A8", runtime="tensorrt", linear_flops_share=promised)
    return make_graph("tiny", precision="int8", quantization=record)


def proof(share, linear=None):
    return PrecisionProof(method="a test", gemm_flops_share=share, linear_flops_share=linear or {}, layers={})


@pytest.mark.parametrize("share", [{"fp32": 1.0}, {"fp16": 0.9, "fp32": 0.1}, {"int8": 0.9, "fp16": 0.1}, {}])
def test_an_engine_that_is_not_all_fp16_is_refused(share):
    with pytest.raises(EngineError, match="expected 100% fp16") as caught:
        check_proof(proof(share), model(), "fp16")
    assert "--fp16" in caught.value.hint


@pytest.mark.parametrize("share", [{"fp16": 1.0}, {"int8": 0.0, "fp16": 1.0}, {"int8": 0.9, "fp32": 0.1}, {}])
def test_an_int8_engine_without_int8_or_with_fp32_products_is_refused(share):
    with pytest.raises(EngineError, match="expected int8 and, for the rest, fp16") as caught:
        check_proof(proof(share), model(), "int8")
    assert "--int8" in caught.value.hint


def test_an_int8_engine_that_keeps_the_graphs_promise_passes():
    kept = proof({"int8": 0.8, "fp16": 0.2}, {"int8": 0.895, "fp16": 0.105})
    assert check_proof(kept, model(promised=0.9), "int8") is kept


def test_an_int8_engine_of_a_graph_without_a_record_needs_some_int8():
    some = proof({"int8": 0.1, "fp16": 0.9}, {"int8": 0.1, "fp16": 0.9})
    assert check_proof(some, model(), "int8") is some


def test_an_int8_engine_below_the_graphs_promise_is_refused():
    less = proof({"int8": 0.5, "fp16": 0.5}, {"int8": 0.6, "fp16": 0.4})
    with pytest.raises(EngineError, match=r"60\.0% of the encoder's linear-layer FLOPs are int8 .* expected 90\.0%"):
        check_proof(less, model(promised=0.9), "int8")
