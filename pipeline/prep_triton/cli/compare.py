"""`prep compare`: two graphs, engines or entries side by side."""

from pathlib import Path
from typing import Annotated

import typer

from prep_triton.cli.completions import complete_artifact
from prep_triton.cli.groups import expand_groups
from prep_triton.cli.options import DEFAULT_WORKSPACE, OutputOptions, WorkspaceOption
from prep_triton.cli.output import session

_HELP = "Name in the workspace, artifact or entry folder, or .onnx file."


@expand_groups
def compare(
    first: Annotated[str, typer.Argument(help=_HELP, autocompletion=complete_artifact)],
    second: Annotated[str, typer.Argument(help=_HELP, autocompletion=complete_artifact)],
    eval_data: Annotated[
        Path | None, typer.Option(help="Labelled rows (.jsonl): also compare what the task is measured by.")
    ] = None,
    runs: Annotated[int, typer.Option(min=0, max=100_000, help="Timed runs of each; 0 measures no latency.")] = 30,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    output: OutputOptions = OutputOptions(),
) -> None:
    """Compare two graphs, engines or entries: answers, size, precision, and latency where both run here.

    \b
    Examples:
      prep compare minilm minilm-fp16
      prep compare build/model_repository/sentiment-onnx-fp32 sentiment-cpu-int8 --eval-data labelled.jsonl
      prep compare minilm-fp16-rtx-sm75 minilm-int8-rtx-sm75 --json
    """
    with session(output) as out:
        from prep_triton.cli.documents.compare import CompareDocument, render_compare
        from prep_triton.run.compare import CompareSpec, compare_artifacts
        from prep_triton.workspace import Workspace

        spec = CompareSpec(first, second, eval_data, runs)
        with out.progress("compare") as progress:
            comparison = compare_artifacts(spec, Workspace(workspace), progress=progress)
        out.show(CompareDocument(**dict(comparison)), render_compare)
