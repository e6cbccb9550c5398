"""`prep list`: what the workspace and the repository hold."""

from pathlib import Path
from typing import Annotated

import typer

from prep_triton.cli.choices import complete
from prep_triton.cli.completions import complete_model
from prep_triton.cli.groups import expand_groups
from prep_triton.cli.options import DEFAULT_WORKSPACE, OutputOptions, RepositoriesOption, WorkspaceOption
from prep_triton.cli.output import session

_KindsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--kind",
        metavar="KIND",
        help="Only {kinds} (repeatable). [source, model, graph, engine, entry]",
        autocompletion=complete("kinds"),
    ),
]


@expand_groups
def list(  # noqa: A001 the command is called so
    model: Annotated[
        str | None, typer.Argument(help="Only what is of this exported model. [all]", autocompletion=complete_model)
    ] = None,
    kind: _KindsOption = None,
    repository: RepositoriesOption = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    output: OutputOptions = OutputOptions(),
) -> None:
    """List models, graphs, engines and entries.

    Each with its size, its age, when a run used it last, whether it is current, and what was made of it.

    \b
    Examples:
      prep list
      prep list minilm --json
      prep list --kind engine --kind gate
    """
    with session(output) as out:
        from prep_triton.cli.documents.list import list_document, render_list
        from prep_triton.cli.options import choose_repositories
        from prep_triton.run.inventory import take_inventory
        from prep_triton.workspace import Workspace

        repositories: tuple[Path, ...] = choose_repositories(repository)
        inventory = take_inventory(Workspace(workspace, read_only=True), repositories)
        out.show(list_document(inventory, workspace, repositories, model=model, kinds=kind or ()), render_list)
