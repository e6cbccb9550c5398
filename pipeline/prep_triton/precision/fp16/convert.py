"""One ONNX file to another, FP32 to FP16, in flat memory."""

from pathlib import Path

from prep_triton.layout import ONE_FILE_BYTES
from prep_triton.onnx_file import load_without_weights, save_with_weights
from prep_triton.precision.fp16.graph import rewrite_to_fp16
from prep_triton.precision.fp16.remedy import NOTHING, Remedy
from prep_triton.precision.rewrite.weights import ConvertedWeight
from prep_triton.progress import Progress, ignore_progress


def convert_file_to_fp16(
    source_path: Path,
    target_path: Path,
    *,
    remedy: Remedy = NOTHING,
    progress: Progress = ignore_progress,
    one_file_bytes: int = ONE_FILE_BYTES,
) -> None:
    """Write the FP16 form of an FP32 ONNX file.

    Weights are converted while they are written, so memory does not grow with the model.

    Args:
        source_path: The FP32 file.
        target_path: The FP16 file.
        remedy: What stays out of FP16, planned for this graph.
        one_file_bytes: The longest file that holds its weights itself.
        progress: Called at each step.

    Raises:
        PrecisionError: The file is not a whole ONNX file, or its graph or weights cannot be FP16.
    """
    progress("rewriting the graph to fp16", 0.0)
    proto, spans = load_without_weights(source_path)
    planned = rewrite_to_fp16(proto, remedy=remedy)
    weights = [
        ConvertedWeight(weight.name, weight.data_type, weight.source, spans.get(weight.source.name), weight.factor)
        for weight in planned
    ]
    progress("converting the weights to fp16", 0.2)
    save_with_weights(proto, weights, target_path, one_file_bytes=one_file_bytes)
    progress("converted to fp16", 1.0)
