"""`prep run`: the whole chain from one file."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli import output
from pipeline.cli.options import DEFAULT_WORKSPACE, JsonOption, VerboseOption, WorkspaceOption
from pipeline.cli.render import RowPrinter, tell_verification


def run(
    config: Annotated[Path, typer.Argument(help="A pipeline file, such as configs/quickstart.yaml.")],
    publish: Annotated[
        str | None, typer.Option(help="Publish a release here (gs://bucket/prefix or a folder); wins over the file.")
    ] = None,
    verify: Annotated[bool, typer.Option(help="Check the result on a real Triton.")] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    json: JsonOption = False,
    verbose: VerboseOption = 0,
) -> None:
    """Run a pipeline file: export, convert, build, assemble, publish, verify. Unchanged stages are skipped.

    \b
    Examples:
      prep run configs/quickstart.yaml
      prep run configs/nightly.yaml --publish gs://bucket/models
      prep run configs/nightly.yaml --dry-run
    """
    with output.session(as_json=json, verbose=verbose) as out:
        from pipeline.run.chain import run_pipeline
        from pipeline.spec import load_run_spec
        from pipeline.workspace import Workspace

        spec = load_run_spec(config)
        printer = RowPrinter(out)
        report = run_pipeline(
            spec, Workspace(workspace, read_only=dry_run), publish_uri=publish, verify=verify, listener=printer
        )
        out.document({"config": str(config), "unchanged": report.is_unchanged, **report.model_dump(mode="json")})
        printer.summary(report.rows, title=f"prep run {config}")
        out.line()
        for row in report.rows:
            if "server_version" in row.figures:
                tell_verification(out, row.figures, is_remembered=row.state == "unchanged")
        if dry_run:
            out.line("dry run: nothing was written")
        elif report.is_unchanged:
            out.line(f"nothing changed, nothing was done ({output.format_seconds(report.seconds)})", style="bold green")
        else:
            out.line(f"done in {output.format_seconds(report.seconds)}", style="bold green")
        out.line(f"repository: {report.repository}" + (f"   release: {report.release}" if report.release else ""))
