"""Whether a server reads the whole of a text: asked of the tokenizer that an ensemble begins with."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from prep_triton.triton.server.client import RefusedRequestError, TritonClient

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig

# Special tokens, and what a normalizer makes of a character: shorter texts are not asked about.
_MARGIN = 16


def find_cut(client: TritonClient, tokenizer: str, inputs: Mapping[str, Any]) -> int | None:
    """Return after how many tokens a text is cut, or None where all of it is read, or nobody knows.

    A text is cut where it fills the longest length bucket, and is the same tokens without its last word.

    Args:
        client: The server.
        tokenizer: The tokenizer entry.
        inputs: Its inputs by name, in order: arrays of one text, of which the last may be long.
    """
    try:
        config = client.read_config(tokenizer)
        longest = _read_longest(config)
        name = list(inputs)[-1]
        text = inputs[name].ravel()[0]
        if longest is None or sum(array.ravel()[0].__len__() for array in inputs.values()) + _MARGIN < longest:
            return None
        outputs = [tensor.name for tensor in config.output if tensor.name in ("input_ids", "attention_mask")]
        whole, _ = client.infer(tokenizer, inputs, outputs)
        if int((whole["attention_mask"] != 0).sum()) < longest:
            return None
        shorter = inputs[name].copy()
        shorter.ravel()[0] = text.rsplit(None, 1)[0] if len(text.split()) > 1 else text[: len(text) // 2]
        other, _ = client.infer(tokenizer, {**inputs, name: shorter}, outputs)
    except (RefusedRequestError, KeyError, IndexError):
        return None
    ids, other_ids = whole["input_ids"], other["input_ids"]
    return longest if ids.shape == other_ids.shape and bool((ids == other_ids).all()) else None


def _read_longest(config: "ModelConfig") -> int | None:
    """Return the longest length bucket of a tokenizer that cuts what is longer; None for any other entry."""
    parameters = {name: value.string_value for name, value in config.parameters.items()}
    buckets = parameters.get("length_buckets", "").split(",")
    if parameters.get("long_input") != "truncate" or not all(bucket.isdecimal() for bucket in buckets):
        return None
    return max(map(int, buckets))
