"""`prep assemble`: artifacts to a Triton model repository."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prep_triton.cli.entry_options import EntryOptions, entry_from_flags
from prep_triton.cli.exported import find_exported
from prep_triton.cli.groups import expand_groups
from prep_triton.cli.options import (
    DEFAULT_REPOSITORY,
    DEFAULT_WORKSPACE,
    ExportedModelArgument,
    OutputOptions,
    WorkspaceOption,
)
from prep_triton.cli.output import session

if TYPE_CHECKING:
    from prep_triton.artifact import OnnxModel
    from prep_triton.cli.documents.assemble import AssembleDocument, AssemblePlan
    from prep_triton.spec import EntrySpec
    from prep_triton.workspace import Workspace


@expand_groups
def assemble(
    model: ExportedModelArgument = None,
    entry: EntryOptions = EntryOptions(),
    repository: Annotated[Path, typer.Option("--output", "-o", help="Folder of the repository.")] = DEFAULT_REPOSITORY,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the config.pbtxt files and write nothing.")] = False,
    adopt: Annotated[
        list[str] | None,
        typer.Option(metavar="ENTRY", help="Keep the config.pbtxt of an entry as it was edited by hand (repeatable)."),
    ] = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    output: OutputOptions = OutputOptions(),
) -> None:
    """Write a Triton model repository.

    Every entry gets a generated config.pbtxt.

    \b
    Examples:
      prep assemble
      prep assemble minilm --max-batch-size 32 --instance-count 2 -o model_repository
      prep assemble minilm --tier 1 --warmup --text
      prep assemble minilm --serving serving.yaml --dry-run
      prep assemble --adopt minilm-onnx-fp32 -o model_repository
    """
    with session(output) as out:
        from prep_triton.cli.documents.assemble import render_assemble, render_assemble_plan
        from prep_triton.workspace import Workspace

        if adopt:
            out.show(_adopt(repository, adopt), render_assemble)
            return
        spec = entry_from_flags(entry)
        store = Workspace(workspace)
        models = _choose_models(store, model, spec, workspace)
        if dry_run:
            out.show(_plan(models, spec, store), render_assemble_plan)
        else:
            out.show(_write(models, spec, store, repository), render_assemble)


def _adopt(repository: Path, names: "Sequence[str]") -> "AssembleDocument":
    """Record what was edited by hand."""
    from prep_triton.cli.documents.assemble import AssembledEntry, AssembleDocument
    from prep_triton.run.adoption import adopt_config

    adopted = [adopt_config(repository, name) for name in names]
    entries = tuple(AssembledEntry(**dict(entry), reused=False) for entry in adopted)
    return AssembleDocument(repository=repository, entries=entries)


def _choose_models(store: "Workspace", model: str | None, spec: "EntrySpec", shown: Path) -> "list[OnnxModel]":
    from prep_triton.errors import SpecError

    models = find_exported(store, model, shown)
    if spec.name and len(models) > 1:
        raise SpecError(f"--name {spec.name} cannot be the name of {len(models)} entries", hint="name the MODEL")
    return models


def _plan(models: "Sequence[OnnxModel]", spec: "EntrySpec", store: "Workspace") -> "AssemblePlan":
    """Say what would be written."""
    from prep_triton.cli.documents.assemble import AssemblePlan, EntryPreview
    from prep_triton.run.variants import find_variant, preview_variant
    from prep_triton.workspace import Workspace

    reader = Workspace(store.root, read_only=True)
    previews = [preview_variant(find_variant(exported, spec, reader)) for exported in models]
    return AssemblePlan(entries=tuple(EntryPreview(name=name, config=config) for name, config in previews))


def _write(
    models: "Sequence[OnnxModel]", spec: "EntrySpec", store: "Workspace", repository: Path
) -> "AssembleDocument":
    """Write the entries."""
    from prep_triton.cli.documents.assemble import AssembledEntry, AssembleDocument
    from prep_triton.run.variants import assemble_variant, find_variant

    entries = tuple(
        AssembledEntry(**dict(produced.artifact), reused=produced.reused)
        for exported in models
        for produced in assemble_variant(find_variant(exported, spec, store), repository)
    )
    return AssembleDocument(repository=repository, entries=entries)
