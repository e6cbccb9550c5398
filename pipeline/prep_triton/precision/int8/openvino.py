"""INT8 for OpenVINO: the Q/DQ graph that TensorRT gets, with FP32 where FP16 stands in TensorRT's.

OpenVINO reads explicit symmetric Q/DQ as TensorRT does, and computes what is around it in BF16 on a CPU that has it. It
is judged by its own kernels, in the numbers that this CPU gives.
"""

from collections.abc import Collection
from pathlib import Path

from prep_triton.artifact import OverflowRecord
from prep_triton.layout import GRAPH_NAME
from prep_triton.onnx_file import save_with_weights
from prep_triton.precision.int8.quantize import Quantizer
from prep_triton.precision.measure.openvino_runner import OpenVinoRunner
from prep_triton.scratch import scratch_folder


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
        return None

    def _save(self, kept_out: Collection[str], path: Path) -> None:
        save_with_weights(self.build_with_fp32_scales(kept_out), (), path, one_file_bytes=self.one_file_bytes)
