"""Runs a graph in OpenVINO as Triton's backend does: in the numbers that this CPU's kernels compute in."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import openvino
from numpy.typing import NDArray

from prep_triton.errors import PrecisionError
from prep_triton.precision.measure.runner import RowRunner

Array = NDArray[Any]
DEVICE = "CPU"

# What is asked of OpenVINO where nothing is quantised.
InferencePrecision = Literal["f32", "bf16"]


class OpenVinoRunner(RowRunner):
    """A graph that is compiled by OpenVINO.

    Args:
        path: The ONNX graph.
        precision: What it computes in where nothing is quantised; None lets OpenVINO choose, as its backend in Triton
            does: BF16 on a CPU that has it, else FP32.

    Raises:
        PrecisionError: OpenVINO refuses the graph.
    """

    def __init__(self, path: Path, *, precision: InferencePrecision | None = None) -> None:
        super().__init__(str(path))
        _, self._model = compile_graph(path, precision)
        self._request = self._model.create_infer_request()
        self._inputs = {tensor.any_name: tensor.element_type.to_dtype() for tensor in self._model.inputs}

    @property
    def runtime(self) -> str:
        """Name and version of OpenVINO, and what it computes in where nothing is quantised."""
        inference_type = self._model.get_property("INFERENCE_PRECISION_HINT").to_string()
        return f"{describe_runtime()} in {inference_type}"

    def _infer(self, outputs: Sequence[str], arrays: Mapping[str, Array]) -> list[Array]:
        self._request.infer({name: arrays[name].astype(dtype, copy=False) for name, dtype in self._inputs.items()})
        return [self._request.get_tensor(name).data.copy() for name in outputs]


def compile_graph(
    path: Path, precision: InferencePrecision | None, *, shape: tuple[int, int] | None = None
) -> tuple[openvino.Model, openvino.CompiledModel]:
    """Return a graph as OpenVINO reads it, and compiled for this CPU.

    Args:
        path: The ONNX graph.
        precision: As of `OpenVinoRunner`.
        shape: What batch and sequence are to be; None leaves them open.

    Raises:
        PrecisionError: OpenVINO refuses the graph.
    """
    properties = {} if precision is None else {"INFERENCE_PRECISION_HINT": precision}
    core = openvino.Core()
    try:
        model = core.read_model(path)
        if shape is not None:
            model.reshape({tensor.any_name: list(shape) for tensor in model.inputs})
        return model, core.compile_model(model, DEVICE, properties)
    except RuntimeError as err:
        raise PrecisionError(
            f"{describe_runtime()} refuses {path}: {_brief(err)}",
            hint="serve it with runtime onnxruntime, or export the model again: prep export MODEL",
        ) from err


def _brief(err: RuntimeError) -> str:
    """Return the last line of OpenVINO's text, which says why; those before it say where in its sources."""
    return next((line for text in reversed(str(err).splitlines()) if (line := text.strip())), "without a reason")


def describe_runtime() -> str:
    """Return OpenVINO's name and version."""
    return f"openvino {openvino.__version__.partition('-')[0]}"


def has_bf16() -> bool:
    """Whether this CPU computes in BF16 by itself (AVX512_BF16 or AMX); else OpenVINO would emulate it."""
    return "BF16" in openvino.Core().get_property(DEVICE, "OPTIMIZATION_CAPABILITIES")
