"""The export stage for a graph that another tool exported: checked, and brought under prep's names."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prep_triton.architectures import ARCHITECTURES
from prep_triton.artifact import EmbeddingRecord, OnnxModel, ParityRecord, TensorSpec
from prep_triton.errors import ExportError, ParityError, SourceError
from prep_triton.export import heads
from prep_triton.export.folder import (
    CONFIG_NAME,
    VOCABULARY_NAME,
    architecture_from_config,
    digest_checkpoint,
    load_config,
)
from prep_triton.export.heads import resolve_task
from prep_triton.export.onnx import (
    DECLARED_VERSION,
    STAGE,
    declare,
    declare_embedding,
    find_rows,
    paused_collector,
    save_library_answers_of,
)
from prep_triton.export.replacement import check_replacement, describe_replacement
from prep_triton.export.source import Source
from prep_triton.export.weights import has_weights
from prep_triton.extras import check_extra
from prep_triton.layout import GRAPH_NAME, ONE_FILE_BYTES, REFERENCE_NAME, TOKENIZER_NAME
from prep_triton.progress import Progress, ignore_progress
from prep_triton.reference import save_reference
from prep_triton.tasks import TASKS, TaskChoice
from prep_triton.workspace import Produced, Recipe, Workspace

if TYPE_CHECKING:
    from prep_triton.export.foreign_graph import ForeignGraph
    from prep_triton.export.reference import Responder

log = logging.getLogger(__name__)

# Raise it with every change of `foreign_graph.py` or `reference.py` that changes the bytes of an import.
IMPORT_VERSION = 2
_TOOLS = ("torch", "transformers", "onnx", "onnxruntime", "tokenizers")
_SEED = 0


@dataclass(frozen=True)
class Import:
    """A graph that another tool exported.

    Args:
        graph: The ONNX file.
        checkpoint: The folder with config.json, and perhaps the vocabulary and the weights.
        name: The artifact's name.
        task: The task, or ``auto``: what the configuration says.
        label: Where the graph came from, for the record.
        is_beside: Whether `checkpoint` is the graph's own folder because none was named.
    """

    graph: Path
    checkpoint: Path
    name: str
    task: TaskChoice
    label: str
    is_beside: bool


def import_graph(
    request: Import,
    workspace: Workspace,
    *,
    replace: bool = True,
    progress: Progress = ignore_progress,
    one_file_bytes: int = ONE_FILE_BYTES,
) -> Produced[OnnxModel]:
    """Make an artifact of an encoder that another tool exported to ONNX.

    The checkpoint's folder says what the graph is: architecture, task, labels, tokenizer. With its weights the graph is
    compared with PyTorch as an export of ours is; without, with itself in ONNX Runtime, and `reference` says so.

    Args:
        request: The graph and its checkpoint.
        workspace: Where the artifact goes.
        replace: Whether its name may be that of another model until now; a note says so.
        progress: Called with the phase.
        one_file_bytes: The longest file that holds its weights itself.

    Raises:
        MissingPackageError: A library that exports is not installed.
        SourceError: The graph or the checkpoint is damaged, unsupported, or they do not belong together.
        SpecError: The name is another model's.
        ExportError: onnxruntime cannot load the graph.
        ParityError: The graph does not answer as PyTorch, or as itself at other shapes.
    """
    check_extra("export")
    source = _describe_source(request)
    if not replace:
        check_replacement(source, STAGE, workspace)
    elif message := describe_replacement(source, STAGE, workspace):
        log.warning("%s", message)
    recipe = Recipe(
        stage=STAGE,
        name=source.name,
        spec={
            "source": source.digest,
            "task": source.task,
            "import_version": IMPORT_VERSION,
            "tokenizer_version": heads.TOKENIZER_VERSION,
            "declared_version": DECLARED_VERSION,
        },
        tools={name: version(name) for name in _TOOLS},
    )
    return workspace.produce(
        recipe, OnnxModel, lambda folder: _make(source, request.graph, folder, progress, one_file_bytes)
    )


def _describe_source(request: Import) -> Source:
    from prep_triton.export.foreign_graph import answers_embedding, digest_graph

    where = str(request.checkpoint)
    if request.is_beside and not (request.checkpoint / CONFIG_NAME).is_file():
        raise SourceError(
            f"there is no {CONFIG_NAME} beside {request.graph}, which says what the graph is",
            hint="name the folder of the checkpoint that it was exported from: --checkpoint FOLDER",
        )
    config = load_config(request.checkpoint, where=where)
    # modules.json says what is made of token vectors, and the graph whether it does that itself.
    declaring = request.checkpoint if answers_embedding(request.graph) else None
    return Source(
        name=request.name,
        label=request.label,
        architecture=architecture_from_config(config, where=where),
        task=resolve_task(request.task, config, where=where, folder=declaring),
        weights="hub",
        config=config,
        digest=f"{digest_graph(request.graph)} {digest_checkpoint(request.checkpoint, where=where)}",
        folder=request.checkpoint,
    )


def _make(source: Source, graph: Path, folder: Path, progress: Progress, one_file_bytes: int) -> dict[str, Any]:
    """Write the artifact's files and return the record's fields."""
    from prep_triton.export.checkpoint import build_config, silence_vendors
    from prep_triton.export.foreign_graph import Interface, load_foreign
    from prep_triton.onnx_file import save_with_weights

    with silence_vendors():
        config = build_config(source)
    token_types = heads.count_token_types(config)
    declared = declare_embedding(source, source.folder)
    _check_prompts(source, declared.get("embedding"))
    outputs = heads.output_specs(source.task, config, declared.get("embedding"))
    progress("checking the graph", 0.1)
    inputs = heads.input_specs(source.architecture, token_types=token_types)
    # The library's class takes them also where its table has one row, as RoBERTa's has.
    is_single = ARCHITECTURES[source.architecture].has_token_types and token_types == 1
    foreign = load_foreign(graph, Interface(inputs, outputs, zeros=("token_type_ids",) if is_single else ()))
    _check_fits(source, foreign.proto.graph, graph, config)
    _check_pairs(source, [spec.name for spec in foreign.inputs], graph, token_types)
    progress("writing", 0.3)
    save_with_weights(foreign.proto, (), folder / GRAPH_NAME, one_file_bytes=one_file_bytes)
    fields = {
        "architecture": source.architecture,
        "task": source.task,
        "weights": source.weights,
        "source": source.label,
        "precision": "fp32",
        "opset": foreign.opset,
        "model_inputs": foreign.inputs,
        "model_outputs": outputs,
        "max_sequence_length": ARCHITECTURES[source.architecture].find_longest_input(config),
        "vocab_size": int(config.vocab_size),
        "parameters": _count_parameters(foreign.proto.graph),
        **declared,
    }
    progress("answering", 0.5)
    compared = _compare(source, graph, folder, foreign, config, outputs)
    return {**fields, **compared}


def _compare(
    source: Source, graph: Path, folder: Path, foreign: "ForeignGraph", config: Any, outputs: tuple[TensorSpec, ...]
) -> dict[str, Any]:
    """Answer with the reference, compare the graph with it, and return the fields that are known then."""
    from prep_triton.export import reference
    from prep_triton.export.parity import check_parity

    checkpoint = source.folder
    assert checkpoint is not None
    vocabulary = checkpoint if _has_vocabulary(checkpoint) else None
    if vocabulary is None:
        log.warning("%s has no vocabulary: %s takes token ids, and becomes no text entry", checkpoint, source.name)
    rows = find_rows(source, vocabulary, folder, config, _SEED)
    chosen = reference.choose_rows(rows, int(outputs[0].shape[-1]) if TASKS[source.task].width else 1)
    names = tuple(spec.name for spec in foreign.inputs)
    with paused_collector():
        is_pytorch, respond, fields = _find_responder(source, graph, folder, foreign, config, vocabulary)
        answered = reference.lay_out_rows(chosen, names, source.task, respond)
        sizes = reference.Sizes(int(config.vocab_size), ARCHITECTURES[source.architecture].find_longest_input(config))
        cases = reference.draw_cases(sizes, names, _SEED, respond)
    save_reference(folder / REFERENCE_NAME, answered.inputs, answered.answers, chosen.texts, chosen.pairs)
    who = "PyTorch" if is_pytorch else "the graph itself without padding"
    try:
        parity: ParityRecord = check_parity(
            folder / GRAPH_NAME, (*cases, answered.thinned(4)), foreign.inputs, outputs, reference=who
        )
    except ParityError as err:
        hint = "check that the graph was exported from this checkpoint, in evaluation mode, and with dynamic axes"
        raise ParityError(err.message, hint=hint) from err
    if is_pytorch:
        return {**fields, "parity": parity, "reference": "pytorch"}
    log.warning(
        "%s was compared with itself in ONNX Runtime alone: no checkpoint's weights were there for PyTorch to answer; "
        "to compare it, name them with --checkpoint", source.name,
    )  # fmt: skip
    return {**fields, "reference": "onnxruntime"}


def _find_responder(
    source: Source, graph: Path, folder: Path, foreign: "ForeignGraph", config: Any, vocabulary: Path | None
) -> "tuple[bool, Responder, dict[str, Any]]":
    """Return whether PyTorch answers, what answers, and the record's fields of what the checkpoint declares."""
    from types import SimpleNamespace

    from prep_triton.export import reference
    from prep_triton.export.checkpoint import load_model

    checkpoint = source.folder
    assert checkpoint is not None
    if not has_weights(checkpoint):
        session = _open_original(graph)
        return False, partial(_respond, session, foreign), declare(source, vocabulary, SimpleNamespace(config=config))
    model = load_model(source, checkpoint, _SEED)
    if vocabulary:
        save_library_answers_of(source, vocabulary, folder, model)
    return True, partial(reference.answer, model, task=source.task), declare(source, vocabulary, model)


