"""Client code for a text entry, to start from: in Python, and for curl."""

import json
import shlex
from collections.abc import Mapping

LANGUAGES = ("python", "curl")

HTTP_PORT = 8000

_PYTHON = """\
# pip install 'tritonclient[grpc]' numpy
import numpy as np
import tritonclient.grpc as triton

texts = {texts}

client = triton.InferenceServerClient({address})
inputs = []
for name, text in texts.items():
    tensor = triton.InferInput(name, {shape}, "BYTES")
    tensor.set_data_from_numpy(np.array([text.encode()], dtype=object).reshape({shape}))
    inputs.append(tensor)
answer = client.infer({model}, inputs, client_timeout=30.0)
for name in {outputs}:
    values = answer.as_numpy(name).ravel().tolist()
    print(name, [value.decode() if isinstance(value, bytes) else value for value in values])
"""

_CURL = """\
# The server's HTTP port is {port} unless it was changed.
curl -sS "${{TRITON_HTTP:-http://{host}:{port}}}/v2/models/{model}/infer" \\
  -H 'Content-Type: application/json' \\
  -d {body}
"""


def render_snippet(
    language: str, address: str, model: str, texts: Mapping[str, str], outputs: tuple[str, ...], *, has_batch: bool
) -> str:
    """Return a program that sends one request and prints its answer.

    Args:
        language: One of `LANGUAGES`.
        address: HOST:PORT of the server's gRPC.
        model: The entry.
        texts: What it sends, by the name of the input.
        outputs: What it prints.
        has_batch: Whether the entry's tensors have a batch dimension.
    """
    shape = [1, 1] if has_batch else [1]
    if language == "python":
        values = {"texts": dict(texts), "address": address, "model": model, "outputs": list(outputs)}
        return _PYTHON.format(shape=shape, **{key: json.dumps(value) for key, value in values.items()})
    tensors = [{"name": name, "shape": shape, "datatype": "BYTES", "data": [text]} for name, text in texts.items()]
    host = address.rpartition(":")[0]
    return _CURL.format(host=host, port=HTTP_PORT, model=model, body=shlex.quote(json.dumps({"inputs": tensors})))
