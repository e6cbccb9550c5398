"""Which values of a graph FP16 cannot hold, measured on rows of token ids.

ONNX Runtime's CPU kernels compute FP16 graphs in FP32, so an answer that looks right there may be NaN in an engine.
What decides is arithmetic: a value beyond 65504 is infinite in FP16. So the FP32 graph is run with the largest
magnitude of every float tensor as a further output, and each is held against the range.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from onnx import GraphProto, ModelProto, TensorProto
from onnx.helper import make_node, make_tensor_value_info

from prep_triton.artifact import OnnxModel
from prep_triton.errors import PrecisionError
from prep_triton.precision.fp16.graph import find_rewritten_tensors
from prep_triton.precision.fp16.remedy import Remedy, describe_kept_out, plan_remedy
from prep_triton.precision.measure.fidelity import rows_from_reference
from prep_triton.precision.measure.runner import GraphRunner
from prep_triton.precision.measure.token_rows import TokenRow
from prep_triton.precision.rewrite.weights import FP16_MAX
from prep_triton.reference import load_reference

log = logging.getLogger(__name__)

_SUFFIX = ".largest"


def find_remedy(proto: ModelProto, reference_path: Path, model: OnnxModel, more: Sequence[TokenRow] = ()) -> Remedy:
    """Decide what of a graph stays out of FP16, and name it on the log.

    Args:
        proto: The FP32 graph (explicit Q/DQ is accepted); it is changed.
        reference_path: See `OnnxModel`.
        model: Names the graph's inputs.
        more: Rows to measure on besides those of the reference.

    Raises:
        PrecisionError: A product that cannot be scaled overflows, or the graph does not run.
    """
    names = find_rewritten_tensors(proto)
    graph = GraphProto(node=proto.graph.node, initializer=[TensorProto(name=x.name) for x in proto.graph.initializer])
    made = [name for node in graph.node for name in node.output if name in names]
    _add_magnitudes(proto, made)
    reference = load_reference(reference_path, ["input_ids"], [], error=PrecisionError)
    largest = _measure_magnitudes(proto, made, [*rows_from_reference(reference), *more])
    remedy = plan_remedy(graph, largest)
    if remedy.layers:
        log.warning(
            "%s: kept out of fp16, which holds %g at most: %s; they compute in fp32, and their GEMMs are scaled by a "
            "power of two", model.name, FP16_MAX, describe_kept_out(remedy.layers),
        )  # fmt: skip
    return remedy


def _add_magnitudes(proto: ModelProto, names: Sequence[str]) -> None:
    """Make the largest magnitude of each tensor an output."""
    for name in names:
        nodes = [make_node("Abs", [name], [f"{name}.magnitude"])]
        nodes.append(make_node("ReduceMax", [f"{name}.magnitude"], [f"{name}{_SUFFIX}"], keepdims=0))
        proto.graph.node.extend(nodes)
        proto.graph.output.append(make_tensor_value_info(f"{name}{_SUFFIX}", TensorProto.FLOAT, []))


def _measure_magnitudes(proto: ModelProto, names: Sequence[str], rows: Sequence[TokenRow]) -> dict[str, float]:
    """Return the largest value that each added output has on any row."""
    runner = GraphRunner.from_proto(proto)
    largest = np.zeros(len(names))
    for _, values in runner.run_batches(rows, [f"{name}{_SUFFIX}" for name in names]):
        largest = np.maximum(largest, [float(value) for value in values])
    return dict(zip(names, largest.tolist(), strict=True))
