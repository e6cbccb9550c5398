"""A stand-in for Triton's ONNX Runtime backend, for servers that come without it: written for the Python backend.

Triton (>= 23.10) takes a folder ``<backend directory>/<backend>/model.py`` for a backend. This file is installed as
``<backend directory>/onnxruntime/model.py`` and serves entries of the real ONNX Runtime backend unmodified. It
runs inside the server's stub: it may import numpy, onnxruntime and what the stub brings, and nothing of prep.

The configuration is the one of the real ONNX Runtime backend, of which it reads `input` and `output`,
`default_model_filename`, ``optimization.graph.level``, ``model_operations.op_library_filename`` and the parameters of
`_session_options`. What it cannot
do (a GPU, an execution accelerator of the CPU) it refuses. The rest (the batcher, warm-up, the response cache,
the rate limiter) is the server's own.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb  # type: ignore[import-not-found]

sys.path.insert(0, str(Path(__file__).parent))  # a copy of triton/config/tensor_rules.py lies there
from tensor_rules import (  # type: ignore[import-not-found]
    ServedTensor,
    find_input_problem,
    find_output_problem,
)

# onnxruntime_backend, README.md, "Model Config Options"; every optimization without a level.
GRAPH_LEVELS = {
    -1: onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    1: onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    2: onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
}


class TritonPythonModel:
    """One instance of an entry (the class name is the Python backend's)."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the graph; an exception here is what the server reports as the load error."""
        config = json.loads(args["model_config"])
        _check_device(config, args["model_instance_kind"])
        onnxruntime.disable_telemetry_events()
        folder = Path(args["model_repository"]) / args["model_version"]
        path = folder / (config.get("default_model_filename") or "model.onnx")
        options = _session_options(config)
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        _check_tensors(config, self.session)
        self.inputs = [tensor.name for tensor in self.session.get_inputs()]
        self.outputs = [tensor["name"] for tensor in config["output"]]

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answer one dynamic batch: one run of the graph for all requests of the same shape."""
        arrays = [self._arrays(request) for request in requests]
        groups: dict[tuple[Any, ...], list[int]] = {}
        for index, inputs in enumerate(arrays):
            groups.setdefault(tuple(array.shape[1:] for array in inputs), []).append(index)
        responses: list[Any] = [None] * len(requests)
        for members in groups.values():
            for index, response in zip(members, self._answer([arrays[index] for index in members]), strict=True):
                responses[index] = response
        return responses

    def _arrays(self, request: Any) -> list[np.ndarray[Any, Any]]:
        return [pb.get_input_tensor_by_name(request, name).as_numpy() for name in self.inputs]

    def _answer(self, requests: list[list[np.ndarray[Any, Any]]]) -> list[Any]:
        feed = {name: np.concatenate(parts) for name, *parts in zip(self.inputs, *requests, strict=True)}
        try:
            results = self.session.run(self.outputs, feed)
        except Exception as err:  # onnxruntime's exceptions share no base class
            return [pb.InferenceResponse(error=pb.TritonError(str(err)))] * len(requests)
        ends = np.cumsum([request[0].shape[0] for request in requests])[:-1]
        parts = [np.split(result, ends) for result in results]
        return [
            pb.InferenceResponse([pb.Tensor(name, part) for name, part in zip(self.outputs, row, strict=True)])
            for row in zip(*parts, strict=True)
        ]


def _check_device(config: Mapping[str, Any], kind: str) -> None:
    """Refuse what the real backend would run elsewhere than on the CPU's own provider."""
    refused = ""
    if kind != "CPU":
        refused = f"serves instance_kind cpu only; this entry asks for {kind.lower()}"
    # On a CPU instance the real backend does not read gpu_execution_accelerator.
    accelerators = config.get("optimization", {}).get("execution_accelerators", {})
    names = [accelerator["name"] for accelerator in accelerators.get("cpu_execution_accelerator", [])]
    if names:
        refused = refused or f"has no execution accelerator; this entry asks for {', '.join(names)}"
    if refused:
        raise pb.TritonModelException(f"the stand-in for the ONNX Runtime backend {refused}")


def _check_tensors(config: Mapping[str, Any], session: onnxruntime.InferenceSession) -> None:
    """Refuse tensors that the real backend refuses."""
    is_batched = config["max_batch_size"] > 0
    roles = (
        ("input", [*session.get_inputs(), *session.get_overridable_initializers()], find_input_problem),
        ("output", session.get_outputs(), find_output_problem),
    )
    for role, actual, find_problem in roles:
        shapes = {
            tensor.name: [size if isinstance(size, int) else -1 for size in tensor.shape or ()] for tensor in actual
        }
        for message in config[role]:
            tensor = _served_tensor(message)
            problem = f"the graph has no {role} '{tensor.name}'"
            if tensor.name in shapes:
                problem = find_problem(tensor, shapes[tensor.name], is_batched=is_batched)
            if problem:
                raise pb.TritonModelException(problem)


def _served_tensor(message: Mapping[str, Any]) -> ServedTensor:
    dims = message["reshape"]["shape"] if "reshape" in message else message["dims"]
    return ServedTensor(
        name=message["name"],
        dims=tuple(int(size) for size in dims),
        is_optional=bool(message.get("optional")),
        is_ragged=bool(message.get("allow_ragged_batch")),
    )


def _session_options(config: Mapping[str, Any]) -> onnxruntime.SessionOptions:
    """Return the session's options from the parameters of the real backend (its README, "Model Config Options")."""
    parameters = {key: value.get("string_value", "") for key, value in config.get("parameters", {}).items()}
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(parameters.get("intra_op_thread_count", 0))  # 0: as many as there are cores
    options.inter_op_num_threads = int(parameters.get("inter_op_thread_count", 0))
    if int(parameters.get("execution_mode", 0)):
        options.execution_mode = onnxruntime.ExecutionMode.ORT_PARALLEL
    options.enable_cpu_mem_arena = _as_bool(parameters.get("enable_mem_arena", "1"))
    options.enable_mem_pattern = _as_bool(parameters.get("enable_mem_pattern", "1"))
    level = int(config.get("optimization", {}).get("graph", {}).get("level", 0))
    for library in config.get("model_operations", {}).get("op_library_filename", []):
        options.register_custom_ops_library(library)
    options.graph_optimization_level = GRAPH_LEVELS.get(level, onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL)
    return options


def _as_bool(text: str) -> bool:
    """Read what the real backend reads (`ParseBoolValue` in backend/common: true, false, or a number)."""
    lowered = text.strip().lower()
    return lowered == "true" if lowered in ("true", "false") else bool(int(text))
