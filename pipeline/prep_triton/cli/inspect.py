"""`prep inspect`: what an artifact, an entry or a release holds."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from prep_triton.cli.completions import complete_artifact
from prep_triton.cli.groups import expand_groups
from prep_triton.cli.options import DEFAULT_WORKSPACE, OutputOptions, WorkspaceOption
from prep_triton.cli.output import Output, session

if TYPE_CHECKING:
    from pathlib import Path

    from prep_triton.artifact import Engine, OnnxModel, RepositoryEntry
    from prep_triton.spec import Precision


@expand_groups
def inspect(
    artifact: Annotated[
        str,
        typer.Argument(
            help="Export, graph or engine by its name in the workspace or its folder; entry folder; release URI.",
            autocompletion=complete_artifact,
        ),
    ],
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    output: OutputOptions = OutputOptions(),
) -> None:
    """Show what an export, a graph, an engine, an entry or a release holds, and how that is known.

    Where this machine can run an engine, it is loaded and described too. What OpenVINO serves is compiled for this
    CPU, to see which of its products are executed in INT8, BF16 and FP32.

    \b
    Examples:
      prep inspect minilm
      prep inspect minilm-fp16-rtx-sm75
      prep inspect build/model_repository/minilm-onnx-fp32 --json
      prep inspect gs://bucket/models
    """
    with session(output) as out:
        from prep_triton.artifact import Engine, OnnxModel
        from prep_triton.errors import SpecError
        from prep_triton.layout import RELEASES_DIR
        from prep_triton.run.subjects import find_subject
        from prep_triton.workspace import Workspace

        if "://" in artifact or f"/{RELEASES_DIR}/" in artifact:
            _show_release(out, artifact)
            return
        subject = find_subject(artifact, Workspace(workspace))
        if subject is None:
            raise SpecError(
                f"{artifact} belongs to no artifact of prep", hint=f"compare it with one: prep compare {artifact} NAME"
            )
        if isinstance(subject, Engine):
            _show_engine(out, subject)
        elif isinstance(subject, OnnxModel):
            _show_graph(out, subject)
        else:
            _show_entry(out, subject)


def _show_engine(out: Output, engine: "Engine") -> None:
    from prep_triton.cli.documents.inspect import InspectDocument, LoadedEngine, render_inspect
    from prep_triton.engine.execute import describe_engine, find_execution_problem
    from prep_triton.engine.machine import detect_machine
    from prep_triton.gpus import find_rtx_caveat

    machine = detect_machine()
    problem = find_execution_problem(engine, machine)
    loaded = None if problem else LoadedEngine.model_validate(describe_engine(engine, machine))
    is_rtx = engine.builder == "tensorrt-rtx"
    caveat = find_rtx_caveat(engine.compute_capability, engine.precision) if is_rtx else None
    document = InspectDocument(**dict(engine), loaded=loaded, problem=problem, caveat=caveat)
    out.show(document, render_inspect)


def _show_graph(out: Output, model: "OnnxModel") -> None:
    from prep_triton.cli.documents.inspect_others import InspectedGraph, render_graph
    from prep_triton.layout import GRAPH_NAME
    from prep_triton.precision.measure.products import count_products

    path = model.path(GRAPH_NAME)
    products = count_products(path)
    is_for_openvino = model.quantization.runtime == "openvino" if model.quantization else model.precision == "fp32"
    document = InspectedGraph(
        **dict(model),
        flops_share=dict(products.share),
        layers=dict(products.layers),
        **(_execute(path, model.max_sequence_length, model.precision) if is_for_openvino else {}),
    )
    out.show(document, render_graph)


def _show_entry(out: Output, entry: "RepositoryEntry") -> None:
    from prep_triton.cli.documents.inspect_others import InspectedEntry, render_entry
    from prep_triton.layout import GRAPH_NAME, VERSION_DIR

    path = entry.folder / VERSION_DIR / GRAPH_NAME
    is_for_openvino = entry.runtime == "openvino" and entry.kind == "model" and entry.onnx is not None
    longest = entry.onnx.max_sequence_length if entry.onnx else 0
    execution = _execute(path, longest, entry.precision) if is_for_openvino else {}
    out.show(InspectedEntry(**dict(entry), **execution), render_entry)


def _execute(path: "Path", longest: int, precision: "Precision") -> dict[str, Any]:
    """Return what OpenVINO executes a graph in, as fields of the document; or why that is not known."""
    from prep_triton.errors import PrepError
    from prep_triton.run.execution import execute_on_this_cpu

    try:
        return {"execution": execute_on_this_cpu(path, longest, precision)}
    except PrepError as err:
        return {"problem": f"{err.message} ({err.hint})"}


def _show_release(out: Output, uri: str) -> None:
    from prep_triton.cli.documents.inspect_others import InspectedRelease, render_release
    from prep_triton.publish.catalog import locate_release, resolve

    out.show(InspectedRelease(**dict(resolve(*locate_release(uri)))), render_release)
