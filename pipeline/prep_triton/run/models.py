"""The models of a pipeline file: each exported, built and assembled; one that fails does not stop the others."""

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prep_triton.artifact import OnnxModel, RepositoryEntry
from prep_triton.engine.machine import Machine
from prep_triton.errors import PrepError, VerifyError
from prep_triton.run.inputs import check_inputs
from prep_triton.run.memory import MemoryBudget, estimate_memory_gib
from prep_triton.run.names import names_of_entries
from prep_triton.run.processes import ChildProcesses
from prep_triton.run.report import RowCollector, Silent, StageRow
from prep_triton.run.variants import BuiltVariant, assemble_variant, build_variant
from prep_triton.spec import PipelineModelSpec, RunSpec, VariantSpec
from prep_triton.workspace import NotMadeError, Workspace

if TYPE_CHECKING:
    from prep_triton.triton.verify.report import EntriesFailedError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelResult:
    """What became of one model: its variants, or why there are none."""

    spec: PipelineModelSpec
    variants: Sequence[BuiltVariant] = ()
    error: PrepError | None = None


def make_models(rows: RowCollector, spec: RunSpec, workspace: Workspace, machine: Machine) -> list[ModelResult]:
    """Make every model of a pipeline file but its repository entries.

    Models of which everything is there already, and all where there is one job, are made in this process.

    Args:
        rows: Takes the steps of all models.
        spec: The models, `jobs` and `memory_gib`.
        workspace: Where the artifacts are kept.
        machine: What this machine builds and runs.

    Returns:
        One result for each model, in the file's order.
    """
    results = {id(result.spec): result for result in _fail_without_inputs(rows, spec.models)}
    whole = [model for model in spec.models if id(model) not in results]
    pending: list[PipelineModelSpec] = []
    if not workspace.read_only and spec.jobs > 1 and len(whole) > 1:
        pending = [model for model in whole if not _is_made(model, workspace, machine)]
    parallel = _make_at_once(rows, spec, pending, workspace, machine) if len(pending) > 1 else []
    results |= {id(result.spec): result for result in parallel}
    return [
        results[id(model)] if id(model) in results else _make_here(rows, model, workspace, machine)
        for model in spec.models
    ]


def assemble_models(
    rows: RowCollector, results: Sequence[ModelResult], repository_dir: Path, *, dry_run: bool
) -> tuple[list[RepositoryEntry], list[ModelResult]]:
    """Write the repository entries of every model.

    Returns:
        The entries, and the results in which a model that could not be assembled is a failed one.
    """
    entries: list[RepositoryEntry] = []
    after = []
    for result in results:
        try:
            assembled = [_assemble(rows, variant, repository_dir, dry_run=dry_run) for variant in result.variants]
        except PrepError as err:
            after.append(fail_model(rows, result.spec, err))
        else:
            entries += [entry for variant_entries in assembled for entry in variant_entries]
            after.append(result)
    return entries, after


def leave_out_failed(
    rows: RowCollector, err: "EntriesFailedError", entries: Sequence[RepositoryEntry], results: Sequence[ModelResult]
) -> tuple[list[RepositoryEntry], list[ModelResult]]:
    """Turn the models of which an entry failed on Triton into failed ones.

    Args:
        rows: Takes a failed step for each of them.
        err: Which entries failed, and why.
        entries: What was verified.
        results: What became of each model until now.

    Returns:
        The entries of the other models, and the results.
    """
    details = {report.name: report.detail for report in err.report.entries if report.status == "failed"}
    after, failed = [], set[str]()
    for result in results:
        names = set() if result.error else _names_of_own(result.spec, entries)
        if because := [f"{name}: {details[name]}" for name in sorted(names & details.keys())]:
            error = VerifyError(f"failed on a real Triton: {'; '.join(because)}", hint=err.hint)
            after.append(fail_model(rows, result.spec, error))
            failed |= names
        else:
            after.append(result)
    return [entry for entry in entries if entry.name not in failed], after


def _names_of_own(model: PipelineModelSpec, entries: Sequence[RepositoryEntry]) -> set[str]:
    """Return the names of a model's entries, those that serve its text with them."""
    own = names_of_entries(model)
    return {entry.name for entry in entries if entry.name in own or entry.serves in own}


def raise_if_all_failed(results: Sequence[ModelResult]) -> None:
    """Raise the first model's error where every model failed.

    Raises:
        PrepError: That error.
    """
    errors = [result.error for result in results if result.error]
    if errors and len(errors) == len(results):
        raise errors[0]


