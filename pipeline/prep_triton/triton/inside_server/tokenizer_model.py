"""A tokenizer entry's ``model.py``: text in, token ids out, in Triton's Python backend.

It runs inside the server's stub, where `prep_triton` is not; beside it lie ``encode/``, ``tokenizer.json`` and the
package `tokenizers`, which the stock image does not have.
"""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

VERSION_DIR = Path(__file__).parent
sys.dont_write_bytecode = True  # the repository's files are those of its manifests
sys.path.insert(0, str(VERSION_DIR))  # before what the server's Python has: the vendored package is meant
# The library's own threads gain nothing on short texts, and they would take the model's cores.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import tokenizers  # noqa: E402
import triton_python_backend_utils as pb  # type: ignore[import-not-found]  # noqa: E402
from encode.encoder import Encoder  # type: ignore[import-not-found]  # noqa: E402
from encode.prompts import INPUT, TextError  # type: ignore[import-not-found]  # noqa: E402
from encode.settings import EncoderSettings  # type: ignore[import-not-found]  # noqa: E402


class TritonPythonModel:
    """One instance of a tokenizer entry (the class name is the Python backend's)."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the tokenizer; an exception here is what the server reports as the load error."""
        config = json.loads(args["model_config"])
        parameters = {name: value["string_value"] for name, value in config["parameters"].items()}
        # Protobuf leaves a 0 out of its JSON, which is what an entry without a largest batch has; the server writes it.
        settings = EncoderSettings.parse(parameters, int(config.get("max_batch_size", 0)))
        tokenizer = tokenizers.Tokenizer.from_file(str(VERSION_DIR / "tokenizer.json"))
        self.encoder = Encoder(tokenizer, settings)
        self.encoder.warm_up()
        self.columns = settings.columns
        self.has_prompts = any(tensor["name"] == INPUT for tensor in config["input"])
        self.outputs = [(tensor["name"], pb.triton_string_to_numpy(tensor["data_type"])) for tensor in config["output"]]
        pb.Logger.log_info(f"{args['model_name']}: tokenizers {tokenizers.__version__} from {tokenizers.__file__}")

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answer one dynamic batch; a request without an answer gets an error of its own."""
        texts = [
            [pb.get_input_tensor_by_name(request, name).as_numpy() for name in self.columns] for request in requests
        ]
        names = [self._read_prompt_names(request) for request in requests] if self.has_prompts else None
        return [self._respond(result) for result in self.encoder.encode(texts, names)]

    def _read_prompt_names(self, request: Any) -> Any:
        tensor = pb.get_input_tensor_by_name(request, INPUT)
        return None if tensor is None else tensor.as_numpy()

    def _respond(self, result: Any) -> Any:
        if isinstance(result, TextError):
            return pb.InferenceResponse(error=pb.TritonError(str(result), pb.TritonError.INVALID_ARG))
        return pb.InferenceResponse(
            [pb.Tensor(name, result[name].astype(dtype, copy=False)) for name, dtype in self.outputs]
        )
