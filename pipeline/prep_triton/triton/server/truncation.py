"""Whether a server reads the whole of a text: asked of the tokenizer that an ensemble begins with."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from prep_triton.tasks import PROMPT_NAME
from prep_triton.triton.server.client import RefusedRequestError, TritonClient

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig

# Special tokens, and what a normalizer makes of a character: shorter texts are not asked about.
_MARGIN = 16


def find_cut(client: TritonClient, tokenizer: str, inputs: Mapping[str, Any]) -> int | None:
    """Return after how many tokens a text is cut, or None where all of it is read, or nobody knows.

    A row is cut where it fills the longest length bucket, and is the same tokens without the last word of one of its
    texts.

    Args:
        client: The server.
        tokenizer: The tokenizer entry.
        inputs: Its inputs by name: arrays of a text a row, or of one for all rows.
    """
    try:
        config = client.read_config(tokenizer)
        longest = _read_longest(config)
        if longest is None or sum(max(map(len, array.ravel())) for array in inputs.values()) + _MARGIN < longest:
            return None
        outputs = [tensor.name for tensor in config.output if tensor.name in ("input_ids", "attention_mask")]
        whole, _ = client.infer(tokenizer, inputs, outputs)
        ids, is_full = whole["input_ids"], (whole["attention_mask"] != 0).sum(axis=1) >= longest
        for name in set(inputs) - {PROMPT_NAME} if is_full.any() else ():
            other, _ = client.infer(tokenizer, {**inputs, name: _shorten(inputs[name])}, outputs)
            other_ids = other["input_ids"]
            if ids.shape == other_ids.shape and bool(((ids == other_ids).all(axis=1) & is_full).any()):
                return longest
    except (RefusedRequestError, KeyError, IndexError, ValueError):
        return None
    return None


def _shorten(array: Any) -> Any:
    """Return texts without their last words; of one word its first half."""
    shorter = array.copy()
    for index, text in enumerate(array.ravel()):
        shorter.ravel()[index] = text.rsplit(None, 1)[0] if len(text.split()) > 1 else text[: len(text) // 2]
    return shorter


def _read_longest(config: "ModelConfig") -> int | None:
    """Return the longest length bucket of a tokenizer that cuts what is longer; None for any other entry."""
    parameters = {name: value.string_value for name, value in config.parameters.items()}
    buckets = parameters.get("length_buckets", "").split(",")
    if parameters.get("long_input") != "truncate" or not all(bucket.isdecimal() for bucket in buckets):
        return None
    return max(map(int, buckets))