def make_model(
    rows: RowCollector, spec: PipelineModelSpec, workspace: Workspace, machine: Machine
) -> list[BuiltVariant]:
    """Make everything of a model but its repository entries.

    Args:
        rows: Takes the steps; in a read-only workspace, what would be made as planned.
        spec: The model and its variants.
        workspace: Where the artifacts are kept.
        machine: What this machine builds and runs.

    Returns:
        The variants that are there; in a read-only workspace perhaps not all.

    Raises:
        PrepError: The first step that failed.
    """
    from prep_triton.run.export import export_from_anywhere

    label = label_of_model(spec)
    try:
        model = rows.step(
            "export",
            label,
            lambda progress: export_from_anywhere(spec.model_spec(), workspace, progress=progress),
            _export_figures,
        )
    except NotMadeError as err:
        rows.add(StageRow(stage="export", artifact=err.recipe.name, state="planned"))
        for variant in spec.variants:
            rows.add(StageRow(stage="variant", artifact=f"{label} {describe_variant(variant)}", state="planned"))
        return []
    variants = []
    for variant in spec.variants:
        try:
            variants.append(build_variant(rows, model, variant, workspace, machine))
        except NotMadeError as err:
            note = f"and what follows from it for {describe_variant(variant)}"
            rows.add(StageRow(stage=err.recipe.stage, artifact=err.recipe.name, state="planned", note=note))
    return variants


def fail_model(rows: RowCollector, model: PipelineModelSpec, err: PrepError) -> ModelResult:
    """Return the result of a model that failed, and say why as a step."""
    rows.add(StageRow(stage="model", artifact=label_of_model(model), state="failed", note=err.message, hint=err.hint))
    return ModelResult(model, error=err)


def label_of_model(spec: PipelineModelSpec) -> str:
    """Name a model for a person, before it is known what it is."""
    return spec.name or spec.model


def describe_variant(variant: VariantSpec) -> str:
    """Name a variant for a person: ``tensorrt fp16 for t4, l4``."""
    gpus = f" for {', '.join(variant.gpus)}" if variant.gpus else ""
    return f"{variant.runtime} {variant.precision}{gpus}"


def _fail_without_inputs(rows: RowCollector, models: Sequence[PipelineModelSpec]) -> Iterator[ModelResult]:
    """Yield a failed result for each model whose files are not there, before the minutes that the others take."""
    for model in models:
        try:
            check_inputs(model)
        except PrepError as err:
            yield fail_model(rows, model, err)


def _make_here(rows: RowCollector, model: PipelineModelSpec, workspace: Workspace, machine: Machine) -> ModelResult:
    try:
        return ModelResult(model, make_model(rows, model, workspace, machine))
    except PrepError as err:
        return fail_model(rows, model, err)


def _make_at_once(
    rows: RowCollector, spec: RunSpec, models: Sequence[PipelineModelSpec], workspace: Workspace, machine: Machine
) -> list[ModelResult]:
    """Make several models, each in a process of its own."""
    budget = MemoryBudget.of_machine(spec.memory_gib)
    jobs = min(spec.jobs, len(models))
    log.info("%d models, %d at once within %.1f GiB", len(models), jobs, budget.bound_gib)
    with rows.listener.stage(f"{len(models)} models") as progress, ThreadPoolExecutor(jobs) as pool:
        children = ChildProcesses(rows, progress)

        def make(model: PipelineModelSpec) -> ModelResult:
            job = partial(make_model, spec=model, workspace=workspace, machine=machine)
            with budget.reserve(estimate_memory_gib(model)):
                try:
                    return ModelResult(model, children.run(job, label_of_model(model)))
                except PrepError as err:
                    return fail_model(rows, model, err)

        try:
            return list(pool.map(make, models))
        except BaseException:  # Ctrl-C too
            children.end()
            raise


def _is_made(model: PipelineModelSpec, workspace: Workspace, machine: Machine) -> bool:
    """Whether nothing is left to make of a model; starts and measures nothing."""
    if any(variant.int8_if_faster for variant in model.variants):
        return False
    preview = RowCollector(Silent())
    try:
        make_model(preview, model, Workspace(workspace.root, read_only=True), machine)
    except PrepError:
        return False  # it is reported where it is made
    return all(row.state != "planned" for row in preview.rows)


def _assemble(
    rows: RowCollector, variant: BuiltVariant, repository_dir: Path, *, dry_run: bool
) -> list[RepositoryEntry]:
    """Write a variant's entries, as steps; TensorRT-RTX engines stay in the workspace."""
    graph, spec = variant.graph, variant.spec
    if foreign := variant.find_foreign_engine():
        note = "TensorRT-RTX engines: built ahead of time, kept in the workspace; no Triton backend loads them"
        rows.add(StageRow(stage="assemble", artifact=foreign.name, state="skipped", note=note))
        return []
    if dry_run:
        rows.add(StageRow(stage="assemble", artifact=f"{graph.name} ({spec.runtime})", state="planned"))
        return []
    return rows.steps(
        "assemble",
        f"{graph.name} {spec.runtime} {spec.precision}",
        lambda progress: assemble_variant(variant, repository_dir, progress=progress),
        _entry_figures,
    )


def _export_figures(model: OnnxModel) -> dict[str, Any]:
    figures: dict[str, Any] = {"size_bytes": model.graph_bytes, "opset": model.opset}
    if model.parity:
        figures |= {"max_abs_error": model.parity.max_abs_error, "mean_cosine": model.parity.mean_cosine}
    if model.reference != "pytorch":
        figures["reference"] = model.reference
    return figures


def _entry_figures(entry: RepositoryEntry) -> dict[str, Any]:
    figures = {"size_bytes": sum(file.size for file in entry.files.values()), "max_batch_size": entry.max_batch_size}
    return figures if entry.serves is None else {**figures, "serves": entry.serves}
