"""`prep assemble`: artifacts to a Triton model repository."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
from prep_triton.cli.output import Output, session
from prep_triton.layout import CONFIG_NAME, SERVER_ARGUMENTS_NAME

if TYPE_CHECKING:
    from prep_triton.artifact import OnnxModel, RepositoryEntry
    from prep_triton.spec import EntrySpec
    from prep_triton.workspace import Produced, Workspace


@expand_groups
def assemble(
    model: ExportedModelArgument = None,
    entry: EntryOptions = EntryOptions(),
    repository: Annotated[Path, typer.Option("--output", "-o", help="Folder of the repository.")] = DEFAULT_REPOSITORY,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the model's config.pbtxt and write nothing.")
    ] = False,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    output: OutputOptions = OutputOptions(),
) -> None:
    """Write a Triton model repository with generated config.pbtxt files.

    \b
    Examples:
      prep assemble
      prep assemble minilm --max-batch-size 32 --instance-count 2 -o model_repository
      prep assemble minilm --tier 1 --warmup --text
      prep assemble minilm --serving serving.yaml --dry-run
    """
    with session(output) as out:
        from prep_triton.workspace import Workspace

        spec = entry_from_flags(entry)
        store = Workspace(workspace)
        models = _choose_models(store, model, spec, workspace)
        if dry_run:
            _show(out, models, spec, store)
        else:
            _write(out, models, spec, store, repository)


def _choose_models(store: "Workspace", model: str | None, spec: "EntrySpec", shown: Path) -> "list[OnnxModel]":
    from prep_triton.errors import SpecError

    models = find_exported(store, model, shown)
    if spec.name and len(models) > 1:
        raise SpecError(
            f"--name {spec.name} cannot name the entries of {len(models)} models", hint="say which MODEL it is for"
        )
    return models


def _show(out: Output, models: "Sequence[OnnxModel]", spec: "EntrySpec", store: "Workspace") -> None:
    """Print what would be written."""
    from prep_triton.run.preview import preview_model

    shown = [preview_model(exported, spec, store) for exported in models]
    out.document({"dry_run": True, "entries": [{"name": name, "config": config} for name, config in shown]})
    for name, config in shown:
        if len(shown) > 1:
            out.line(f"# {name}/{CONFIG_NAME}")
        out.line(config.rstrip("\n"))


def _write(out: Output, models: "Sequence[OnnxModel]", spec: "EntrySpec", store: "Workspace", repository: Path) -> None:
    """Write the entries and say where they are."""
    from prep_triton.run.stages import assemble_model

    made = [one for exported in models for one in assemble_model(exported, spec, store, repository)]
    out.document({"repository": str(repository), "entries": [_entry_document(produced) for produced in made]})
    for produced in made:
        entry = produced.artifact
        state = "unchanged" if produced.reused else "written"
        what = f"{entry.runtime} {entry.precision}" if entry.kind == "model" else entry.kind
        out.line(f"{entry.name}: {state} ({what}, max batch {entry.max_batch_size})", style="bold")
        out.line(f"  {repository / entry.name / CONFIG_NAME}")
    if any(produced.artifact.server_arguments for produced in made):
        arguments = repository / SERVER_ARGUMENTS_NAME
        out.line(f"serve it with: tritonserver --model-repository={repository} $(cat {arguments})")
    out.line(
        f"next: prep lint {repository}, prep verify {repository}, then prep publish {repository} gs://bucket/prefix"
    )


def _entry_document(produced: "Produced[RepositoryEntry]") -> dict[str, Any]:
    return {"reused": produced.reused, **produced.artifact.model_dump(mode="json")}
