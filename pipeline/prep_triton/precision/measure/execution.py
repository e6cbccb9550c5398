"""The record of what a CPU executes a graph in."""

from prep_triton.artifact import Record, Share


class Execution(Record):
    """What OpenVINO executes a graph in, on one CPU.

    `gemm_flops_share` maps a precision to its share of the GEMM FLOPs, 0..1, at `weighed_at` (batch, sequence);
    `linear_flops_share` and `attention_flops_share` do so for the encoder's products with weights, and for products of
    activations with each other. `inference_precision` is what is computed in where nothing is quantised. `kernels`
    counts the nodes that hold products by what OpenVINO calls their kernel.
    """

    runtime: str
    processor: str
    inference_precision: str
    weighed_at: tuple[int, int]
    gemm_flops_share: dict[str, Share]
    linear_flops_share: dict[str, Share]
    attention_flops_share: dict[str, Share]
    fused_attention: bool
    kernels: dict[str, int]
