"""One model of a pipeline file: its export, its converted graphs, its engines, its repository entries."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prep_triton.artifact import Engine, OnnxModel, RepositoryEntry
from prep_triton.engine.machine import Machine
from prep_triton.layout import GRAPH_NAME
from prep_triton.run.report import RowCollector, StageRow
from prep_triton.run.stages import make_variant
from prep_triton.spec import PipelineModelSpec, VariantSpec
from prep_triton.workspace import NotMadeError, Workspace


@dataclass(frozen=True)
class MadeVariant:
    """A variant's converted graph, and for TensorRT its engines."""

    variant: VariantSpec
    graph: OnnxModel
    engines: Sequence[Engine]


def make_model(
    rows: RowCollector, spec: PipelineModelSpec, workspace: Workspace, machine: Machine
) -> list[MadeVariant]:
    """Make everything of a model but its repository entries.

    Args:
        rows: Takes the steps. In a read-only workspace what would be made is told as planned.
        spec: The model and its variants.
        workspace: Where the artifacts are kept.
        machine: What this machine builds and runs.

    Returns:
        The variants that are there; in a read-only workspace perhaps not all.

    Raises:
        PrepError: The first step that failed.
    """
    from prep_triton.export.onnx import export_model

    label = label_of_model(spec)
    try:
        model: OnnxModel = rows.step(
            "export",
            label,
            lambda progress: export_model(spec.model_spec(), workspace, progress=progress),
            _export_figures,
        )
    except NotMadeError as err:
        rows.add(StageRow(stage="export", artifact=err.recipe.name, state="planned"))
        for variant in spec.variants:
            rows.add(StageRow(stage="variant", artifact=f"{label} {describe_variant(variant)}", state="planned"))
        return []
    made = []
    for variant in spec.variants:
        try:
            graph, engines = make_variant(rows, model, variant, workspace, machine)
        except NotMadeError as err:
            note = f"and what follows from it for {describe_variant(variant)}"
            rows.add(StageRow(stage=err.recipe.stage, artifact=err.recipe.name, state="planned", note=note))
        else:
            made.append(MadeVariant(variant, graph, engines))
    return made


def assemble_variant(
    rows: RowCollector, made: MadeVariant, repository_dir: Path, *, dry_run: bool = False
) -> list[RepositoryEntry]:
    """Write the repository entries of a variant: the model's, and those of text where it was asked for.

    TensorRT-RTX engines stay in the workspace, since no Triton backend loads them.
    """
    variant, graph = made.variant, made.graph
    foreign = [engine for engine in made.engines if engine.builder == "tensorrt-rtx"]
    if foreign:
        note = "TensorRT-RTX engines: built ahead of time, kept in the workspace; no Triton backend loads them"
        rows.add(StageRow(stage="assemble", artifact=foreign[0].name, state="left out", note=note))
        return []
    if dry_run:
        rows.add(StageRow(stage="assemble", artifact=f"{graph.name} ({variant.runtime})", state="planned"))
        return []
    from prep_triton.triton.entries.text import check_text_request
    from prep_triton.triton.entries.write import assemble_entry

    if variant.text is not None:
        check_text_request(graph, variant.text)
    entry: RepositoryEntry = rows.step(
        "assemble",
        f"{graph.name} {variant.runtime} {variant.precision}",
        lambda progress: assemble_entry(
            graph, made.engines, variant.serving, repository_dir, name=variant.name, progress=progress
        ),
        _entry_figures,
    )
    return [entry, *_assemble_text(rows, entry, variant, repository_dir)]


def _assemble_text(
    rows: RowCollector, entry: RepositoryEntry, variant: VariantSpec, repository_dir: Path
) -> list[RepositoryEntry]:
    if variant.text is None:
        return []
    from prep_triton.triton.entries.text import assemble_text_entries

    produced = assemble_text_entries(entry, variant.text, repository_dir)
    for one in produced:
        state = "unchanged" if one.reused else "made"
        made = one.artifact
        figures = _entry_figures(made)
        rows.add(StageRow(stage="assemble", artifact=made.name, state=state, figures=figures, path=str(made.folder)))
    return [one.artifact for one in produced]


def label_of_model(spec: PipelineModelSpec) -> str:
    """Name a model for a person, before it is known what it is."""
    return spec.name or spec.model


def describe_variant(variant: VariantSpec) -> str:
    """Name a variant for a person: ``tensorrt fp16 for t4, l4``."""
    gpus = f" for {', '.join(variant.gpus)}" if variant.gpus else ""
    return f"{variant.runtime} {variant.precision}{gpus}"


def _export_figures(model: OnnxModel) -> dict[str, Any]:
    figures: dict[str, Any] = {"size_bytes": model.files[GRAPH_NAME].size, "opset": model.opset}
    if model.parity:
        figures |= {"max_abs_error": model.parity.max_abs_error, "mean_cosine": model.parity.mean_cosine}
    return figures


def _entry_figures(entry: RepositoryEntry) -> dict[str, Any]:
    return {"size_bytes": sum(file.size for file in entry.files.values()), "max_batch_size": entry.max_batch_size}
