"""Whether a CPU executes in INT8 what a graph has in INT8."""

from prep_triton.precision.int8.openvino import find_broken_promise
from prep_triton.precision.measure.execution import Execution


def executed(**share: float) -> Execution:
    return Execution(
        runtime="openvino 2026.4.0",
        processor="Some CPU",
        inference_precision="f32",
        weighed_at=(1, 128),
        gemm_flops_share=share,
        linear_flops_share=share,
        attention_flops_share={"fp32": 1.0},
        fused_attention=True,
        kernels={},
    )


def test_what_the_graph_has_in_int8_is_executed_in_int8():
    assert find_broken_promise(executed(int8=0.9, fp32=0.1), promised=0.905) is None


def test_a_cpu_that_computes_int8_layers_in_fp32_is_named_with_both_shares():
    problem = find_broken_promise(executed(int8=0.25, fp32=0.75), promised=1.0)
    assert problem is not None
    assert "100.0% of the encoder's linear-layer FLOPs are int8 in the graph" in problem
    assert "openvino 2026.4.0 executes 25.0% int8, 75.0% fp32 on this CPU (Some CPU)" in problem
    assert find_broken_promise(executed(fp32=1.0), promised=0.5) is not None
