"""The export stage: from a `ModelSpec` to an `OnnxModel`."""

import gc
import hashlib
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from prep_triton.architectures import ARCHITECTURES
from prep_triton.artifact import OnnxModel
from prep_triton.export import heads, hub
from prep_triton.export.replacement import check_replacement, describe_replacement
from prep_triton.export.source import Origin, Source, resolve_source
from prep_triton.extras import check_extra
from prep_triton.layout import GRAPH_NAME, LIBRARY_NAME, ONE_FILE_BYTES, REFERENCE_NAME
from prep_triton.library_answers import save_library_answers
from prep_triton.progress import Progress, ignore_progress
from prep_triton.reference import save_reference
from prep_triton.spec import ModelSpec
from prep_triton.tasks import TASKS
from prep_triton.workspace import Produced, Recipe, Workspace

log = logging.getLogger(__name__)

STAGE = "export"
# Raise it with every change of what is read off a checkpoint's files into the record, or asked of its library.
DECLARED_VERSION = 4

# What decides the bytes: the graph, its weights where they are drawn, and the answers beside it.
_TOOLS = ("torch", "transformers", "onnx", "onnxscript", "onnxruntime", "tokenizers")


def export_model(
    spec: ModelSpec,
    workspace: Workspace,
    *,
    origin: Origin | None = None,
    replace: bool = True,
    progress: Progress = ignore_progress,
    one_file_bytes: int = ONE_FILE_BYTES,
) -> Produced[OnnxModel]:
    """Export an encoder to ONNX and check it against PyTorch.

    The artifact holds ``model.onnx`` (weights inside, or in ``model.onnx.data`` beside it where one file cannot hold
    them), ``reference.npz`` and, where there is a vocabulary, ``tokenizer.json`` and ``library.json``.

    Args:
        spec: Which model, task and weights.
        workspace: Where the artifact goes.
        origin: Where its checkpoint was fetched to, if it was.
        replace: Whether its name may be that of another model until now; a note says so.
        progress: Called with the phase.
        one_file_bytes: The longest file that holds its weights itself.

    Raises:
        MissingPackageError: A library that exports is not installed.
        SourceError: The model is unknown, unsupported, unreachable or damaged.
        SpecError: The spec asks for what cannot be, or the name is another model's.
        ExportError: torch cannot export it, or onnxruntime cannot load it.
        ParityError: The graph does not answer as PyTorch does.
        WorkspaceError: The workspace cannot be used.
    """
    check_extra("export")
    source = resolve_source(spec, origin)
    if not replace:
        check_replacement(source, STAGE, workspace)
    elif message := describe_replacement(source, STAGE, workspace):
        log.warning("%s", message)
    return workspace.produce(
        export_recipe(source, spec),
        OnnxModel,
        lambda folder: _make_model(source, spec.seed, folder, progress, one_file_bytes),
    )


def export_recipe(source: Source, spec: ModelSpec) -> Recipe:
    """Return what decides the bytes of an export; imports no vendor."""
    sentences = (files("prep_triton.export") / "sentences.txt").read_bytes()
    return Recipe(
        stage=STAGE,
        name=source.name,
        spec={
            "source": source.digest,
            "task": source.task,
            "weights": source.weights,
            "seed": spec.seed if source.weights == "random" else None,
            "opset": heads.OPSET,
            "graph_version": heads.GRAPH_VERSION,
            "tokenizer_version": heads.TOKENIZER_VERSION,
            "declared_version": DECLARED_VERSION,
            "sentences": hashlib.sha256(sentences).hexdigest()[:16],
        },
        tools={name: version(name) for name in _TOOLS},
    )


@dataclass(frozen=True)
class _Written:
    """What outlives the torch model, which is gone before onnxruntime loads the same weights."""

    fields: Mapping[str, Any]
    cases: tuple[Any, ...]
    nodes: int


def _make_model(source: Source, seed: int, folder: Path, progress: Progress, one_file_bytes: int) -> dict[str, Any]:
    """Write the artifact's files and return the record's fields."""
    from prep_triton.export.parity import check_parity

    with paused_collector():
        written = _write_model(source, seed, folder, progress, one_file_bytes)
    progress("checking parity", 0.8)
    fields = written.fields
    parity = check_parity(folder / GRAPH_NAME, written.cases, fields["model_inputs"], fields["model_outputs"])
    log.info(
        "%s: %d nodes, %.1f M parameters, within %.1e of PyTorch over %d batches",
        source.name, written.nodes, fields["parameters"] / 1e6, parity.max_abs_error, len(parity.shapes),
    )  # fmt: skip
    return {**fields, "parity": parity}


