"""A stand-in for Triton's OpenVINO backend, for servers that come without it: written for the Python backend.

As `onnxruntime_stand_in`, it is installed as ``<backend directory>/openvino/model.py``, serves entries of the real
backend unmodified, and refuses what that refuses (openvino_backend, ``src/openvino.cc``). It may import numpy, openvino
and what the stub brings, and nothing of prep.

The real backend compiles a model once, and its instances share the compiled model's streams and threads. Here each
instance is a process, which has its share of them.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import triton_python_backend_utils as pb  # type: ignore[import-not-found]

sys.path.insert(0, str(Path(__file__).parent))  # a copy of triton/config/tensor_rules.py lies there
from tensor_rules import ServedTensor, find_shape_problem  # type: ignore[import-not-found]

DEVICE = "CPU"
# openvino.cc, ParseParameterHelper: what a parameter becomes, and the words that it may be.
PROPERTIES = {
    "INFERENCE_NUM_THREADS": ("INFERENCE_NUM_THREADS", ()),
    "COMPILATION_NUM_THREADS": ("COMPILATION_NUM_THREADS", ()),
    "NUM_STREAMS": ("NUM_STREAMS", ("AUTO", "NUMA")),
    "PERFORMANCE_HINT": ("PERFORMANCE_HINT", ("LATENCY", "THROUGHPUT", "CUMULATIVE_THROUGHPUT")),
    "HINT_BF16": ("INFERENCE_PRECISION_HINT", ("YES",)),
}
NUMBERS = ("INFERENCE_NUM_THREADS", "COMPILATION_NUM_THREADS", "NUM_STREAMS")


class TritonPythonModel:
    """One instance of an entry (the class name is the Python backend's)."""

    def initialize(self, args: dict[str, str]) -> None:
        """Compile the model; an exception here is what the server reports as the load error."""
        config = json.loads(args["model_config"])
        parameters = {key: value.get("string_value", "") for key, value in config.get("parameters", {}).items()}
        if args["model_instance_kind"] != DEVICE:
            _refuse("Triton OpenVINO backend supports only Kind CPU and AUTO")
        if parameters.get("TARGET_DEVICE", DEVICE).upper() not in (DEVICE, "AUTO"):
            _refuse(f"this machine has no device {parameters['TARGET_DEVICE']}")
        folder = Path(args["model_repository"]) / args["model_version"]
        path = folder / (config.get("default_model_filename") or "model.xml")
        if not path.exists():
            _refuse(f"unable to find '{path}' for model '{args['model_name']}'")
        core = openvino.Core()
        model = core.read_model(path)
        self.batch = int(config["max_batch_size"])
        self.is_padded = parameters.get("ENABLE_BATCH_PADDING", "").lower() == "yes"
        _check_tensors(config, model, is_batched=self.batch > 0)
        if self.batch:
            for tensor in model.inputs:
                tensor.get_node().set_layout(openvino.Layout("N..."))
            openvino.set_batch(model, self.batch)
        self.is_fixed = not any(tensor.get_partial_shape().is_dynamic for tensor in model.inputs)
        count = sum(int(group["count"]) for group in config["instance_group"])
        self.request = core.compile_model(model, DEVICE, _properties(parameters, count)).create_infer_request()
        self.inputs = {tensor["name"]: pb.triton_string_to_numpy(tensor["data_type"]) for tensor in config["input"]}
        self.types = {tensor.any_name: tensor.element_type.to_dtype() for tensor in model.inputs}
        self.outputs = [tensor["name"] for tensor in config["output"]]

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answer what the scheduler hands over: one request, or with a static batch as many as fill it."""
        arrays = [
            [pb.get_input_tensor_by_name(request, name).as_numpy() for name in self.inputs] for request in requests
        ]
        if not self.batch:
            return [response for request in arrays for response in self._answer([request])]
        if problem := self._find_batch_problem(arrays):
            return [pb.InferenceResponse(error=pb.TritonError(problem))] * len(requests)
        return self._answer(arrays)

    def _find_batch_problem(self, requests: list[list[np.ndarray[Any, Any]]]) -> str | None:
        """Say why the real backend answers no such batch (ProcessRequests, SetInputTensors)."""
        first = requests[0][0].shape[0]
        if not self.is_padded and first != self.batch:  # it compares after each request, so merged ones do not add up
            return (
                f"expected requests with batch size '{self.batch}', got '{first}'... this error can be avoided by "
                "setting 'ENABLE_BATCH_PADDING' parameter in model configuration to 'YES' at a performance cost."
            )
        if first != self.batch and not self.is_fixed:  # it copies into the tensor that OpenVINO allocated
            name, array = next(iter(self.inputs)), requests[0][0]
            return f"unexpected total byte size {array.nbytes} for input '{name}', expecting 0"
        return None

    def _answer(self, requests: list[list[np.ndarray[Any, Any]]]) -> list[Any]:
        ends = np.cumsum([request[0].shape[0] for request in requests])
        feed = {
            name: _pad(np.concatenate(parts), self.batch).astype(self.types[name], copy=False)
            for name, *parts in zip(self.inputs, *requests, strict=True)
        }
        try:
            self.request.infer(feed)
        except Exception as err:  # openvino's exceptions share no base class but this
            return [pb.InferenceResponse(error=pb.TritonError(str(err)))] * len(requests)
        # Copied: the next inference writes into the same memory.
        results = [np.split(self.request.get_tensor(name).data[: ends[-1]].copy(), ends[:-1]) for name in self.outputs]
        return [
            pb.InferenceResponse([pb.Tensor(name, part) for name, part in zip(self.outputs, row, strict=True)])
            for row in zip(*results, strict=True)
        ]


def _pad(array: np.ndarray[Any, Any], rows: int) -> np.ndarray[Any, Any]:
    """Fill up a batch; what is there already stays as it is."""
    missing = max(0, rows - len(array))
    return np.pad(array, ((0, missing), *[(0, 0)] * (array.ndim - 1))) if missing else array


def _refuse(message: str) -> None:
    raise pb.TritonModelException(f"the stand-in for the OpenVINO backend: {message}")


def _check_tensors(config: Mapping[str, Any], model: Any, *, is_batched: bool) -> None:
    """Refuse tensors that the real backend refuses."""
    if len(model.inputs) != len(config["input"]):
        _refuse(f"configuration expects {len(config['input'])} inputs, model provides {len(model.inputs)}")
    for role, actual in (("input", model.inputs), ("output", model.outputs)):
        shapes = {name: _shape_of(tensor) for tensor in actual for name in tensor.names}
        for message in config[role]:
            dims = message["reshape"]["shape"] if "reshape" in message else message["dims"]
            tensor = ServedTensor(name=message["name"], dims=tuple(int(size) for size in dims))
            problem = f"the graph has no {role} '{tensor.name}'"
            if tensor.name in shapes:
                shape = shapes[tensor.name]
                problem = find_shape_problem(tensor, shape, is_batched=is_batched, is_exact=False)
            if problem:
                _refuse(problem)


def _shape_of(tensor: Any) -> list[int]:
    return [-1 if size.is_dynamic else size.get_length() for size in tensor.get_partial_shape()]


def _properties(parameters: Mapping[str, str], instances: int) -> dict[str, Any]:
    """Return one instance's share of what the real backend sets, from the parameters that it reads."""
    properties: dict[str, Any] = {}
    for name, (key, words) in PROPERTIES.items():
        value = parameters.get(name, "").upper()
        is_number = value.isdecimal() and name in NUMBERS
        if value and not is_number and value not in words:
            _refuse(
                f"expected the parameter '{name}' to be {'a number ' if name in NUMBERS else ''}{words}, got {value}"
            )
        if is_number:
            properties[key] = max(1, int(value) // instances) if int(value) else 0
        elif value:
            properties[key] = "bf16" if name == "HINT_BF16" else value
    if instances > 1:
        # The backend's instances are streams of one compiled model, which share out the cores. Those of separate
        # processes would all be pinned to the first ones: half the rate, and less.
        properties["ENABLE_CPU_PINNING"] = False
    return properties
