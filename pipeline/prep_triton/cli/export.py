"""`prep export`: a model to ONNX, checked against PyTorch."""

import time
from dataclasses import dataclass
from typing import Annotated

import typer

from prep_triton.cli.choices import complete
from prep_triton.cli.groups import expand_groups, spec_from_flags
from prep_triton.cli.options import (
    DEFAULT_WORKSPACE,
    OutputOptions,
    RemoteCacheOption,
    WorkspaceOption,
)
from prep_triton.cli.output import session


@dataclass(frozen=True)
class ExportOptions:
    """How a model is exported: the keys of `ModelSpec`."""

    task: Annotated[str, typer.Option(help="Task of the head: {tasks}.", autocompletion=complete("tasks"))] = "auto"
    weights: Annotated[
        str,
        typer.Option(
            help="hub for trained weights, random for seeded ones (for benchmarks).",
            autocompletion=complete("weights"),
        ),
    ] = "hub"
    seed: Annotated[int, typer.Option(help="Seed of --weights random.")] = 0
    tokenizer: Annotated[str | None, typer.Option(help="Folder with a vocabulary for --weights random, or minilm.")] = (
        None
    )
    checkpoint: Annotated[
        str | None, typer.Option(help="Folder (or gs:// URI) of the checkpoint that a .onnx file was exported from.")
    ] = None
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a hub model.")] = None
    name: Annotated[str | None, typer.Option(help="Name in the workspace. [from MODEL]")] = None


ReplaceOption = Annotated[bool, typer.Option("--replace", help="Take the name from another model that has it.")]


@expand_groups
def export(
    model: Annotated[
        str,
        typer.Argument(
            help="Alias ({aliases}), hub id, folder, gs:// URI, MLflow model or .onnx file.",
            autocompletion=complete("aliases"),
        ),
    ],
    options: ExportOptions = ExportOptions(),
    replace: ReplaceOption = False,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    remote_cache: RemoteCacheOption = None,
    output: OutputOptions = OutputOptions(),
) -> None:
    """Export a model to ONNX and check it against PyTorch.

    \b
    Examples:
      prep export minilm
      prep export bert-base --weights random
      prep export ./my-bert --task text-classification
      prep export gs://bucket/checkpoints/sentiment
      prep export ./model.onnx --checkpoint ./my-bert
    """
    with session(output) as out:
        from prep_triton.cli.documents.export import export_document, render_export
        from prep_triton.run.export import export_from_anywhere
        from prep_triton.run.shared import open_workspace
        from prep_triton.spec import ModelSpec

        spec = spec_from_flags(ModelSpec, options, model=model)
        store, began = open_workspace(workspace, remote_cache), time.monotonic()
        with out.progress(f"export {model}") as progress:
            produced = export_from_anywhere(spec, store, replace=replace, progress=progress)
        out.show(export_document(produced, time.monotonic() - began), render_export)
