"""`prep run`: the whole chain from one file."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prep_triton.cli.choices import complete
from prep_triton.cli.completions import complete_model_of_file
from prep_triton.cli.exclusive import check_alone, list_given
from prep_triton.cli.flag_names import flags_named
from prep_triton.cli.groups import expand_groups, given_options, list_flags
from prep_triton.cli.options import DEFAULT_WORKSPACE, OutputOptions, RemoteCacheOption, WorkspaceOption
from prep_triton.cli.output import session

if TYPE_CHECKING:
    from prep_triton.cli.output import Output
    from prep_triton.run.report import Outcome
    from prep_triton.spec import RunSpec
    from prep_triton.workspace import Workspace

EXIT_CODES = {"partial": 3, "regressed": 4}
# What each of these reads of the other options; it does less than a run, and so excludes the rest.
_READ_BESIDE = {
    "--check": ("--output", "--publish", "--set", "--jobs", "--memory-gib", "--allow-random"),
    "--list-gpus": ("--model", "--set"),
    "--only-gpu": ("--model", "--set", "--jobs", "--memory-gib", "--dry-run", "--summary"),
    "--dry-run": (
        "--output",
        "--publish",
        "--no-verify",
        "--model",
        "--set",
        "--jobs",
        "--memory-gib",
        "--allow-random",
        "--only-gpu",
        "--server",
    ),
    "--no-verify": (
        "--output",
        "--publish",
        "--model",
        "--set",
        "--jobs",
        "--memory-gib",
        "--allow-random",
        "--dry-run",
        "--summary",
    ),
}


@dataclass(frozen=True)
class RunSpecOptions:
    """Keys of `RunSpec`: how much is made at once, and what may be published."""

    jobs: Annotated[int | None, typer.Option(min=1, help="Number of models made at once; wins over the file. [1]")] = (
        None
    )
    memory_gib: Annotated[
        float | None, typer.Option(help="Memory limit of the models made at once, GiB. [what is free]")
    ] = None
    repository: Annotated[
        str | None,
        typer.Option("--output", "-o", help="Folder of the repository; wins over the file. [build/model_repository]"),
    ] = None
    allow_random: Annotated[
        bool, typer.Option("--allow-random", help="Publish models with random weights too, for benchmarks.")
    ] = False


@dataclass(frozen=True)
class RunOptions:
    """What a run does with a pipeline file, beside making it."""

    publish: Annotated[
        str | None, typer.Option(help="gs://bucket/prefix or folder to publish to; wins over the file.")
    ] = None
    verify: Annotated[bool, typer.Option(help="Verify the result on a real Triton.")] = True
    only_gpu: Annotated[
        str | None,
        typer.Option(
            metavar="GPU",
            help="Build the plans of this GPU alone, on a machine that has it, and stop before assembling.",
            autocompletion=complete("gpus"),
        ),
    ] = None
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            metavar="NAME",
            help="Make this model of the file alone (repeatable); a release keeps what it has of the others.",
            autocompletion=complete_model_of_file,
        ),
    ] = None
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Set a key of the file for this run, such as jobs=2 or models.minilm.serving.tier=1 (repeatable).",
        ),
    ] = None
    server: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Verify on this running Triton's gRPC, which serves the repository."),
    ] = None
    list_gpus: Annotated[
        bool, typer.Option("--list-gpus", help="List the GPUs that the file builds plans for, and do nothing.")
    ] = False
    spec: RunSpecOptions = RunSpecOptions()
    summary: Annotated[
        Path | None, typer.Option(help="File to append a Markdown summary to, such as $GITHUB_STEP_SUMMARY.")
    ] = None
    check: Annotated[
        bool,
        typer.Option("--check", help="Check the file and the files that it names, on any machine, and do nothing."),
    ] = False
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Check this machine and the store too, show what would be done, and do nothing."
        ),
    ] = False


@expand_groups
def run(
    config: Annotated[Path, typer.Argument(help="Pipeline file, such as prep init writes.")],
    options: RunOptions = RunOptions(),
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    remote_cache: RemoteCacheOption = None,
    output: OutputOptions = OutputOptions(),
) -> None:
    """Run a pipeline file, from model to release.

    Exports, converts, builds, assembles, publishes, verifies, and measures under load where the file has bench:.
    Unchanged stages are skipped.

    \b
    Exit codes, for a scheduler:
      0  everything was made, or nothing had changed
      1  it failed, and nothing became current
      2  the request is wrong
      3  some models failed, in the making or on Triton; the others were made and published. Or the load of bench:
         could not be measured; everything was made and published
      4  a release was published but is not current: it is worse than the thresholds allow, or slower than the baseline
         of bench:. Without publishing: what was made is slower

    \b
    Examples:
      prep run prep.yaml
      prep run prep.yaml --publish gs://bucket/models --jobs 2 --summary summary.md
      prep run prep.yaml --check
      prep run prep.yaml --dry-run
      prep run prep.yaml --only-gpu t4
      prep run prep.yaml --model distilbert --set models.distilbert.serving.tier=1
    """
    with session(output) as out:
        from prep_triton.cli.documents.run import GpusDocument, check_document, render_check, render_gpus
        from prep_triton.run.file_checks import check_file, check_run_spec
        from prep_triton.run.overrides import override_settings
        from prep_triton.run.plan_gpus import list_plan_gpus, select_plans
        from prep_triton.run.selection import select_models
        from prep_triton.run.shared import check_remote_uri, open_workspace
        from prep_triton.spec import RUN_HINT, RunSpec, load_settings, with_flags

        _check_exclusive(options)
        settings = override_settings(load_settings(config, hint=RUN_HINT), options.assignments or ())
        spec = _lay_flags_over(settings.build(RunSpec), options)
        if options.list_gpus:
            chosen, _ = select_models(spec, options.model or ())
            out.show(GpusDocument(gpus=tuple(list_plan_gpus(chosen))), render_gpus)
            return
        if options.check:
            check_remote_uri(remote_cache)
            check_file(with_flags(spec, {"publish": options.publish or spec.publish}), settings.document)
            out.show(check_document(spec, str(config)), render_check)
            return
        check_run_spec(spec, settings.document)
        if options.only_gpu:
            chosen, _ = select_models(spec, options.model or ())
            spec = select_plans(chosen, options.only_gpu)
        store = open_workspace(workspace, remote_cache or spec.workspace.remote, read_only=options.dry_run)
        outcome = _run_and_report(out, spec, options, store, str(config))
    if outcome in EXIT_CODES:
        raise typer.Exit(EXIT_CODES[outcome])


def _lay_flags_over(spec: "RunSpec", options: RunOptions) -> "RunSpec":
    """Return what the file asks for with the keys that flags set.

    Raises:
        SpecError: A flag's value is not valid.
    """
    from prep_triton.spec import with_flags

    with flags_named(list_flags([options.spec])):
        spec = with_flags(spec, given_options(options.spec))
    if options.server:
        server = {"server_url": options.server, "grpc_port": None}
        spec = with_flags(spec, {"verify": with_flags(spec.verify, server)})
    return spec


def _check_exclusive(options: RunOptions) -> None:
    """Refuse what a part of a run beside another part does not read.

    Raises:
        SpecError: There is such a flag.
    """
    given = list(list_given(options))
    for flag, reads in _READ_BESIDE.items():
        if flag in given:
            check_alone(flag, [other for other in given if other not in (flag, *reads)])


def _run_and_report(out: "Output", spec: "RunSpec", options: RunOptions, store: "Workspace", config: str) -> "Outcome":
    """Run a pipeline; print and append to the summary what became of it, also where it ends with an error."""
    from prep_triton.cli.documents.rows import RowPrinter, render_rows
    from prep_triton.cli.documents.run import render_run, run_document, warn_of_failures
    from prep_triton.cli.documents.summary import render_failure, render_summary
    from prep_triton.errors import PrepError
    from prep_triton.run.pipeline import run_pipeline
    from prep_triton.run.resolve import RunChoices

    printer, title = RowPrinter(out), f"prep run {config}"
    is_part = options.only_gpu is not None  # of which the models were chosen before
    choices = RunChoices(options.publish, options.verify, is_part, () if is_part else tuple(options.model or ()))
    if options.summary and not options.dry_run:
        append_text(options.summary, "")  # what cannot be written is told now
    try:
        report = run_pipeline(
            spec,
            store,
            choices,
            listener=printer,
        )
    except PrepError as err:
        if printer.rows:
            render_rows(out, printer.rows, title=title)
        if options.summary:
            append_text(options.summary, render_failure(err, printer.rows, title=title, fold=not out.verbose))
        raise
    if options.summary and not options.dry_run:
        append_text(options.summary, render_summary(report, title=title, fold=not out.verbose))
    document = run_document(report, config)
    warn_of_failures(out, document)
    out.show(document, render_run)
    return document.outcome


def append_text(path: Path, text: str) -> None:
    """Append to a file that CI keeps.

    Raises:
        WorkspaceError: It cannot be written.
    """
    from prep_triton.errors import WorkspaceError

    try:
        with path.open("a", encoding="utf-8") as stream:
            stream.write(text)
    except OSError as err:
        raise WorkspaceError(f"{path} cannot be written: {err.strerror}", hint="name another --summary file") from err
