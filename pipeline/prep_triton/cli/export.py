"""`prep export`: a model to ONNX, checked against PyTorch."""

import time
from dataclasses import dataclass
from typing import Annotated

import typer

from prep_triton.cli.groups import expand_groups, spec_from_flags
from prep_triton.cli.options import (
    DEFAULT_WORKSPACE,
    MODEL_ALIASES,
    OutputOptions,
    WorkspaceOption,
    complete_from,
)
from prep_triton.cli.output import format_seconds, format_size, session
from prep_triton.layout import GRAPH_NAME
from prep_triton.tasks import TASK_CHOICES


@dataclass(frozen=True)
class ExportOptions:
    """How a model is exported: the keys of `ModelSpec`."""

    task: Annotated[
        str, typer.Option(help=f"The head: {', '.join(TASK_CHOICES)}.", autocompletion=complete_from(*TASK_CHOICES))
    ] = "auto"
    weights: Annotated[
        str,
        typer.Option(
            help="hub: the trained weights. random: the architecture with seeded weights, for benchmarks.",
            autocompletion=complete_from("hub", "random"),
        ),
    ] = "hub"
    seed: Annotated[int, typer.Option(help="Seed of --weights random.")] = 0
    tokenizer: Annotated[
        str | None, typer.Option(help="Where --weights random borrow a vocabulary: a folder, or minilm.")
    ] = None
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a hub model.")] = None
    name: Annotated[str | None, typer.Option(help="Name in the workspace; from MODEL by default.")] = None


@expand_groups
def export(
    model: Annotated[
        str,
        typer.Argument(
            help="An alias (bert-base, bert-large, distilbert, minilm), a hub id, or a folder.",
            autocompletion=complete_from(*MODEL_ALIASES),
        ),
    ],
    options: ExportOptions = ExportOptions(),
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    output: OutputOptions = OutputOptions(),
) -> None:
    """Export MODEL to ONNX and check it against PyTorch.

    \b
    Examples:
      prep export minilm
      prep export bert-base --weights random
      prep export ./my-bert --task text-classification
    """
    with session(output) as out:
        from prep_triton.export.onnx import export_model
        from prep_triton.spec import ModelSpec
        from prep_triton.workspace import Workspace

        spec = spec_from_flags(ModelSpec, options, model=model)
        began = time.monotonic()
        with out.progress(f"export {model}") as progress:
            produced = export_model(spec, Workspace(workspace), progress=progress)
        made = produced.artifact
        out.document({"reused": produced.reused, "folder": str(made.folder), **made.model_dump(mode="json")})
        state = "unchanged" if produced.reused else f"exported in {format_seconds(time.monotonic() - began)}"
        size = format_size(made.files[GRAPH_NAME].size)
        out.line(f"{made.name}: {state}", style="bold")
        out.line(f"  {made.folder / GRAPH_NAME} ({size}, opset {made.opset}, task {made.task}, {made.weights} weights)")
        for label, tensors in (("inputs", made.model_inputs), ("outputs", made.model_outputs)):
            shown = ", ".join(f"{t.name} {t.dtype}[{', '.join(map(str, t.shape))}]" for t in tensors)
            out.line(f"  {label}: {shown}")
        if made.parity:
            shapes = ", ".join(f"{batch}x{sequence}" for batch, sequence in made.parity.shapes)
            out.line(f"  parity with PyTorch at {shapes}: largest difference {made.parity.max_abs_error:.1e}")
        out.line(f"next: prep build-engine {made.name} --fp16, or prep assemble {made.name}")
