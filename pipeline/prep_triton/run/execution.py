"""What this CPU executes a graph in: the door to OpenVINO, which says it."""

from pathlib import Path

from prep_triton.extras import check_extra
from prep_triton.precision.measure.execution import Execution
from prep_triton.spec import Precision


def execute_on_this_cpu(path: Path, longest: int, precision: Precision) -> Execution:
    """Compile a graph as Triton's OpenVINO backend does here, and read what its products are executed in.

    Args:
        path: The ONNX graph.
        longest: Tokens that it takes at most.
        precision: Of the entry: BF16 is a hint; else OpenVINO chooses by itself.

    Raises:
        MissingPackageError: OpenVINO is not installed.
        PrecisionError: OpenVINO refuses the graph.
    """
    check_extra("openvino")
    from prep_triton.precision.measure.executed import read_execution

    return read_execution(path, longest, "bf16" if precision == "bf16" else None)
