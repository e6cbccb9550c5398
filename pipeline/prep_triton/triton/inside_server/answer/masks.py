"""What may stand where a text has the mask token."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .windows import ROW, Array, count_texts, own_tokens, softmax


@dataclass(frozen=True)
class Vocabulary:
    """The token of each id, and the id of the mask token."""

    tokens: Mapping[int, str]
    mask_id: int


def vocabulary_from_tokenizer(content: Mapping[str, Any], mask_token: str) -> Vocabulary:
    """Read the vocabulary of a tokenizer.json.

    Raises:
        ValueError: It does not have the mask token.
    """
    known = content["model"]["vocab"]
    pairs = known.items() if isinstance(known, Mapping) else ((row[0], index) for index, row in enumerate(known))
    tokens = {int(index): str(token) for token, index in pairs}
    tokens |= {int(token["id"]): str(token["content"]) for token in content.get("added_tokens") or []}
    mask_id = next((index for index, token in tokens.items() if token == mask_token), None)
    if mask_id is None:
        raise ValueError(f"tokenizer.json has no {mask_token}: it is not a tokenizer for fill-mask")
    return Vocabulary(tokens, mask_id)


def fill_masks(logits: Array, input_ids: Array, window: Array, vocabulary: Vocabulary, top_k: int) -> list[str]:
    """Return for each text JSON: for each mask in it a list of {token, score}, best first; [] without a mask.

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
            candidates = [
                {
                    "token": vocabulary.tokens.get(int(best[index, rank]), ""),
                    "score": round(float(scores[index, rank]), 6),
                }
                for rank in order[index]
            ]
            text = int(window[row, ROW])
            answers[text] = [*answers[text], candidates]
    return [json.dumps(answer, ensure_ascii=False) for answer in answers]
