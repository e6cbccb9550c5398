"""What a checkpoint declares of its answers, beside the graph: read off its files, or asked of its library."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prep_triton.artifact import Activation, Truncation
from prep_triton.errors import ExportError, SourceError
from prep_triton.export.checkpoint import silence_vendors
from prep_triton.export.sentence_transformers import load_transformer_settings
from prep_triton.export.tokenizer import load_origin
from prep_triton.files import load_json
from prep_triton.layout import TOKENIZER_NAME
from prep_triton.tasks import MASK_TOKEN, TASKS, Task

log = logging.getLogger(__name__)

_TRUNCATIONS: Mapping[Any, Truncation] = {"OnlyFirst": "only_first", "OnlySecond": "only_second"}
_PROBE = (2.0, -1.0, 0.5)


def find_activation(model: Any) -> Activation:
    """Return what transformers' own pipeline makes scores of a classifier's logits with.

    It is asked, and not read off ``problem_type`` by a rule of ours: its post-processing gets known logits.

    Args:
        model: The transformers model; its configuration decides.

    Raises:
        ExportError: The pipeline does something else with logits.
    """
    import torch
    from transformers import TextClassificationPipeline

    count = int(model.config.num_labels)
    logits = torch.tensor([_PROBE[index % len(_PROBE)] + index for index in range(count)])
    # Built without its constructor, which wants a tokenizer: post-processing needs the configuration alone.
    pipeline = object.__new__(TextClassificationPipeline)
    pipeline.model = model
    id2label, model.config.id2label = model.config.id2label, {index: str(index) for index in range(count)}
    try:
        answers = pipeline.postprocess({"logits": logits[None]}, function_to_apply=None, top_k=None, _legacy=False)
    finally:
        model.config.id2label = id2label
    scores = torch.tensor([score for _, score in sorted((int(item["label"]), item["score"]) for item in answers)])
    candidates: Mapping[Activation, Any] = {
        "softmax": torch.softmax(logits, 0),
        "sigmoid": torch.sigmoid(logits),
        "none": logits,
    }
    for name, expected in candidates.items():
        if torch.allclose(scores, expected, atol=1e-6):
            return name
    raise ExportError(
        "transformers scores this classifier neither by softmax, nor sigmoid, nor by the logit itself",
        hint="remove problem_type from its config.json, or serve it without text",
    )


def find_labels(task: Task, config: Any, *, where: str) -> tuple[str, ...]:
    """Return the label of each index of the last dimension, for the tasks that have labels.

    An index that ``id2label`` does not name is LABEL_<index>, as transformers calls labels that nobody named.

    Args:
        task: Decides whether there are labels.
        config: The transformers configuration object.
        where: The model in the user's words, for the warning.
    """
    if not TASKS[task].has_labels:
        return ()
    by_index = {int(index): str(label) for index, label in config.id2label.items() if label is not None}
    count = int(config.num_labels)
    unnamed = [index for index in range(count) if index not in by_index]
    if unnamed:
        log.warning(
            "id2label of %s names %s, and not %s of its %d outputs: these are served as LABEL_<number>",
            where, sorted(by_index), unnamed, count,
        )  # fmt: skip
    return tuple(by_index.get(index, f"LABEL_{index}") for index in range(count))


def find_length(folder: Path | None, *, limit: int, where: str) -> int:
    """Return where a checkpoint's own tokenizer cuts a text, in tokens with the special ones.

    sentence-transformers' ``max_seq_length`` wins over transformers' ``model_max_length``, as it does there.

    Args:
        folder: The checkpoint; None where there is none.
        limit: The longest sequence that the graph takes.
        where: The model in the user's words, for the message.

    Raises:
        SourceError: A sentence-transformers file is damaged, or leaves a text no token.
    """
    own = load_transformer_settings(folder, where=where).get("max_seq_length")
    if own is not None and (isinstance(own, bool) or not isinstance(own, int | float) or not own >= 1):
        raise SourceError(
            f"{where} declares the max_seq_length {own!r:.40}, expected a whole number of 1 or more, or null",
            hint="write how many tokens it was trained with into sentence_bert_config.json",
        )
    lengths = [own]
    if folder:
        lengths.append(_load_tokenizer_config(folder).get("model_max_length"))
    declared = (length for length in lengths if isinstance(length, int | float) and length >= 1)
    return int(min(next(declared, limit), limit))  # "no limit" is written as 1e30


def cuts_beginning(folder: Path) -> bool:
    """Whether a folder's own tokenizer drops the beginning of a text that is too long, and not its end."""
    with silence_vendors():
        return bool(load_origin(folder).truncation_side == "left")


def _load_tokenizer_config(folder: Path) -> Mapping[str, Any]:
    try:
        content = load_json(folder / "tokenizer_config.json")
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def find_truncation(folder: Path | None) -> Truncation:
    """Return which of two texts a folder's tokenizer.json says to cut; the longer one where it says nothing."""
    try:
        content = load_json(folder / TOKENIZER_NAME) if folder else {}
        declared = content["truncation"]["strategy"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        declared = None
    return _TRUNCATIONS.get(declared, "longest_first")


def find_mask_token(folder: Path | None) -> str:
    """Return the mask token of a folder's tokenizer as transformers has it; BERT's own where there is none."""
    if folder is None:
        return MASK_TOKEN
    with silence_vendors():
        return str(load_origin(folder).mask_token or MASK_TOKEN)
