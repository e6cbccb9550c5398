"""What a graph is: its opset, and what goes into and comes out of a graph: names, types and shapes, written down once.

Every other room reads them from the artifact's `TensorSpec`s. Inputs are INT64, as transformers
emits them and as Triton's configuration will declare them; outputs are FP32.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from prep_triton.artifact import TensorSpec
from prep_triton.errors import SourceError

log = logging.getLogger(__name__)

# Raise it with every change to `graph.py`, `layers.py` or `reference.py` that changes the bytes of an export.
GRAPH_VERSION = 2

# The first opset with Gelu (20) and LayerNormalization (17), each one layer to TensorRT; 23 has Attention, which
# TensorRT builds in FP16 only.
OPSET = 20

Architecture = Literal["bert", "distilbert"]

ARCHITECTURES: tuple[Architecture, ...] = ("bert", "distilbert")
INPUT_NAMES: Mapping[Architecture, tuple[str, ...]] = {
    "bert": ("input_ids", "attention_mask", "token_type_ids"),
    "distilbert": ("input_ids", "attention_mask"),
}
_PREFIXES: Mapping[Architecture, str] = {"bert": "Bert", "distilbert": "DistilBert"}


@dataclass(frozen=True)
class Head:
    """One task: the suffix of its transformers classes and what it answers.

    Args:
        suffix: The class is ``Bert<suffix>`` or ``DistilBert<suffix>``.
        outputs: The graph's outputs, which are attributes of the transformers output of the same name.
        width: The configuration attribute that gives the outputs' last dimension, or None where they have none.
        per_token: Whether there is an answer for each position of the sequence.
        has_labels: Whether the last dimension is named by ``id2label``.
    """

    suffix: str
    outputs: tuple[str, ...]
    width: str | None
    per_token: bool = True
    has_labels: bool = False


HEADS: Mapping[str, Head] = {
    "fill-mask": Head("ForMaskedLM", ("logits",), "vocab_size"),
    "question-answering": Head("ForQuestionAnswering", ("start_logits", "end_logits"), None),
    "text-classification": Head(
        "ForSequenceClassification", ("logits",), "num_labels", per_token=False, has_labels=True
    ),
    "token-classification": Head("ForTokenClassification", ("logits",), "num_labels", has_labels=True),
    "feature-extraction": Head("Model", ("last_hidden_state",), "hidden_size"),
}

# BertForPreTraining carries the masked-LM head beside next-sentence prediction.
_TASK_OF_SUFFIX = {head.suffix: task for task, head in HEADS.items()} | {"ForPreTraining": "fill-mask"}


def resolve_task(requested: str, config: Mapping[str, Any], *, where: str) -> str:
    """Return the task to export.

    Args:
        requested: A task, or ``auto`` for the one that the checkpoint was saved with.
        config: The content of config.json.
        where: The model in the user's words, for the message.

    Raises:
        SourceError: ``auto``, and the configuration names no head that is known.
    """
    if requested != "auto":
        return requested
    named = config.get("architectures")
    for architecture in named if isinstance(named, list) else []:
        for prefix in sorted(_PREFIXES.values(), key=len, reverse=True):
            task = _TASK_OF_SUFFIX.get(str(architecture).removeprefix(prefix))
            if task and str(architecture).startswith(prefix):
                log.info("%s: --task auto is %s (%s)", where, task, architecture)
                return task
    raise SourceError(
        f"--task auto cannot tell the task of {where}: its config names the architectures {named!r}",
        hint=f"say --task {'|'.join(HEADS)}",
    )


def class_name(architecture: Architecture, task: str) -> str:
    """Return the name of the transformers class of a task."""
    return f"{_PREFIXES[architecture]}{HEADS[task].suffix}"


def input_specs(architecture: Architecture) -> tuple[TensorSpec, ...]:
    """Return the graph's inputs: INT64 of shape [batch, sequence]."""
    names = INPUT_NAMES[architecture]
    return tuple(TensorSpec(name=name, dtype="INT64", shape=("batch", "sequence")) for name in names)


def output_specs(task: str, config: Any) -> tuple[TensorSpec, ...]:
    """Return the graph's outputs: FP32, with the dimensions that the task has.

    Args:
        task: A key of `HEADS`.
        config: The transformers configuration object.
    """
    head = HEADS[task]
    shape: tuple[int | str, ...] = ("batch", "sequence") if head.per_token else ("batch",)
    if head.width is not None:
        shape = (*shape, int(getattr(config, head.width)))
    return tuple(TensorSpec(name=name, dtype="FP32", shape=shape) for name in head.outputs)


def labels(task: str, config: Any) -> tuple[str, ...]:
    """Return the label of each index of the last dimension, for the tasks that have labels."""
    if not HEADS[task].has_labels:
        return ()
    by_index = {int(index): str(label) for index, label in config.id2label.items()}
    return tuple(by_index[index] for index in sorted(by_index))
