"""Serves a repository entry's ``model.onnx`` inside Triton's Python backend.

This file runs inside the server's stub, as ``<backend directory>/onnxruntime/model.py``: it may import
numpy, onnxruntime and what the stub brings, and nothing of `pipeline`.

The configuration is the one of the real ONNX Runtime backend, of which it reads `output`,
`default_model_filename` and the parameter ``intra_op_thread_count``.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb  # type: ignore[import-not-found]


class TritonPythonModel:
    """One instance of an entry (the class name is the Python backend's)."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the graph; an exception here is what the server reports as the load error."""
        config = json.loads(args["model_config"])
        if args["model_instance_kind"] != "CPU":
            raise pb.TritonModelException(
                "the Python twin of the ONNX Runtime backend serves instance_kind cpu only; "
                f"this entry asks for {args['model_instance_kind'].lower()}"
            )
        onnxruntime.disable_telemetry_events()
        options = onnxruntime.SessionOptions()
        threads = config.get("parameters", {}).get("intra_op_thread_count", {}).get("string_value", "0")
        options.intra_op_num_threads = int(threads)  # 0: as many as there are cores
        folder = Path(args["model_repository"]) / args["model_version"]
        path = folder / (config.get("default_model_filename") or "model.onnx")
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.inputs = [tensor.name for tensor in self.session.get_inputs()]
        self.outputs = [tensor["name"] for tensor in config["output"]]

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answer one dynamic batch: one run of the graph for all requests of the same shape."""
        arrays = [self._arrays(request) for request in requests]
        groups: dict[tuple[Any, ...], list[int]] = {}
        for index, given in enumerate(arrays):
            groups.setdefault(tuple(array.shape[1:] for array in given), []).append(index)
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