def _open_original(graph: Path) -> Any:
    from prep_triton.export.parity import open_session

    try:
        return open_session(graph)
    except ExportError as err:
        raise ExportError(err.message, hint="export the graph again, or with another opset_version") from err


def _respond(session: Any, foreign: "ForeignGraph", inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Answer with the graph as it came, by its own names."""
    import numpy as np

    values = {name: inputs.get(name, np.zeros_like(inputs["input_ids"])) for name in foreign.fed}
    feeds = {
        own: values[name].astype(np.int32) if name in foreign.int32 else values[name]
        for name, own in foreign.fed.items()
    }
    names = list(foreign.read)
    try:
        answers = session.run([foreign.read[name] for name in names], feeds)
    except Exception as err:  # onnxruntime's share no base class but Exception
        shape = "x".join(map(str, inputs["input_ids"].shape))
        raise ParityError(
            f"the graph does not run at shape {shape}: {str(err).splitlines()[0]:.300}",
            hint="export it with dynamic axes: a traced shape became part of it",
        ) from err
    return dict(zip(names, answers, strict=True))


def _check_fits(source: Source, graph: Any, path: Path, config: Any) -> None:
    from prep_triton.export.foreign_graph import count_embedding_rows

    rows = count_embedding_rows(graph)
    if rows is not None and rows != int(config.vocab_size):
        raise SourceError(
            f"{path} has {rows} rows of word embeddings, and config.json of {source.folder} has vocab_size "
            f"{config.vocab_size}",
            hint="name the checkpoint that the graph was exported from: --checkpoint FOLDER",
        )


def _check_pairs(source: Source, names: list[str], path: Path, token_types: int) -> None:
    """Refuse a graph without token types for a task that tells two texts apart by them."""
    if TASKS[source.task].takes_two_texts and token_types > 1 and "token_type_ids" not in names:
        raise SourceError(
            f"{path} has no input token_type_ids, which tells {' from '.join(TASKS[source.task].text_inputs)}",
            hint="export it with token_type_ids among its inputs",
        )


def _check_prompts(source: Source, embedding: EmbeddingRecord | None) -> None:
    """Refuse prompts that the pooling leaves out: of which tokens they are, no graph but prep's own is told."""
    if embedding is not None and not embedding.includes_prompt:
        raise SourceError(
            f"the Pooling of {source.folder} leaves prompts out (include_prompt is false), and a graph of another tool "
            "has no input that says which tokens are a prompt's",
            hint=f"export the checkpoint itself: prep export {source.folder}",
        )


def _has_vocabulary(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (TOKENIZER_NAME, VOCABULARY_NAME))


def _count_parameters(graph: Any) -> int:
    import math

    from onnx import TensorProto

    return sum(math.prod(tensor.dims) for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT)
