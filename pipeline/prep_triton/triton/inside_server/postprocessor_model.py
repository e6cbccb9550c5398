"""A post-processor entry's ``model.py``: the model's numbers in, answers out, in Triton's Python backend.

It runs inside the server's stub, where `prep_triton` is not; beside it lies ``answer/``.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

VERSION_DIR = Path(__file__).parent
sys.dont_write_bytecode = True  # the repository's files are those of its manifests
sys.path.insert(0, str(VERSION_DIR))

import triton_python_backend_utils as pb  # type: ignore[import-not-found]  # noqa: E402
from answer.tasks import answer_from_parameters  # type: ignore[import-not-found]  # noqa: E402
from answer.windows import AnswerError  # type: ignore[import-not-found]  # noqa: E402


class TritonPythonModel:
    """One instance of a post-processor entry (the class name is the Python backend's)."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the choices; an exception here is what the server reports as the load error."""
        config = json.loads(args["model_config"])
        parameters = {name: value["string_value"] for name, value in config["parameters"].items()}
        self.answer = answer_from_parameters(parameters, VERSION_DIR)
        self.inputs = [tensor["name"] for tensor in config["input"]]

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answer each request of a dynamic batch by itself."""
        return [self._respond(request) for request in requests]

    def _respond(self, request: Any) -> Any:
        tensors = {name: pb.get_input_tensor_by_name(request, name).as_numpy() for name in self.inputs}
        try:
            answers = self.answer(tensors)
        except AnswerError as err:
            return pb.InferenceResponse(error=pb.TritonError(str(err)))
        return pb.InferenceResponse([pb.Tensor(name, array) for name, array in answers.items()])
