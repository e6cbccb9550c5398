"""`prep inspect`: what an engine holds."""

from typing import Annotated

import typer

from prep_triton.cli.completions import complete_engine
from prep_triton.cli.groups import expand_groups
from prep_triton.cli.options import DEFAULT_WORKSPACE, OutputOptions, WorkspaceOption
from prep_triton.cli.output import session


@expand_groups
def inspect(
    engine: Annotated[
        str,
        typer.Argument(
            help="Name of an engine in the workspace, its folder, or its model.engine.", autocompletion=complete_engine
        ),
    ],
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    output: OutputOptions = OutputOptions(),
) -> None:
    """Show what an engine holds, and how that is known.

    Where this machine can run the engine, it is loaded and described too.

    \b
    Examples:
      prep inspect minilm-fp16-rtx-sm75
      prep inspect build/engine/minilm-fp16-rtx-sm75/0123456789abcdef/model.engine --json
    """
    with session(output) as out:
        from prep_triton.cli.documents.inspect import InspectDocument, LoadedEngine, render_inspect
        from prep_triton.engine.execute import describe_engine, find_execution_problem
        from prep_triton.engine.find import find_engine
        from prep_triton.engine.machine import detect_machine
        from prep_triton.workspace import Workspace

        record = find_engine(engine, Workspace(workspace))
        machine = detect_machine()
        problem = find_execution_problem(record, machine)
        loaded = None if problem else LoadedEngine.model_validate(describe_engine(record, machine))
        out.show(InspectDocument(**dict(record), loaded=loaded, problem=problem), render_inspect)
