"""INT8 for OpenVINO: the Q/DQ graph that TensorRT gets, with FP32 where FP16 stands in TensorRT's.

OpenVINO reads explicit symmetric Q/DQ as TensorRT does, and computes what is around it in BF16 on a CPU that has it. It
is judged by its own kernels, in the numbers that this CPU gives.
"""

import logging
from collections.abc import Collection
from pathlib import Path

from prep_triton.artifact import OverflowRecord
from prep_triton.layout import GRAPH_NAME
from prep_triton.onnx_file import save_with_weights
from prep_triton.precision.int8.quantize import Quantizer
from prep_triton.precision.measure.executed import read_execution
from prep_triton.precision.measure.execution import Execution
from prep_triton.precision.measure.openvino_runner import OpenVinoRunner
from prep_triton.scratch import scratch_folder

log = logging.getLogger(__name__)

# Rounding, never a layer of an encoder.
_TOLERANCE = 0.01


class OpenVinoQuantizer(Quantizer):
    """Builds and evaluates INT8 graphs of one model for OpenVINO."""

    def open_candidate(self, kept_out: Collection[str]) -> OpenVinoRunner:
        """Open the graph that would be written, in OpenVINO."""
        with scratch_folder("int8") as folder:
            self._save(kept_out, folder / GRAPH_NAME)
            return OpenVinoRunner(folder / GRAPH_NAME)

    def write(self, kept_out: Collection[str], path: Path) -> OverflowRecord | None:
        """Write the INT8 + FP32 graph; nothing of it can overflow."""
        self.progress("writing int8 and fp32")
        self._save(kept_out, path)
        total = sum(linear.flops for linear in self.linears)
        promised = sum(linear.flops for linear in self.linears if linear.name not in kept_out) / total
        if problem := find_broken_promise(read_execution(path, self.model.max_sequence_length), promised):
            log.warning("%s", problem)
        return None

    def _save(self, kept_out: Collection[str], path: Path) -> None:
        save_with_weights(self.build_with_fp32_scales(kept_out), (), path, one_file_bytes=self.one_file_bytes)


def find_broken_promise(execution: Execution, promised: float) -> str | None:
    """Say that a CPU does not execute in INT8 what the graph has in INT8; None where it does.

    Other CPUs may: the graph is right, and what it gains is not to be had here.

    Args:
        execution: What this CPU executes.
        promised: The share of the encoder's linear-layer FLOPs that the graph has in INT8, 0..1.
    """
    share = execution.linear_flops_share
    if share.get("int8", 0.0) >= promised - _TOLERANCE:
        return None
    parts = ", ".join(f"{part:.1%} {word}" for word, part in share.items())
    return (
        f"{promised:.1%} of the encoder's linear-layer FLOPs are int8 in the graph, and {execution.runtime} executes "
        f"{parts} on this CPU ({execution.processor}): measure with prep bench whether int8 is faster here"
    )
