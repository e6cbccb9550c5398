"""Whether every intermediate value of a graph fits FP16, on the reference rows.

ONNX Runtime's CPU kernels compute FP16 graphs in FP32, so an answer that looks right there may be NaN in an engine.
What decides is arithmetic: a value beyond 65504 is infinite in FP16. So the FP32 graph is run with the largest
magnitude of every float tensor as a further output, and each is held against the range.
"""

import logging
from pathlib import Path

import numpy as np
from onnx import ModelProto, TensorProto
from onnx.helper import make_node, make_tensor_value_info

from prep_triton.artifact import OnnxModel
from prep_triton.errors import PrecisionError
from prep_triton.precision.fp16.graph import find_rewritten_tensors
from prep_triton.precision.measure.fidelity import rows_from_reference
from prep_triton.precision.measure.runner import GraphRunner
from prep_triton.precision.rewrite.weights import FP16_MAX
from prep_triton.reference import load_reference

log = logging.getLogger(__name__)

# Other texts reach further than the reference rows do: half of the range is left to them.
MARGIN = 2.0
_SUFFIX = ".largest"


def check_fp16_ranges(proto: ModelProto, reference_path: Path, model: OnnxModel) -> None:
    """Refuse a graph of which a value overflows FP16 on a reference row; warn where one comes within `MARGIN` of it.

    Args:
        proto: The FP32 graph (explicit Q/DQ is accepted); it is changed.
        reference_path: See `OnnxModel`.
        model: Names the graph's inputs.

    Raises:
        PrecisionError: A value overflows; names the node, the value and the range. Or the graph does not run.
    """
    tensors = _add_magnitudes(proto)
    reference = load_reference(reference_path, ["input_ids"], [], error=PrecisionError)
    runner = GraphRunner(proto.SerializeToString())
    largest = np.zeros(len(tensors))
    names = [f"{name}{_SUFFIX}" for name in tensors]
    for row in rows_from_reference(reference):
        for _, values in runner.run_batches([row], names):
            largest = np.maximum(largest, [float(value) for value in values])
    near = np.flatnonzero(~(largest * MARGIN <= FP16_MAX))  # a NaN is near as well
    if not len(near):
        return
    # The first that overflows, in the order of the graph: what follows only hands it on.
    beyond = np.flatnonzero(~(largest <= FP16_MAX))
    worst = int(beyond[0]) if len(beyond) else int(largest.argmax())
    name, value = list(tensors)[worst], largest[worst]
    if len(beyond):
        raise PrecisionError(
            f"{model.name} overflows fp16: {tensors[name]} gives {value:.6g}, and fp16 holds {FP16_MAX:g} at most",
            hint="use --fp32 (and a GPU newer than the T4, which TensorRT-RTX builds no fp32 products for)",
        )
    log.warning(
        "%s comes close to the range of fp16: %s gives %.6g on a reference row, and fp16 holds %g at most; other text "
        "may overflow", model.name, tensors[name], value, FP16_MAX,
    )  # fmt: skip


def _add_magnitudes(proto: ModelProto) -> dict[str, str]:
    """Add the largest magnitude of every float tensor as an output; return what makes each tensor."""
    names = find_rewritten_tensors(proto)
    makers = {
        name: f"{node.op_type} '{node.name}'" for node in proto.graph.node for name in node.output if name in names
    }
    for name in makers:
        nodes = [make_node("Abs", [name], [f"{name}.magnitude"])]
        nodes.append(make_node("ReduceMax", [f"{name}.magnitude"], [f"{name}{_SUFFIX}"], keepdims=0))
        proto.graph.node.extend(nodes)
        proto.graph.output.append(make_tensor_value_info(f"{name}{_SUFFIX}", TensorProto.FLOAT, []))
    return makers
