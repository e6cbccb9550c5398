"""What `prep run` answers."""

from prep_triton.artifact import Record
from prep_triton.cli.documents.rows import render_rows
from prep_triton.cli.documents.verify import render_server
from prep_triton.cli.output import Output
from prep_triton.cli.units import format_seconds
from prep_triton.layout import RELEASES_DIR
from prep_triton.run.names import name_of_model, names_of_entries
from prep_triton.run.report import Outcome, RunReport, StageRow
from prep_triton.spec import RunSpec
from prep_triton.triton.verify.report import VerifyReport

FAILED_OUTCOMES = frozenset({"partial", "regressed"})


class RunDocument(Record):
    """Everything one run did.

    `outcome` is the run in one word and `message` in a sentence. `unchanged` is true where no step had anything to
    do, also in a run whose outcome is another. `repository` is null where only engines were built, with --only-gpu.
    `regressions` say why the release did not become the current one, or what is slower than its baseline.
    """

    config: str
    outcome: Outcome
    message: str
    unchanged: bool
    rows: tuple[StageRow, ...]
    repository: str | None
    release: str | None
    regressions: tuple[str, ...]
    seconds: float
    dry_run: bool


class GpusDocument(Record):
    """The GPUs that a pipeline file builds plans for, each on a machine that has it: ``prep run --only-gpu``."""

    gpus: tuple[str, ...]


class CheckedModel(Record):
    """A model of a pipeline file, and the entries that it becomes, without those of text."""

    name: str
    entries: tuple[str, ...]


class CheckedDocument(Record):
    """A pipeline file with which nothing is wrong: ``prep run --check``."""

    config: str
    models: tuple[CheckedModel, ...]


def check_document(spec: RunSpec, config: str) -> CheckedDocument:
    """Return the document of a file that was checked."""
    models = (CheckedModel(name=name_of_model(m), entries=tuple(sorted(names_of_entries(m)))) for m in spec.models)
    return CheckedDocument(config=config, models=tuple(models))


def render_check(out: Output, document: CheckedDocument) -> None:
    """Print what the file makes, and the command that makes it."""
    for model in document.models:
        out.line(f"{model.name}: {', '.join(model.entries) or 'engines alone, and no entry'}")
    out.line(f"nothing is wrong with {document.config}", style="bold green")
    out.note(f"next: prep run {document.config} --dry-run")


def render_gpus(out: Output, document: GpusDocument) -> None:
    """Print a line for each GPU, for a shell."""
    for gpu in document.gpus:
        out.line(gpu)


def run_document(report: RunReport, config: str) -> RunDocument:
    """Return the document of a run."""
    return RunDocument(
        **dict(report),
        config=config,
        outcome=report.outcome,
        message=report.outcome_sentence(),
        unchanged=report.is_unchanged,
    )


def warn_of_failures(out: Output, document: RunDocument) -> None:
    """Say on stderr, with --json too, what failed, why the release is not current, and how to make it so."""
    for row in document.rows:
        if row.stage == "model" and row.state == "failed":  # its line stands there since it failed
            out.annotate("error", f"{row.artifact}: {row.note}")
            if row.hint:
                out.message(f"hint for {row.artifact}: {row.hint}")
        if row.stage == "bench" and row.state == "failed":
            out.message(f"the load failed: {row.note}", style="red")
            out.annotate("error", f"the load failed: {row.note}")
    for regression in document.regressions:
        out.message(f"regression: {regression}", style="red")
        out.annotate("error", f"regression: {regression}")
    is_held = any(row.stage == "promote" and row.state == "skipped" for row in document.rows)
    if document.regressions and document.release and is_held:
        store, _, release_id = document.release.rpartition(f"/{RELEASES_DIR}/")
        out.message(f"hint: to make it current all the same: prep rollback {store} {release_id}")


def render_run(out: Output, document: RunDocument) -> None:
    """Print the run's table and its outcome."""
    render_rows(out, document.rows, title=f"prep run {document.config}")
    out.line()
    for row in document.rows:
        if "server_version" in row.figures:
            report = VerifyReport.model_validate(row.figures)
            render_server(out, report, is_remembered=row.state == "unchanged")
    took = format_seconds(document.seconds)
    if document.dry_run:
        out.line("dry run: nothing was written")
    elif document.outcome in FAILED_OUTCOMES:
        out.line(f"{document.message} ({took})", style="bold red")
    elif document.unchanged:
        out.line(f"nothing changed, nothing was done ({took})", style="bold green")
    else:
        out.line(f"done in {took}", style="bold green")
    release = f"   release: {document.release}" if document.release else ""
    if document.repository:
        out.line(f"repository: {document.repository}{release}")