@contextmanager
def paused_collector() -> Iterator[None]:
    """Keep Python from looking for garbage while torch is imported and exports: an eighth of the seconds.

    They make millions of objects and drop few; what holds the weights goes without it.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _write_model(source: Source, seed: int, folder: Path, progress: Progress, one_file_bytes: int) -> _Written:
    """Load, answer with PyTorch, export, write."""
    from prep_triton.export import graph, reference
    from prep_triton.export.checkpoint import load_model

    progress("loading weights", 0.0)
    if source.weights != "random":
        heads.warn_of_model_type(source.config, where=source.label)
        heads.warn_of_head(source.task, source.config, where=source.label)
    origin = hub.fetch_folder(*source.repo) if source.repo else source.folder
    declared = declare_embedding(source, origin)
    model = load_model(source, origin, seed)
    config = model.config
    rows = find_rows(source, origin, folder, config, seed)

    progress("answering with PyTorch", 0.2)
    outputs = heads.output_specs(source.task, config, declared.get("embedding"))
    width = outputs[0].shape[-1] if TASKS[source.task].width else 1
    chosen = reference.choose_rows(rows, int(width))
    answered = reference.answer_rows(model, source.architecture, source.task, chosen)
    cases = reference.answer_shapes(model, source.architecture, source.task, seed)
    save_library_answers_of(source, origin, folder, model)

    progress("exporting", 0.3)
    exported = graph.export_graph(model, source.architecture, source.task)

    progress("writing", 0.7)
    nodes = graph.save_graph(exported, model, folder / GRAPH_NAME, one_file_bytes=one_file_bytes)
    save_reference(folder / REFERENCE_NAME, answered.inputs, answered.answers, chosen.texts, chosen.pairs)
    fields = {
        "architecture": source.architecture,
        "task": source.task,
        "weights": source.weights,
        "source": source.label,
        "precision": "fp32",
        "opset": heads.OPSET,
        "model_inputs": heads.input_specs(source.architecture, token_types=heads.count_token_types(config)),
        "model_outputs": outputs,
        "max_sequence_length": ARCHITECTURES[source.architecture].find_longest_input(config),
        "vocab_size": int(config.vocab_size),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        **declare(source, origin, model),
        **declared,
    }
    # A quarter of the reference is enough of real text, and a second less to wait for.
    return _Written(fields, (*cases, answered.thinned(4)), nodes)


def save_library_answers_of(source: Source, origin: Path | None, folder: Path, model: Any) -> None:
    """Write what the library itself answers to texts, where there is a tokenizer and the task has a text entry."""
    from prep_triton.export import library
    from prep_triton.export.cross_encoders import is_cross_encoder

    vocabulary = origin or source.vocabulary
    is_of_pairs = is_cross_encoder(source.config, origin, where=source.label)
    if vocabulary is None or (is_of_pairs and not TASKS[source.task].takes_pairs):
        return
    save_library_answers(folder / LIBRARY_NAME, library.answer_texts(model, source, origin, vocabulary))


def declare(source: Source, origin: Path | None, model: Any) -> dict[str, Any]:
    """Return the record's fields of what the checkpoint says of its answers; of the model its `config` is read."""
    from prep_triton.export import cross_encoders, declared

    vocabulary, where = origin or source.vocabulary, source.label
    fields: dict[str, Any] = {
        "labels": declared.find_labels(source.task, model.config, where=where),
        "declared_length": declared.find_length(
            origin, limit=ARCHITECTURES[source.architecture].find_longest_input(model.config), where=where
        ),
        "cuts_beginning": bool(vocabulary and declared.cuts_beginning(vocabulary)),
    }
    if TASKS[source.task].scores_texts:
        takes_pairs = cross_encoders.is_cross_encoder(source.config, origin, where=where)
        fields["takes_pairs"] = takes_pairs
        if takes_pairs and TASKS[source.task].takes_pairs:
            count = int(model.config.num_labels)
            fields["activation"] = cross_encoders.find_pair_activation(source.config, origin, count, where=where)
        else:
            fields["activation"] = declared.find_activation(model)
    if TASKS[source.task].takes_pairs:
        fields["truncation"] = declared.find_truncation(vocabulary)
    if TASKS[source.task].answers_tokens:
        fields["mask_token"] = declared.find_mask_token(vocabulary)
    return fields


def declare_embedding(source: Source, origin: Path | None) -> dict[str, Any]:
    """Return the record's fields of what a sentence-transformers folder says; it is refused before weights load."""
    from prep_triton.export.cross_encoders import check_cross_encoder
    from prep_triton.export.sentence_modules import find_embedding, read_modules
    from prep_triton.export.sentence_transformers import find_kind

    if TASKS[source.task].takes_pairs:
        check_cross_encoder(origin, where=source.label)
    if not TASKS[source.task].answers_embedding:
        kind = find_kind(origin, where=source.label)
        if kind not in ("", "CrossEncoder"):
            log.warning(
                "%s is a %s of sentence-transformers, and is exported for %s: its answers are not the embeddings that "
                "its modules.json declares (--task sentence-embedding)",
                source.label, kind, source.task,
            )  # fmt: skip
        return {}
    if TASKS[source.task].pools_in_graph:
        embedding = read_modules(origin, where=source.label).record()
    else:
        embedding = find_embedding(origin, where=source.label)
    if embedding.prompt:
        log.info("%s: its default prompt %r is put before every text", source.label, embedding.prompt)
    if embedding.prompts:
        log.info("%s: its text entries take PROMPT_NAME: %s", source.label, ", ".join(embedding.prompts))
    return {"embedding": embedding}


def find_rows(source: Source, origin: Path | None, folder: Path, config: Any, seed: int) -> Any:
    """Return the rows to answer: real sentences where there is a tokenizer, which is written into the folder.

    They are pairs where the task takes two texts.
    """
    from prep_triton.export import reference
    from prep_triton.export.tokenizer import save_tokenizer

    longest = ARCHITECTURES[source.architecture].find_longest_input(config)
    vocabulary, in_pairs = origin or source.vocabulary, TASKS[source.task].takes_two_texts
    if vocabulary is None:
        return reference.rows_from_seed(seed, int(config.vocab_size), longest, in_pairs=in_pairs)
    tokenizer = save_tokenizer(vocabulary, folder, int(config.vocab_size), where=source.label)
    return reference.rows_from_sentences(tokenizer, longest, in_pairs=in_pairs)
