"""Whether an engine holds the precision that it is to have."""

import logging

from prep_triton.artifact import OnnxModel, PrecisionProof
from prep_triton.errors import EngineError
from prep_triton.spec import Precision, flags_from_precision

log = logging.getLogger(__name__)

# Rounding of the record, and what a pooled head weighs: never a layer of an encoder.
_TOLERANCE = 0.01
_EXACT = 1e-9


def check_proof(proof: PrecisionProof, model: OnnxModel, precision: Precision) -> PrecisionProof:
    """Refuse an engine that does not hold its precision.

    In an FP32 or FP16 engine, every GEMM has it. In an INT8 engine no GEMM is FP32, some are INT8, and the
    share of the encoder's linear layers that are is no less than the graph's record promises.

    Raises:
        EngineError: It does not.
    """
    share = proof.gemm_flops_share
    parts = ", ".join(f"{part:.1%} {word}" for word, part in share.items()) or "no GEMM at all"
    hint = f"convert the exported fp32 graph again with this prep: prep build-engine {flags_from_precision(precision)}"
    message = f"the engine does not hold its precision: its GEMM FLOPs are {parts} ({proof.method})"
    if precision != "int8":
        if share.get(precision, 0.0) < 1.0 - _EXACT:
            raise EngineError(f"{message}, expected 100% {precision}", hint=hint)
    else:
        if not share.get("int8") or set(share) - {"int8", "fp16"}:
            raise EngineError(f"{message}, expected int8 and, for the rest, fp16", hint=hint)
        _check_promise(proof, model, hint)
    log.debug("proved by %s: %s", proof.method, share)
    return proof


def _check_promise(proof: PrecisionProof, model: OnnxModel, hint: str) -> None:
    if model.quantization is None:
        return
    promised = model.quantization.linear_flops_share
    linear = proof.linear_flops_share.get("int8", 0.0)
    if linear < promised - _TOLERANCE:
        raise EngineError(
            f"the engine does not hold what the graph promises: {linear:.1%} of the encoder's linear-layer FLOPs "
            f"are int8 ({proof.method}), expected {promised:.1%}",
            hint=hint,
        )
