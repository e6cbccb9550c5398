"""One ONNX file to another: FP32 to the INT8 graph for ONNX Runtime on the CPU."""

import logging
from pathlib import Path

from onnx.helper import make_node

from prep_triton.errors import PrecisionError
from prep_triton.layout import ONE_FILE_BYTES
from prep_triton.onnx_file import load_without_weights, save_with_weights
from prep_triton.precision.cpu.attention import find_attentions, fuse_attention
from prep_triton.precision.cpu.graph import Graph
from prep_triton.precision.cpu.linear import find_linears, quantize_linears
from prep_triton.precision.rewrite.checks import check_rewritable
from prep_triton.progress import Progress, ignore_progress

log = logging.getLogger(__name__)


def quantize_file_for_cpu(
    source_path: Path,
    target_path: Path,
    *,
    progress: Progress = ignore_progress,
    one_file_bytes: int = ONE_FILE_BYTES,
) -> float:
    """Write the CPU INT8 form of an FP32 ONNX file.

    FP32 weights that stay (embeddings) are streamed, so memory grows by the INT8 weights alone.

    Returns:
        The share of the linear layers' FLOPs that is INT8, 0..1.

    Raises:
        PrecisionError: The file is not a whole ONNX file, its graph is not plain FP32 or has no linear layer, or its
            weights are not finite.
    """
    progress("finding linear layers and attention", 0.0)
    proto, spans = load_without_weights(source_path)
    check_rewritable(proto)
    graph = Graph(proto, spans)
    linears = find_linears(graph)
    if not any(linear.is_wide for linear in linears):
        raise PrecisionError(
            f"{source_path} has no linear layer that can be quantised, expected MatMul by a constant FP32 matrix",
            hint="serve it as it is (prep assemble), or export the checkpoint itself: its graph can be quantised",
        )
    attentions = find_attentions(graph, linears)
    unfused = sum(node.op_type == "Softmax" for node in proto.graph.node) - len(attentions)
    if unfused:
        log.warning("%d Softmax of unknown attention form: left as they are, which is right but slower", unfused)
    for attention in attentions:
        fuse_attention(graph, attention)
    keep_residuals_apart(graph)
    share = quantize_linears(graph, linears, progress=progress)
    weights = graph.finish()
    progress("writing the int8 graph", 0.7)
    save_with_weights(proto, weights, target_path, one_file_bytes=one_file_bytes)
    return share


def keep_residuals_apart(graph: Graph) -> None:
    """Keep ONNX Runtime from fusing residual additions into LayerNormalization.

    WAR(onnxruntime 1.32): SkipLayerNormalization, which it makes of Add and LayerNormalization when it loads a graph,
    takes six times as long as the two on a CPU. It does not look for Sum, which adds two tensors just as well.
    """
    for node in graph.proto.graph.node:
        added = graph.producers.get(node.input[0]) if node.op_type == "LayerNormalization" else None
        if added is not None and added.op_type == "Add" and not graph.constants.keys() & set(added.input):
            graph.replace(added, [make_node("Sum", added.input, added.output, name=added.name)])
