"""What a post-processor does for its task: arrays by name in, arrays by name out."""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from .entities import TokenTensors, find_entities
from .masks import Vocabulary, fill_masks, vocabulary_from_tokenizer
from .sequences import pool, rank_labels, score_labels
from .spans import SpanTensors, find_spans
from .windows import Array

Arrays = Mapping[str, Array]
Answer = Callable[[Arrays], dict[str, Array]]

LABELS_NAME = "labels.json"
TOKENIZER_NAME = "tokenizer.json"


def answer_from_parameters(parameters: Mapping[str, str], version_dir: Path) -> Answer:
    """Return what answers for a task.

    Args:
        parameters: Those of config.pbtxt.
        version_dir: Holds ``labels.json`` for the tasks with labels, ``tokenizer.json`` for fill-mask.
    """
    task = parameters["task"]
    if task == "feature-extraction":
        modes = parameters.get("pooling", "mean").split(",")
        return partial(_embed, modes=modes, normalize=parameters["normalize"] == "true")
    if task == "question-answering":
        return partial(
            _find_spans,
            max_answer_tokens=int(parameters["max_answer_tokens"]),
            handle_impossible_answer=parameters.get("handle_impossible_answer") == "true",
        )
    if task == "fill-mask":
        content = json.loads((version_dir / TOKENIZER_NAME).read_text(encoding="utf-8"))
        vocabulary = vocabulary_from_tokenizer(content, parameters.get("mask_token", "[MASK]"))
        return partial(_fill_masks, vocabulary=vocabulary, top_k=int(parameters["top_k"]))
    labels = json.loads((version_dir / LABELS_NAME).read_text(encoding="utf-8"))
    if task == "token-classification":
        return partial(_find_entities, labels=labels)
    if parameters.get("answers") == "scores":
        return partial(_score_labels, activation=parameters.get("activation", "softmax"))
    return partial(
        _rank_labels, labels=labels, top_k=int(parameters["top_k"]), activation=parameters.get("activation", "softmax")
    )


def _embed(tensors: Arrays, *, modes: Sequence[str], normalize: bool) -> dict[str, Array]:
    return {"EMBEDDING": pool(tensors["last_hidden_state"], tensors["WINDOW"], modes, normalize=normalize)}


def _rank_labels(tensors: Arrays, *, labels: Sequence[str], top_k: int, activation: str) -> dict[str, Array]:
    names, scores = rank_labels(tensors["logits"], tensors["WINDOW"], labels, top_k, activation)
    return {"LABEL": names, "SCORE": scores}


def _score_labels(tensors: Arrays, *, activation: str) -> dict[str, Array]:
    return {"SCORES": score_labels(tensors["logits"], tensors["WINDOW"], activation)}


def _find_entities(tensors: Arrays, *, labels: Sequence[str]) -> dict[str, Array]:
    tokens = TokenTensors(tensors["WINDOW"], tensors["OFFSETS"], tensors["WORDS"], tensors["SOURCE"])
    return {"ENTITIES": _strings(find_entities(tensors["logits"], tokens, labels))}


def _fill_masks(tensors: Arrays, *, vocabulary: Vocabulary, top_k: int) -> dict[str, Array]:
    answers = fill_masks(tensors["logits"], tensors["input_ids"], tensors["WINDOW"], vocabulary, top_k)
    return {"TOKENS": _strings(answers)}


def _find_spans(tensors: Arrays, *, max_answer_tokens: int, handle_impossible_answer: bool) -> dict[str, Array]:
    rows = SpanTensors(
        tensors["start_logits"], tensors["end_logits"], tensors["WINDOW"], tensors["OFFSETS"], tensors["SOURCE"]
    )
    spans = find_spans(rows, max_answer_tokens, handle_impossible_answer=handle_impossible_answer)
    return {
        "ANSWER": _strings([span.text for span in spans]),
        "SCORE": np.array([[span.score] for span in spans], np.float32),
        "START": np.array([[span.start] for span in spans], np.int64),
        "END": np.array([[span.end] for span in spans], np.int64),
    }


def _strings(texts: Sequence[str]) -> Array:
    return np.array([text.encode() for text in texts], np.object_).reshape(-1, 1)
