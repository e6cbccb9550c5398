"""The chain: export -> precision -> engine -> assemble -> publish -> verify.

Each step is skipped where its artifact is already there; what was done, found or left out becomes one
row of the report. The rooms do the work; this file only knows their order.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.artifact import OnnxModel, RepositoryEntry
from pipeline.run.checks import check_machine, check_run_spec, nothing_servable
from pipeline.run.report import Listener, RowCollector, RunReport, Silent, StageRow
from pipeline.run.stages import make_variant
from pipeline.run.verification import verify_once
from pipeline.spec import PipelineModelSpec, RunSpec, VariantSpec
from pipeline.workspace import NotMadeError, Workspace


def run_pipeline(
    spec: RunSpec,
    workspace: Workspace,
    *,
    publish_uri: str | None = None,
    verify: bool = True,
    listener: Listener | None = None,
) -> RunReport:
    """Run a whole pipeline file.

    Args:
        spec: What to make.
        workspace: Where the artifacts are kept; a read-only one plans instead.
        publish_uri: Where to publish; wins over the file's `publish`.
        verify: Whether to check the result on a real Triton; wins over the file when False.
        listener: Hears about each step.

    Raises:
        PrepError: The first step that failed; everything finished before it is kept.
    """
    rows = RowCollector(listener or Silent())
    repository_dir = Path(spec.repository)
    uri = publish_uri or spec.publish
    is_verified = verify and spec.verify.enabled
    _check_before(spec, uri, is_verified=is_verified, dry_run=workspace.read_only)
    entries = [entry for model in spec.models for entry in _make_model(rows, model, workspace, repository_dir)]
    release_uri = None
    if workspace.read_only:
        _plan_rest(rows, uri, is_verified=is_verified)
    else:
        if not entries:
            raise nothing_servable()
        if uri:
            release_uri = _publish(rows, repository_dir, entries, uri)
        if is_verified:
            verify_once(rows, entries, release_uri, spec.verify, workspace)
    return RunReport(
        rows=tuple(rows.rows),
        repository=str(repository_dir),
        release=release_uri,
        seconds=round(time.monotonic() - rows.began, 3),
        dry_run=workspace.read_only,
    )


def _check_before(spec: RunSpec, uri: str | None, *, is_verified: bool, dry_run: bool) -> None:
    """Refuse what is known to fail before the minutes of work that it would waste."""
    check_run_spec(spec)
    if not dry_run:  # a dry run may plan for another machine
        check_machine(spec, is_verified=is_verified)
    if uri:
        from pipeline.publish.store import open_store

        store = open_store(uri)
        if not dry_run:
            store.check_access()


def _plan_rest(rows: RowCollector, uri: str | None, *, is_verified: bool) -> None:
    """Say what a dry run leaves to do after assembling."""
    if uri:
        rows.add(StageRow(stage="publish", artifact=uri, state="planned", note="if the content is new"))
    if is_verified:
        rows.add(StageRow(stage="verify", artifact=uri or "the repository", state="planned"))


def _make_model(
    rows: RowCollector, spec: PipelineModelSpec, workspace: Workspace, repository_dir: Path
) -> list[RepositoryEntry]:
    from pipeline.export.onnx import export_model

    label = spec.name or spec.model
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
    entries = []
    for variant in spec.variants:
        try:
            entry = _make_variant(rows, model, variant, workspace, repository_dir)
        except NotMadeError as err:
            note = f"and what follows from it for {describe_variant(variant)}"
            rows.add(StageRow(stage=err.recipe.stage, artifact=err.recipe.name, state="planned", note=note))
        else:
            entries += [entry] if entry else []
    return entries


def describe_variant(variant: VariantSpec) -> str:
    """Name a variant for a person: ``tensorrt fp16 for t4, l4``."""
    gpus = f" for {', '.join(variant.gpus)}" if variant.gpus else ""
    return f"{variant.runtime} {variant.precision}{gpus}"


def _make_variant(
    rows: RowCollector, model: OnnxModel, variant: VariantSpec, workspace: Workspace, repository_dir: Path
) -> RepositoryEntry | None:
    graph, engines = make_variant(rows, model, variant, workspace)
    foreign = [engine for engine in engines if engine.builder == "tensorrt-rtx"]
    if foreign:
        note = "TensorRT-RTX engines: built ahead of time, kept in the workspace; no Triton backend loads them"
        rows.add(StageRow(stage="assemble", artifact=foreign[0].name, state="left out", note=note))
        return None
    if workspace.read_only:
        rows.add(StageRow(stage="assemble", artifact=f"{model.name} ({variant.runtime})", state="planned"))
        return None
    from pipeline.triton.repository import assemble_entry

    entry: RepositoryEntry = rows.step(
        "assemble",
        f"{model.name} {variant.runtime} {variant.precision}",
        lambda progress: assemble_entry(
            graph, engines, variant.serving, repository_dir, name=variant.name, progress=progress
        ),
        _entry_figures,
    )
    return entry


def _publish(rows: RowCollector, repository_dir: Path, entries: Sequence[RepositoryEntry], uri: str) -> str:
    from pipeline.publish.release import publish_release
    from pipeline.publish.store import open_store
    from pipeline.triton.repository import check_unchanged, lock_repository

    began = time.monotonic()
    with rows.listener.stage(f"publish {uri}") as progress, lock_repository(repository_dir):
        check_unchanged(repository_dir, entries)
        published = publish_release(
            repository_dir, open_store(uri), entries=[entry.name for entry in entries], progress=progress
        )
    rows.add(
        StageRow(
            stage="publish",
            artifact=published.release.id,
            state="made" if published.created else "unchanged",
            seconds=round(time.monotonic() - began, 3),
            figures={"files": len(published.release.files), "uploaded_bytes": published.uploaded_bytes},
            path=published.uri,
        )
    )
    return str(published.uri)


def _export_figures(model: OnnxModel) -> dict[str, Any]:
    figures: dict[str, Any] = {"size_bytes": model.files["model.onnx"].size, "opset": model.opset}
    if model.parity:
        figures |= {"max_abs_error": model.parity.max_abs_error, "mean_cosine": model.parity.mean_cosine}
    return figures


def _entry_figures(entry: RepositoryEntry) -> dict[str, Any]:
    return {"size_bytes": sum(file.size for file in entry.files.values()), "max_batch_size": entry.max_batch_size}
