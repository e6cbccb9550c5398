"""One model through one stage: the steps that both the chain and the single commands take."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipeline.artifact import Engine, OnnxModel, RepositoryEntry
from pipeline.errors import RepositoryError
from pipeline.progress import Progress, ignore_progress
from pipeline.run.checks import check_precision
from pipeline.run.report import Listener, RowCollector, Silent, StageRow
from pipeline.spec import EngineSpec, EntrySpec, Precision
from pipeline.workspace import NotMadeError, Produced, Workspace


def put_in_precision(
    model: OnnxModel, precision: Precision, workspace: Workspace, *, progress: Progress = ignore_progress
) -> Produced[OnnxModel]:
    """Return the graph in a precision; FP32 is the exported graph itself.

    Raises:
        SpecError: The precision is not available yet.
        PrecisionError: The graph cannot be put into it.
    """
    if precision == "fp32":
        return Produced(model, reused=True)
    check_precision(precision)
    from pipeline.precision.fp16 import convert_to_fp16

    return convert_to_fp16(model, workspace, progress=progress)


def build_engines(
    model: OnnxModel, specs: Sequence[EngineSpec], workspace: Workspace, listener: Listener | None = None
) -> list[StageRow]:
    """Put an exported model into a precision and build one engine for each GPU.

    Args:
        model: An exported FP32 graph.
        specs: One request for each GPU, all in the same precision.
        workspace: Where the artifacts are kept.
        listener: Hears about each step.
    """
    rows = RowCollector(listener or Silent())
    build_model_engines(rows, model, specs, workspace)
    return rows.rows


def build_model_engines(
    rows: RowCollector, model: OnnxModel, specs: Sequence[EngineSpec], workspace: Workspace
) -> tuple[OnnxModel, list[Engine]]:
    """Take `build_engines`'s steps within a longer run; return the converted graph and its engines."""
    from pipeline.engine.build import build_engine, check_engine_request

    specs = list(dict.fromkeys(specs))  # --gpu t4 --gpu t4 is one engine
    for spec in specs:  # refuse a wrong GPU before the minutes that its neighbour takes
        check_engine_request(model, spec)
    graph = convert_model(rows, model, specs[0].precision, workspace)

    def build(spec: EngineSpec) -> Engine:
        label = f"{model.name} {spec.precision} {spec.gpu}"
        engine: Engine = rows.step(
            "engine", label, lambda progress: build_engine(graph, spec, workspace, progress=progress), _engine_figures
        )
        return engine

    return graph, [build(spec) for spec in specs]


def convert_model(rows: RowCollector, model: OnnxModel, precision: Precision, workspace: Workspace) -> OnnxModel:
    """Put a graph into a precision, as a step where there is anything to do."""
    if precision == "fp32":
        return model
    graph: OnnxModel = rows.step(
        "precision",
        f"{model.name} {precision}",
        lambda progress: put_in_precision(model, precision, workspace, progress=progress),
        _graph_figures,
    )
    return graph


def assemble_model(
    model: OnnxModel, spec: EntrySpec, workspace: Workspace, repository_dir: Path
) -> Produced[RepositoryEntry]:
    """Write the repository entry of an exported model from what the workspace holds.

    Args:
        model: An exported FP32 graph.
        spec: Runtime, precision, name and serving choices.
        workspace: Where the engines are found, and converted graphs kept.
        repository_dir: The Triton model repository.

    Raises:
        RepositoryError: No plan was built for it, or only TensorRT-RTX engines were.
    """
    from pipeline.triton.repository import assemble_entry

    check_precision(spec.precision)
    engines = _find_engines(model, spec.precision, workspace) if spec.runtime == "tensorrt" else []
    graph = put_in_precision(model, spec.precision, workspace).artifact
    return assemble_entry(graph, engines, spec.serving, repository_dir, name=spec.name)


def _find_engines(model: OnnxModel, precision: Precision, workspace: Workspace) -> list[Engine]:
    """Return the engines of a model's current graph: the plans, or the others where there are no plans."""
    built: list[Engine] = []
    with suppress(NotMadeError):  # a graph that was never converted has no engines: do not convert it for nothing
        graph = put_in_precision(model, precision, Workspace(workspace.root, read_only=True)).artifact
        built = [one for one in workspace.list_current("engine", Engine) if one.inputs.get("onnx") == graph.key]
    if not built:
        raise RepositoryError(
            f"no {precision} engine of {model.name} was built in {workspace.root}",
            hint=f"on the target GPU: prep build-engine {model.name} --{precision} --builder tensorrt",
        )
    return [engine for engine in built if engine.builder == "tensorrt"] or built


def _graph_figures(model: OnnxModel) -> dict[str, Any]:
    return {"size_bytes": model.files["model.onnx"].size, "precision": model.precision}


def _engine_figures(engine: Engine) -> dict[str, Any]:
    return {
        "size_bytes": engine.files["model.engine"].size,
        "builder": engine.builder,
        "compute_capability": engine.compute_capability,
        "gemm_flops_share": engine.proof.gemm_flops_share,
        "proof": engine.proof.method,
    }
