"""What a graph is: its opset, and what goes into and comes out of a graph: names, types and shapes, written down once.

Every other room reads them from the artifact's `TensorSpec`s. Inputs are INT64, as transformers
emits them and as Triton's configuration will declare them; outputs are FP32.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prep_triton.architectures import ARCHITECTURES, Architecture, find_architecture
from prep_triton.artifact import EmbeddingRecord, TensorSpec
from prep_triton.errors import SourceError
from prep_triton.export.cross_encoders import is_cross_encoder
from prep_triton.export.sentence_transformers import find_kind
from prep_triton.tasks import TASK_NAMES, TASKS, Task, TaskChoice

log = logging.getLogger(__name__)

# Raise it with every change to `graph.py`, `layers.py` or `reference.py` that changes the bytes of an export.
GRAPH_VERSION = 9
# Raise it where the same files become another tokenizer.json. 1: by transformers' AutoTokenizer.
TOKENIZER_VERSION = 1

# The first opset with Gelu (20) and LayerNormalization (17), each one layer to TensorRT; 23 has Attention, which
# TensorRT builds in FP16 only.
OPSET = 20

# A body alone is saved for its token vectors, and a classifier for texts: what else they do is declared beside them.
_TASK_OF_SUFFIX = {
    suffix: task for task, facts in TASKS.items() if not facts.is_declared_beside for suffix in facts.class_suffixes
}
_EMBEDDING_TASK: Task = next(task for task, facts in TASKS.items() if facts.pools_in_graph)
_PAIR_TASK: Task = next(task for task, facts in TASKS.items() if facts.takes_pairs)


def resolve_task(requested: TaskChoice, config: Mapping[str, Any], *, where: str, folder: Path | None = None) -> Task:
    """Return the task to export.

    Args:
        requested: A task, or ``auto`` for the one that the checkpoint was saved with.
        config: The content of config.json.
        where: The model in the user's words, for the message.
        folder: The checkpoint; with ``auto``, one of sentence-transformers makes one embedding of a text, whatever
            class its transformer was saved with, and a cross-encoder scores pairs. None where nothing beside the
            configuration decides.

    Raises:
        SourceError: ``auto``, and the configuration names no head that is known, or a file of sentence-transformers
            is damaged.
    """
    if requested != "auto":
        return requested
    if find_kind(folder, where=where) == "SentenceTransformer":
        log.info("%s: --task auto is %s (its modules.json)", where, _EMBEDDING_TASK)
        return _EMBEDDING_TASK
    _refuse_strange_head(config, where)
    saved = _find_saved(config)
    if saved and is_same_head(saved[0], _PAIR_TASK) and is_cross_encoder(config, folder, where=where):
        log.info("%s: --task auto is %s (a cross-encoder of sentence-transformers)", where, _PAIR_TASK)
        return _PAIR_TASK
    if saved:
        log.info("%s: --task auto is %s (%s)", where, *saved)
        return saved[0]
    raise SourceError(
        f"--task auto cannot tell the task of {where}: its config names the architectures "
        f"{config.get('architectures')!r}",
        hint=f"say --task {'|'.join(TASK_NAMES)}",
    )


def _refuse_strange_head(config: Mapping[str, Any], where: str) -> None:
    """Refuse to guess the task of a class whose answers are none's: it would be guessed by its name."""
    for saved in _list_classes(config):
        architecture = find_architecture(saved)
        facts = ARCHITECTURES[architecture] if architecture else None
        if facts and (answer := facts.strange_heads.get(saved.removeprefix(facts.class_prefix))):
            raise SourceError(
                f"{where} was saved as {saved}, {answer}: that is none of prep's tasks",
                hint="say --task feature-extraction for its token vectors, or choose a checkpoint that was fine-tuned",
            )


def warn_of_head(task: Task, config: Mapping[str, Any], *, where: str) -> None:
    """Say where trained weights are exported for another task than the one that they were saved for."""
    saved = _find_saved(config)
    if saved and not is_same_head(saved[0], task):
        log.warning("%s was saved for %s (%s) and is exported for %s: its own head is left out", where, *saved, task)


def warn_of_model_type(config: Mapping[str, Any], *, where: str) -> None:
    """Say where weights may be read as another architecture's: RoBERTa has BERT's names, and other positions."""
    for saved in _list_classes(config):
        architecture = find_architecture(saved)
        declared = next((name for name in ARCHITECTURES if name == config.get("model_type")), None)
        if architecture and declared and architecture != declared:
            log.warning(
                "config.json of %s has the model_type %s and was saved as %s: it is exported as %s, as transformers "
                "reads it; if its weights are those of the class, write %s there",
                where, declared, saved, ARCHITECTURES[declared].title, architecture,
            )  # fmt: skip


def is_same_head(task: Task, other: Task) -> bool:
    """Whether two tasks are answered by one head, whatever is made of its outputs."""
    return TASKS[task].class_suffixes == TASKS[other].class_suffixes


def _find_saved(config: Mapping[str, Any]) -> tuple[Task, str] | None:
    """Return the task that a checkpoint was saved for and its class; None where no class is known."""
    for saved in _list_classes(config):
        architecture = find_architecture(saved)
        if architecture is None:
            continue
        facts = ARCHITECTURES[architecture]
        suffix = saved.removeprefix(facts.class_prefix)
        if suffix not in facts.strange_heads and (task := _TASK_OF_SUFFIX.get(suffix)):
            return task, saved
    return None


def _list_classes(config: Mapping[str, Any]) -> list[str]:
    named = config.get("architectures")
    return [str(name) for name in named] if isinstance(named, list) else []


def class_name(architecture: Architecture, task: Task) -> str:
    """Return the name of the transformers class of a task."""
    return f"{ARCHITECTURES[architecture].class_prefix}{TASKS[task].class_suffixes[0]}"


def count_token_types(config: Any) -> int:
    """Return how many token types a model tells apart; one that has none has one to all."""
    return int(getattr(config, "type_vocab_size", 1))


def input_names(architecture: Architecture, *, token_types: int = 2) -> tuple[str, ...]:
    """Return the names of the graph's inputs.

    A model with one token type has nothing to choose: tokenizers give the second of two texts the type 1, for which
    it has no row.
    """
    names = ("input_ids", "attention_mask")
    return (*names, "token_type_ids") if ARCHITECTURES[architecture].has_token_types and token_types > 1 else names


def input_specs(architecture: Architecture, *, token_types: int = 2) -> tuple[TensorSpec, ...]:
    """Return the graph's inputs: INT64 of shape [batch, sequence]."""
    names = input_names(architecture, token_types=token_types)
    return tuple(TensorSpec(name=name, dtype="INT64", shape=("batch", "sequence")) for name in names)


def output_specs(task: Task, config: Any, embedding: EmbeddingRecord | None = None) -> tuple[TensorSpec, ...]:
    """Return the graph's outputs: FP32, with the dimensions that the task has.

    Args:
        task: Decides which outputs there are.
        config: The transformers configuration object.
        embedding: What the graph makes of token vectors, for sentence-embedding.
    """
    facts = TASKS[task]
    shape: tuple[int | str, ...] = ("batch", "sequence") if facts.per_token else ("batch",)
    if facts.pools_in_graph:
        shape = (*shape, (embedding or EmbeddingRecord()).width(int(config.hidden_size)))
    elif facts.width is not None:
        shape = (*shape, int(getattr(config, facts.width)))
    return tuple(TensorSpec(name=name, dtype="FP32", shape=shape) for name in facts.outputs)
