"""What may stand where a text has the mask token."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .decoding import Decode, decode_from_tokenizer
from .windows import ROW, Array, count_texts, own_tokens, softmax


@dataclass(frozen=True)
class Vocabulary:
    """The token of each id, the id of the mask token, and what makes text of a token."""

    tokens: Mapping[int, str]
    mask_id: int
    decode: Decode


def vocabulary_from_tokenizer(content: Mapping[str, Any], mask_token: str) -> Vocabulary:
    """Read the vocabulary of a tokenizer.json.

    Raises:
        ValueError: It does not have the mask token, or has a decoder that is not known.
    """
    known = content["model"]["vocab"]
    pairs = known.items() if isinstance(known, Mapping) else ((row[0], index) for index, row in enumerate(known))
    tokens = {int(index): str(token) for token, index in pairs}
    tokens |= {int(token["id"]): str(token["content"]) for token in content.get("added_tokens") or []}
    mask_id = next((index for index, token in tokens.items() if token == mask_token), None)
    if mask_id is None:
        raise ValueError(f"tokenizer.json has no {mask_token}: it is not a tokenizer for fill-mask")
    return Vocabulary(tokens, mask_id, decode_from_tokenizer(content))


def fill_masks(logits: Array, input_ids: Array, window: Array, vocabulary: Vocabulary, top_k: int) -> list[str]:
    """Return for each text JSON: for each mask in it a list of {token, text, score}, best first; [] without a mask.

    `token` is the vocabulary's form, which is unique; `text` is what the token's id is decoded to.

    Args:
        logits: [M, S, V].
        input_ids: [M, S].
        window: [M, 5].
        vocabulary: Of the tokenizer.
        top_k: How many tokens.
    """
    is_mask = own_tokens(window, logits.shape[1]) & (input_ids == vocabulary.mask_id)
    answers: list[Sequence[object]] = [[] for _ in range(count_texts(window))]
    rows, places = np.nonzero(is_mask)  # in the order of the text
    if len(rows):
        probabilities = softmax(logits[rows, places])
        top_k = min(top_k, probabilities.shape[1])
        best = np.argpartition(-probabilities, top_k - 1, axis=1)[:, :top_k]
        scores = np.take_along_axis(probabilities, best, axis=1)
        order = np.argsort(-scores, axis=1, kind="stable")
        for index, row in enumerate(rows):
            tokens = [vocabulary.tokens.get(int(best[index, rank]), "") for rank in order[index]]
            candidates = [
                {"token": token, "text": vocabulary.decode(token), "score": round(float(scores[index, rank]), 6)}
                for token, rank in zip(tokens, order[index], strict=True)
            ]
            text = int(window[row, ROW])
            answers[text] = [*answers[text], candidates]
    return [json.dumps(answer, ensure_ascii=False) for answer in answers]
