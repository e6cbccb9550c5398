"""A variant of a model: its graph and engines, made or found, and the repository entries that serve them."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from prep_triton.artifact import Engine, OnnxModel, RepositoryEntry
from prep_triton.engine.machine import Machine
from prep_triton.errors import PrecisionError, RepositoryError
from prep_triton.progress import Progress, ignore_progress
from prep_triton.run.build import build_engines, convert_graph
from prep_triton.run.conversion import put_in_precision
from prep_triton.run.int8_if_faster import choose_faster
from prep_triton.run.report import RowCollector
from prep_triton.spec import EntrySpec, VariantSpec, flags_from_precision
from prep_triton.workspace import NotMadeError, Produced, Workspace


@dataclass(frozen=True)
class BuiltVariant:
    """What serves a variant: its converted graph, and for TensorRT its engines."""

    spec: EntrySpec
    graph: OnnxModel
    engines: Sequence[Engine] = ()

    def find_foreign_engine(self) -> Engine | None:
        """Return an engine that no Triton backend loads, None where they all are plans."""
        return next((engine for engine in self.engines if engine.builder == "tensorrt-rtx"), None)


def build_variant(
    rows: RowCollector, model: OnnxModel, variant: VariantSpec, workspace: Workspace, machine: Machine
) -> BuiltVariant:
    """Make everything of a variant but its repository entries.

    Args:
        rows: Takes the steps.
        model: An exported FP32 graph.
        variant: Runtime, precision, GPUs and how to build.
        workspace: Where the artifacts are kept.
        machine: What this machine builds and runs.

    Raises:
        NotMadeError: The workspace is read-only and does not hold it.
        PrepError: The step that failed.
    """
    if variant.runtime != "tensorrt":
        return BuiltVariant(variant, convert_graph(rows, model, variant, workspace))
    from prep_triton.engine.elsewhere import is_built_elsewhere
    from prep_triton.engine.request import resolve_engine_request

    for spec in variant.engine_specs():  # refuse a wrong GPU before the minutes that its neighbour takes
        if not is_built_elsewhere(spec, machine):
            resolve_engine_request(model, spec, machine)
    build = choose_faster if variant.int8_if_faster else build_engines
    return BuiltVariant(variant, *build(rows, model, variant, workspace, machine))


def find_variant(model: OnnxModel, spec: EntrySpec, workspace: Workspace) -> BuiltVariant:
    """Find what serves a variant in the workspace; a graph for ONNX Runtime is converted where it is not there yet.

    Args:
        model: An exported FP32 graph.
        spec: Runtime, precision, name and serving choices, and whether text goes in.
        workspace: Where the engines are found, and converted graphs kept; a read-only one is for a dry run.

    Raises:
        RepositoryError: No engine was built for it or, on a dry run, the graph is not in its precision yet.
        PrecisionError: The graph cannot be put into the precision, or misses its gate.
    """
    if spec.runtime == "tensorrt":
        return _find_engines(model, spec, workspace)
    try:
        return BuiltVariant(spec, put_in_precision(model, spec, workspace, reuse_gate=True).artifact)
    except NotMadeError as err:
        raise RepositoryError(
            f"the {spec.precision} graph of {model.name} is not made yet, and a dry run makes nothing",
            hint=f"prep build-engine {model.name} --runtime {spec.runtime} --{spec.precision}, or leave --dry-run out",
        ) from err


def assemble_variant(
    variant: BuiltVariant, repository_dir: Path, *, progress: Progress = ignore_progress
) -> list[Produced[RepositoryEntry]]:
    """Write the repository entries of a variant: the model's, and those of text where it was asked for.

    Raises:
        SpecError: The choices do not fit the artifacts.
        RepositoryError: Its engines are TensorRT-RTX ones, or text was asked for and there is no tokenizer.
        WorkspaceBusyError, DiskFullError, WorkspaceError: The repository cannot be written.
    """
    from prep_triton.triton.entries.text import assemble_text_entries
    from prep_triton.triton.entries.write import assemble_entry

    _check_text(variant)
    spec = variant.spec
    model = assemble_entry(variant.graph, variant.engines, spec, repository_dir, progress=progress)
    if spec.text is None:
        return [model]
    return [model, *assemble_text_entries(model.artifact, spec.text, repository_dir, progress=progress)]


def preview_variant(variant: BuiltVariant) -> tuple[str, str]:
    """Return the name and the config.pbtxt of the model's entry that `assemble_variant` would write.

    Raises:
        SpecError, RepositoryError: As `assemble_variant`.
    """
    from prep_triton.triton.entries.write import preview_entry

    _check_text(variant)
    return preview_entry(variant.graph, variant.engines, variant.spec)


def _check_text(variant: BuiltVariant) -> None:
    """Refuse what cannot be served as text before the model's own entry is written."""
    if variant.spec.text is not None:
        from prep_triton.triton.entries.text import check_text_request

        check_text_request(variant.graph, variant.spec.text)


def _find_engines(model: OnnxModel, spec: EntrySpec, workspace: Workspace) -> BuiltVariant:
    """Find the engines of a model's current graph: the plans, or the others where there are no plans."""
    # A graph that was never converted has no engines: do not convert it for nothing.
    with suppress(NotMadeError, PrecisionError):
        read_only = Workspace(workspace.root, read_only=True)
        graph = put_in_precision(model, spec, read_only, reuse_gate=True).artifact
        engines = [
            engine for engine in workspace.list_current("engine", Engine) if engine.inputs.get("onnx") == graph.key
        ]
        if engines:
            return BuiltVariant(spec, graph, [engine for engine in engines if engine.builder == "tensorrt"] or engines)
    raise RepositoryError(
        f"no {spec.precision} engine of {model.name} was built in {workspace.root}",
        hint=f"on the target GPU: prep build-engine {model.name} {flags_from_precision(spec.precision)} "
        "--builder tensorrt",
    )
