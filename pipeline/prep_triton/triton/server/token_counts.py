"""How many tokens a text ensemble makes of its requests: its own tokenizer is called, on the server that serves it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from prep_triton.errors import ServerError
from prep_triton.triton.server.client import TIMED_OUT, RefusedRequestError
from prep_triton.triton.server.load import ServedModel, ServerClient

# What a tokenizer's step answers, beside ids: [rows, tokens], 0 where a row is padded, and nowhere else.
_MASK = "attention_mask"
# Enough for a mean; of more requests so many are taken, evenly.
MOST_REQUESTS = 256


@dataclass(frozen=True)
class TokenCounts:
    """The mean tokens of a request: its own, and with the padding that the model computes on as well."""

    real: float
    padded: float


def count_tokens(client: ServerClient, model: ServedModel, requests: Sequence[bytes]) -> TokenCounts | None:
    """Count the tokens of serialised requests to a text ensemble.

    None where the ensemble has no step that answers an `attention_mask` to its texts, or that step refuses them all.
    """
    step = _find_tokenizer(client, model)
    if step is None:
        return None
    masks = []
    for request in requests[:: -(-len(requests) // MOST_REQUESTS)]:
        try:
            masks.append(client.infer(step, _parse_inputs(request), [_MASK])[0][_MASK])
        except RefusedRequestError as err:  # a text that is refused is an error of the load, counted there
            if err.server_message.startswith(TIMED_OUT):
                return None
        except ServerError:
            return None
    if not masks:
        return None
    return TokenCounts(
        real=sum(float((mask != 0).sum()) for mask in masks) / len(masks),
        padded=sum(mask.size for mask in masks) / len(masks),
    )


def _find_tokenizer(client: ServerClient, model: ServedModel) -> str | None:
    texts = {tensor.name for tensor in model.inputs}
    for step in model.steps:
        config = client.read_config(step)
        needed = {tensor.name for tensor in config.input if not tensor.optional}
        if _MASK in {tensor.name for tensor in config.output} and needed <= texts:
            return step
    return None


def _parse_inputs(request: bytes) -> dict[str, Any]:
    from tritonclient.grpc import service_pb2
    from tritonclient.utils import deserialize_bytes_tensor

    message = service_pb2.ModelInferRequest.FromString(request)
    return {
        tensor.name: deserialize_bytes_tensor(content).reshape(tuple(tensor.shape))
        for tensor, content in zip(message.inputs, message.raw_input_contents, strict=True)
    }
