"""Client code for a text entry, to start from: in Python, and for curl."""

import json
import shlex
from collections.abc import Mapping, Sequence

LANGUAGES = ("python", "curl")

HTTP_PORT = 8000

_PYTHON = """\
# pip install 'tritonclient[grpc]' numpy
import numpy as np
import tritonclient.grpc as triton

texts = {texts}

client = triton.InferenceServerClient({address})
inputs = []
for name, rows in texts.items():
    array = np.array([text.encode() for text in rows], dtype=object){reshape}
    tensor = triton.InferInput(name, list(array.shape), "BYTES")
    tensor.set_data_from_numpy(array)
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
    language: str,
    address: str,
    model: str,
    texts: Mapping[str, Sequence[str]],
    outputs: tuple[str, ...],
    *,
    has_batch: bool,
) -> str:
    """Return a program that sends one request and prints its answer.

    Args:
        language: One of `LANGUAGES`.
        address: HOST:PORT of the server's gRPC.
        model: The entry.
        texts: What it sends, by the name of the input, a row each.
        outputs: What it prints.
        has_batch: Whether the entry's tensors have a batch dimension.
    """
    if language == "python":
        values = {"texts": dict(texts), "address": address, "model": model, "outputs": list(outputs)}
        reshape = ".reshape(-1, 1)" if has_batch else ""
        return _PYTHON.format(reshape=reshape, **{key: json.dumps(value) for key, value in values.items()})
    inner = [1] if has_batch else []
    tensors = [
        {"name": name, "shape": [len(rows), *inner], "datatype": "BYTES", "data": list(rows)}
        for name, rows in texts.items()
    ]
    host = address.rpartition(":")[0]
    return _CURL.format(host=host, port=HTTP_PORT, model=model, body=shlex.quote(json.dumps({"inputs": tensors})))
