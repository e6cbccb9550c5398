"""The steps from an exported graph to what a server loads: the graph in a precision, and an engine for each GPU."""

from typing import Any

from prep_triton.artifact import Engine, OnnxModel
from prep_triton.engine.machine import Machine
from prep_triton.layout import ENGINE_NAME
from prep_triton.run.conversion import put_in_precision
from prep_triton.run.report import RowCollector
from prep_triton.spec import ConversionSpec, EngineSpec, VariantSpec
from prep_triton.workspace import Workspace


def convert_graph(rows: RowCollector, model: OnnxModel, spec: ConversionSpec, workspace: Workspace) -> OnnxModel:
    """Put an exported FP32 graph into a precision, as a step where there is anything to do."""
    if spec.precision == "fp32":
        return model
    return rows.step(
        "precision",
        f"{model.name} {spec.precision}",
        lambda progress: put_in_precision(model, spec, workspace, progress=progress),
        _graph_figures,
    )


def build_engines(
    rows: RowCollector, model: OnnxModel, variant: VariantSpec, workspace: Workspace, machine: Machine
) -> tuple[OnnxModel, list[Engine]]:
    """Convert an exported FP32 graph and build one engine for each GPU architecture of a variant.

    Args:
        rows: Takes the steps.
        model: The graph.
        variant: A tensorrt variant.
        workspace: Where the artifacts are kept.
        machine: What this machine builds and runs.

    Returns:
        The converted graph and its engines, in the order of the GPUs.
    """
    from prep_triton.engine.build import build_engine
    from prep_triton.gpus import resolve_gpu

    graph = convert_graph(rows, model, variant, workspace)

    def build(spec: EngineSpec) -> Engine:
        return rows.step(
            "engine",
            f"{model.name} {spec.precision} {spec.gpu}",
            lambda progress: build_engine(graph, spec, workspace, machine, progress=progress),
            _engine_figures,
        )

    # An engine is for an architecture: a10 and rtx3090, or t4 twice, are one.
    specs = {resolve_gpu(spec.gpu, machine.gpus).compute_capability: spec for spec in reversed(variant.engine_specs())}
    return graph, [build(spec) for spec in reversed(specs.values())]


def _graph_figures(model: OnnxModel) -> dict[str, Any]:
    figures: dict[str, Any] = {"size_bytes": model.graph_bytes, "precision": model.precision}
    if model.fidelity:
        figures |= {"mean_cosine": model.fidelity.mean_cosine, "min_cosine": model.fidelity.min_cosine}
    if model.accuracy:
        figures["accuracy"] = model.accuracy.model_dump(mode="json")
    if model.quantization:
        figures["linear_flops_share"] = model.quantization.linear_flops_share
        figures["kept_out"] = model.quantization.kept_out
    if model.overflow:
        figures["kept_out_of_fp16"] = model.overflow.in_graph_order()
    return figures


def _engine_figures(engine: Engine) -> dict[str, Any]:
    return {
        "size_bytes": engine.files[ENGINE_NAME].size,
        "builder": engine.builder,
        "compute_capability": engine.compute_capability,
        "gemm_flops_share": engine.proof.gemm_flops_share,
        "proof": engine.proof.method,
    }
