"""`prep assemble`: artifacts to a Triton model repository."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prep_triton.cli.completions import complete_entry
from prep_triton.cli.entry_options import EntryOptions, entry_from_flags, flags_of_entry
from prep_triton.cli.exclusive import check_alone, list_given
from prep_triton.cli.exported import find_exported
from prep_triton.cli.flag_names import flags_named
from prep_triton.cli.groups import expand_groups
from prep_triton.cli.options import (
    DEFAULT_WORKSPACE,
    REPOSITORY_DIR,
    ExportedModelArgument,
    OutputOptions,
    RemoteCacheOption,
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
    repository: Annotated[Path, typer.Option("--output", "-o", help="Folder of the repository.")] = REPOSITORY_DIR,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the config.pbtxt files and write nothing.")] = False,
    adopt: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ENTRY",
            help="Keep the config.pbtxt of an entry as it was edited by hand (repeatable).",
            autocompletion=complete_entry,
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Write a config.pbtxt that was edited by hand again; a copy is kept.")
    ] = False,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    remote_cache: RemoteCacheOption = None,
    output: OutputOptions = OutputOptions(),
) -> None:
    """Write a Triton model repository.

    Every entry gets a generated config.pbtxt.

    \b
    Examples:
      prep assemble
      prep assemble minilm --max-batch-size 32 --instance-count 2 -o ./models
      prep assemble minilm --tier 1 --warmup --text
      prep assemble minilm --serving serving.yaml --dry-run
      prep assemble --adopt minilm-onnx-fp32
    """
    with session(output) as out:
        from prep_triton.cli.documents.assemble import render_assemble, render_assemble_plan
        from prep_triton.run.shared import open_workspace

        if adopt:
            others = {"MODEL": model is not None, "--dry-run": dry_run, "--force": force}
            check_alone("--adopt", [*(name for name, is_given in others.items() if is_given), *list_given(entry)])
            out.show(_adopt(repository, adopt), render_assemble)
            return
        if dry_run:
            check_alone("--dry-run", {"--force": force})
        store = open_workspace(workspace, remote_cache)
        requests = _choose_entries(entry, find_exported(store, model, workspace), store)
        with flags_named(flags_of_entry(entry)):
            if dry_run:
                out.show(_plan(requests, store), render_assemble_plan)
                return
            if force:
                _discard_edits(requests, store, repository)
            out.show(_write(requests, store, repository), render_assemble)


def _adopt(repository: Path, names: "Sequence[str]") -> "AssembleDocument":
    """Record what was edited by hand."""
    from prep_triton.cli.documents.assemble import AssembledEntry, AssembleDocument
    from prep_triton.run.adoption import adopt_config

    adopted = [adopt_config(repository, name) for name in names]
    entries = tuple(AssembledEntry(**dict(entry), reused=False) for entry in adopted)
    return AssembleDocument(repository=repository, entries=entries)


def _choose_entries(
    options: EntryOptions, models: "Sequence[OnnxModel]", store: "Workspace"
) -> "list[tuple[OnnxModel, EntrySpec]]":
    """Return the request for each model's entry: what was built of it, where the flags do not say."""
    from prep_triton.errors import SpecError
    from prep_triton.run.built import choose_built

    if options.name and len(models) > 1:
        raise SpecError(f"--name {options.name} cannot be the name of {len(models)} entries", hint="name the MODEL")
    requests = []
    for exported in models:
        requests.append((exported, entry_from_flags(options, *choose_built(exported, store, options.precision))))
    return requests


def _plan(requests: "Sequence[tuple[OnnxModel, EntrySpec]]", store: "Workspace") -> "AssemblePlan":
    """Say what would be written."""
    from prep_triton.cli.documents.assemble import AssemblePlan, EntryPreview
    from prep_triton.run.variants import find_variant, preview_variant
    from prep_triton.workspace import Workspace

    reader = Workspace(store.root, read_only=True)
    previews = [preview_variant(find_variant(exported, spec, reader)) for exported, spec in requests]
    return AssemblePlan(entries=tuple(EntryPreview(name=name, config=config) for name, config in previews))


def _discard_edits(requests: "Sequence[tuple[OnnxModel, EntrySpec]]", store: "Workspace", repository: Path) -> None:
    """Give up what was edited by hand in the entries that are about to be written."""
    from prep_triton.run.adoption import discard_edits
    from prep_triton.run.variants import find_variant, preview_variant

    for exported, spec in requests:
        name, _ = preview_variant(find_variant(exported, spec, store))
        discard_edits(repository, name)


def _write(
    requests: "Sequence[tuple[OnnxModel, EntrySpec]]", store: "Workspace", repository: Path
) -> "AssembleDocument":
    """Write the entries."""
    from prep_triton.cli.documents.assemble import AssembledEntry, AssembleDocument
    from prep_triton.run.built import find_left_out
    from prep_triton.run.variants import assemble_variant, find_variant

    entries = tuple(
        AssembledEntry(**dict(produced.artifact), reused=produced.reused)
        for exported, spec in requests
        for produced in assemble_variant(find_variant(exported, spec, store), repository)
    )
    left_out = [left for exported, spec in requests for left in find_left_out(exported, spec, store)]
    return AssembleDocument(repository=repository, entries=entries, left_out=tuple(left_out))
