"""Runs a graph in OpenVINO as Triton's backend does: in the numbers that this CPU's kernels compute in."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import openvino
from numpy.typing import NDArray

from prep_triton.errors import PrecisionError
from prep_triton.precision.measure.runner import RowRunner

Array = NDArray[Any]
# Products are what the time goes to; a runtime model names them so.
_PRODUCTS = ("FullyConnected", "MatMul", "ScaledDotProductAttention")
_DEVICE = "CPU"


class OpenVinoRunner(RowRunner):
    """A graph that is compiled by OpenVINO.

    Args:
        path: The ONNX graph.
        precision: What it computes in where nothing is quantised; None lets OpenVINO choose, as its backend in Triton
            does: BF16 on a CPU that has it, else FP32.

    Raises:
        PrecisionError: OpenVINO refuses the graph.
    """

    def __init__(self, path: Path, *, precision: Literal["f32", "bf16"] | None = None) -> None:
        super().__init__(str(path))
        properties = {} if precision is None else {"INFERENCE_PRECISION_HINT": precision}
        try:
            self._model = openvino.Core().compile_model(path, _DEVICE, properties)
        except RuntimeError as err:
            raise PrecisionError(
                f"openvino {openvino.__version__} refuses {self.label}: {err}",
                hint="serve it with runtime onnxruntime, or export the model again: prep export MODEL",
            ) from err
        self._request = self._model.create_infer_request()
        self._inputs = {tensor.any_name: tensor.element_type.to_dtype() for tensor in self._model.inputs}

    @property
    def runtime(self) -> str:
        """Name and version of OpenVINO, and what it computes in where nothing is quantised."""
        inference_type = self._model.get_property("INFERENCE_PRECISION_HINT").to_string()
        return f"openvino {openvino.__version__.partition('-')[0]} in {inference_type}"

    def count_products(self) -> dict[str, int]:
        """Return how many matrix products of the compiled graph compute in each type, by OpenVINO's name of it."""
        counts: dict[str, int] = {}
        for node in self._model.get_runtime_model().get_ops():
            info = node.get_rt_info()
            if info["layerType"].astype(str) in _PRODUCTS:
                kind = info["runtimePrecision"].astype(str)
                counts[kind] = counts.get(kind, 0) + 1
        return counts

    def _infer(self, outputs: Sequence[str], arrays: Mapping[str, Array]) -> list[Array]:
        self._request.infer({name: arrays[name].astype(dtype, copy=False) for name, dtype in self._inputs.items()})
        return [self._request.get_tensor(name).data.copy() for name in outputs]


def has_bf16() -> bool:
    """Whether this CPU computes in BF16 by itself (AVX512_BF16 or AMX); else OpenVINO would emulate it."""
    return "BF16" in openvino.Core().get_property(_DEVICE, "OPTIMIZATION_CAPABILITIES")
