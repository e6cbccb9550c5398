"""One model through one stage: the steps that both the chain and the single commands take."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from prep_triton.artifact import Engine, OnnxModel, RepositoryEntry
from prep_triton.engine.machine import Machine
from prep_triton.errors import PrecisionError, RepositoryError
from prep_triton.layout import ENGINE_NAME, GRAPH_NAME
from prep_triton.run.conversion import put_in_precision
from prep_triton.run.report import Listener, RowCollector, Silent, StageRow
from prep_triton.spec import ConversionSpec, EngineSpec, EntrySpec, VariantSpec
from prep_triton.workspace import NotMadeError, Produced, Workspace


def build_variant(
    model: OnnxModel,
    variant: VariantSpec,
    workspace: Workspace,
    machine: Machine,
    *,
    listener: Listener | None = None,
) -> list[StageRow]:
    """Make everything of a variant but its repository entry: the converted graph, and for TensorRT its engines.

    Args:
        model: An exported FP32 graph.
        variant: Runtime, precision, GPUs and how to build.
        workspace: Where the artifacts are kept.
        machine: What this machine builds and runs.
        listener: Hears about each step.
    """
    rows = RowCollector(listener or Silent())
    make_variant(rows, model, variant, workspace, machine)
    return rows.rows


def make_variant(
    rows: RowCollector, model: OnnxModel, variant: VariantSpec, workspace: Workspace, machine: Machine
) -> tuple[OnnxModel, list[Engine]]:
    """Take `build_variant`'s steps within a longer run; return the converted graph and its engines."""
    if variant.runtime == "onnxruntime":
        return convert_model(rows, model, variant, workspace), []
    from prep_triton.engine.build import check_engine_request, is_built_elsewhere

    for spec in variant.engine_specs():  # refuse a wrong GPU before the minutes that its neighbour takes
        if not is_built_elsewhere(spec, machine):
            check_engine_request(model, spec, machine)
    if variant.int8_if_faster:
        from prep_triton.run.faster import choose_faster

        return choose_faster(rows, model, variant, workspace, machine)
    return build_graph_engines(rows, model, variant, workspace, machine)


def build_graph_engines(
    rows: RowCollector, model: OnnxModel, variant: VariantSpec, workspace: Workspace, machine: Machine
) -> tuple[OnnxModel, list[Engine]]:
    """Convert a graph and build one engine for each GPU."""
    from prep_triton.engine.build import build_engine
    from prep_triton.gpus import resolve_gpu

    graph = convert_model(rows, model, variant, workspace)

    def build(spec: EngineSpec) -> Engine:
        label = f"{model.name} {spec.precision} {spec.gpu}"
        engine: Engine = rows.step(
            "engine",
            label,
            lambda progress: build_engine(graph, spec, workspace, machine, progress=progress),
            _engine_figures,
        )
        return engine

    # An engine is for an architecture: a10 and rtx3090, or t4 twice, are one.
    specs = {resolve_gpu(spec.gpu, machine.gpus).compute_capability: spec for spec in reversed(variant.engine_specs())}
    return graph, [build(spec) for spec in reversed(specs.values())]


def convert_model(rows: RowCollector, model: OnnxModel, spec: ConversionSpec, workspace: Workspace) -> OnnxModel:
    """Put a graph into a precision, as a step where there is anything to do."""
    if spec.precision == "fp32":
        return model
    graph: OnnxModel = rows.step(
        "precision",
        f"{model.name} {spec.precision}",
        lambda progress: put_in_precision(model, spec, workspace, progress=progress),
        _graph_figures,
    )
    return graph


def assemble_model(
    model: OnnxModel, spec: EntrySpec, workspace: Workspace, repository_dir: Path
) -> list[Produced[RepositoryEntry]]:
    """Write the repository entries of an exported model from what the workspace holds.

    Args:
        model: An exported FP32 graph.
        spec: Runtime, precision, name and serving choices, and whether text goes in.
        workspace: Where the engines are found, and converted graphs kept.
        repository_dir: The Triton model repository.

    Returns:
        The model's entry, and those of text where it was asked for.

    Raises:
        RepositoryError: No plan was built for it, or only TensorRT-RTX engines were.
    """
    from prep_triton.triton.entries.write import assemble_entry

    engines = find_engines(model, spec, workspace) if spec.runtime == "tensorrt" else []
    graph = put_in_precision(model, spec, workspace).artifact
    if spec.text is None:
        return [assemble_entry(graph, engines, spec.serving, repository_dir, name=spec.name)]
    from prep_triton.triton.entries.text import assemble_text_entries, check_text_request

    check_text_request(graph, spec.text)
    made = assemble_entry(graph, engines, spec.serving, repository_dir, name=spec.name)
    return [made, *assemble_text_entries(made.artifact, spec.text, repository_dir)]


def find_engines(model: OnnxModel, spec: ConversionSpec, workspace: Workspace) -> list[Engine]:
    """Return the engines of a model's current graph: the plans, or the others where there are no plans."""
    built: list[Engine] = []
    # A graph that was never converted has no engines: do not convert it for nothing.
    with suppress(NotMadeError, PrecisionError):
        graph = put_in_precision(model, spec, Workspace(workspace.root, read_only=True)).artifact
        built = [one for one in workspace.list_current("engine", Engine) if one.inputs.get("onnx") == graph.key]
    if not built:
        raise RepositoryError(
            f"no {spec.precision} engine of {model.name} was built in {workspace.root}",
            hint=f"on the target GPU: prep build-engine {model.name} --{spec.precision} --builder tensorrt",
        )
    return [engine for engine in built if engine.builder == "tensorrt"] or built


def _graph_figures(model: OnnxModel) -> dict[str, Any]:
    figures: dict[str, Any] = {"size_bytes": model.files[GRAPH_NAME].size, "precision": model.precision}
    if model.fidelity:
        figures |= {"mean_cosine": model.fidelity.mean_cosine, "min_cosine": model.fidelity.min_cosine}
    if model.accuracy:
        figures["accuracy"] = model.accuracy.model_dump(mode="json")
    if model.quantization:
        figures["linear_flops_share"] = model.quantization.linear_flops_share
        figures["kept_out"] = model.quantization.kept_out
    return figures


def _engine_figures(engine: Engine) -> dict[str, Any]:
    return {
        "size_bytes": engine.files[ENGINE_NAME].size,
        "builder": engine.builder,
        "compute_capability": engine.compute_capability,
        "gemm_flops_share": engine.proof.gemm_flops_share,
        "proof": engine.proof.method,
    }
