"""What `prep assemble` answers."""

from pathlib import Path
from typing import Literal

from prep_triton.artifact import Record, RepositoryEntry
from prep_triton.cli.documents.rows import describe_batch
from prep_triton.cli.output import Output
from prep_triton.layout import CONFIG_NAME, DEFAULT_REPOSITORY, SERVER_ARGUMENTS_NAME
from prep_triton.run.built import LeftOut


class AssembledEntry(RepositoryEntry):
    """An entry; `reused` where it was there already."""

    reused: bool


class AssembleDocument(Record):
    """The entries of the models that were assembled, the repository they lie in, and what else was built of them."""

    repository: Path
    entries: tuple[AssembledEntry, ...]
    left_out: tuple[LeftOut, ...] = ()


class EntryPreview(Record):
    """The config.pbtxt that an entry would get."""

    name: str
    config: str


class AssemblePlan(Record):
    """What would be written."""

    dry_run: Literal[True] = True
    entries: tuple[EntryPreview, ...]


def render_assemble(out: Output, document: AssembleDocument) -> None:
    """Print each entry, and how to go on."""
    repository = document.repository
    for entry in document.entries:
        state = "unchanged" if entry.reused else "written"
        what = f"{entry.runtime} {entry.precision}" if entry.kind == "model" else entry.kind
        out.line(f"{entry.name}: {state} ({what}, {describe_batch(entry.max_batch_size)})", style="bold")
        out.line(f"  {repository / entry.name / CONFIG_NAME}")
    for left in document.left_out:
        command = f": {left.command}" if left.command else ""
        out.line(f"left out: {left.artifact}, {left.reason}{command}")
    place = "" if repository == Path(DEFAULT_REPOSITORY) else f" {repository}"
    if any(entry.server_arguments for entry in document.entries):
        arguments = repository / SERVER_ARGUMENTS_NAME
        out.line(f"serve it with: tritonserver --model-repository={repository} $(cat {arguments})")
    out.note(f"next: prep lint{place}, prep verify{place}, then prep publish{place} gs://bucket/prefix")


def render_assemble_plan(out: Output, plan: AssemblePlan) -> None:
    """Print the configuration of one entry; of several the names, and how to see them."""
    if len(plan.entries) == 1:
        out.line(plan.entries[0].config.rstrip("\n"))
        return
    for entry in plan.entries:
        out.line(f"{entry.name}/{CONFIG_NAME}: {len(entry.config.splitlines())} lines")
    out.line("to print one: prep assemble MODEL --dry-run; all of them: --json")
