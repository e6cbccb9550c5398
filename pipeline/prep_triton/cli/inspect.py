"""`prep inspect`: what an artifact, an entry or a release holds."""

from typing import TYPE_CHECKING, Annotated

import typer

from prep_triton.cli.completions import complete_artifact
from prep_triton.cli.groups import expand_groups
from prep_triton.cli.options import DEFAULT_WORKSPACE, OutputOptions, WorkspaceOption
from prep_triton.cli.output import Output, session

if TYPE_CHECKING:
    from prep_triton.artifact import Engine, OnnxModel


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

    Where this machine can run an engine, it is loaded and described too.

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
            from prep_triton.cli.documents.inspect_others import InspectedEntry, render_entry

            out.show(InspectedEntry(**dict(subject)), render_entry)


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

    products = count_products(model.path(GRAPH_NAME))
    document = InspectedGraph(**dict(model), flops_share=dict(products.share), layers=dict(products.layers))
    out.show(document, render_graph)


def _show_release(out: Output, uri: str) -> None:
    from prep_triton.cli.documents.inspect_others import InspectedRelease, render_release
    from prep_triton.publish.catalog import locate_release, resolve

    out.show(InspectedRelease(**dict(resolve(*locate_release(uri)))), render_release)
