"""`prep report`: what was measured, as one HTML file or as Markdown."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prep_triton.cli.groups import expand_groups
from prep_triton.cli.options import OutputOptions, ReleaseOption
from prep_triton.cli.output import Output, session
from prep_triton.cli.report_files import check_report_path, write_report
from prep_triton.layout import BENCH_REPORT_NAME

if TYPE_CHECKING:
    from prep_triton.bench.report.variants import Variant
    from prep_triton.cli.documents.report import ReportDocument, ReportedVariant
    from prep_triton.run.reporting import Report

_DEFAULT_HTML = Path(BENCH_REPORT_NAME)


@expand_groups
def report(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN.json… [REPOSITORY|RELEASE]",
            help="What prep bench -o wrote, and the repository, release or store that holds what was measured.",
        ),
    ],
    release: ReleaseOption = None,
    html_file: Annotated[
        Path | None, typer.Option("-o", metavar="FILE", help="HTML to write. [report.html without --markdown]")
    ] = None,
    markdown: Annotated[
        str | None,
        typer.Option(metavar="FILE|-", help="File to append Markdown to, such as $GITHUB_STEP_SUMMARY; - prints it."),
    ] = None,
    output: OutputOptions = OutputOptions(),
) -> None:
    """Write a report of what prep bench measured.

    One HTML file without anything from elsewhere: the variants beside each other, latency against load and against
    throughput, where the time went, cost, conditions and the commands to measure again. Runs of several machines stand
    in one report. Fidelity, accuracy and size are from the manifests of the repository or release.

    \b
    Examples:
      prep report run.json
      prep report cpu.json t4.json build/model_repository -o report.html
      prep report run.json gs://bucket/models --release previous
      prep report run.json --markdown -
    """
    with session(output) as out:
        from prep_triton.cli.documents.report import render_report
        from prep_triton.errors import SpecError
        from prep_triton.run.reporting import ReportRequest, make_report, split_arguments

        if markdown == "-" and out.as_json:
            raise SpecError("--markdown - and --json both print on stdout", hint="name a file: --markdown report.md")
        paths, target = split_arguments(runs)
        html_path = html_file or (None if markdown else _DEFAULT_HTML)
        if html_path:
            check_report_path("-o", html_path)
        made = make_report(ReportRequest(paths, target, release))
        size = write_report(made, html_path) if html_path else None
        if markdown:
            _write_markdown(out, made.markdown(), markdown)
        if markdown != "-":
            out.show(_document(made, html_path, size, markdown), render_report)


def _write_markdown(out: Output, text: str, place: str) -> None:
    from prep_triton.cli.run import append_text

    if place == "-":
        for line in text.splitlines():
            out.line(line)
    else:
        append_text(Path(place), text)


def _document(made: "Report", path: Path | None, size: int | None, markdown: str | None) -> "ReportDocument":
    from prep_triton.cli.documents.report import ReportDocument

    return ReportDocument(
        html=str(path) if path else None,
        html_bytes=size,
        markdown=markdown,
        place=made.place,
        summary=tuple(sentence.text for sentence in made.document().summary),
        variants=tuple(_variant(variant) for variant in made.variants()),
    )


def _variant(variant: "Variant") -> "ReportedVariant":
    from prep_triton.bench.report.costs import find_cost
    from prep_triton.bench.report.variants import decide
    from prep_triton.cli.documents.report import ReportedVariant

    decision, facts, cost = decide(variant), variant.facts, find_cost(variant)
    point = decision.point
    return ReportedVariant(
        run=variant.run.name,
        entry=variant.entry,
        machine=variant.machine,
        state=decision.state,
        load=point.load if point else None,
        inferences_per_s=point.inferences_per_s if point else None,
        p50_ms=point.p50_ms if point else None,
        p99_ms=point.p99_ms if point else None,
        usd_per_million=cost.usd_per_million if cost else None,
        precision=facts.precision if facts else None,
        size_bytes=facts.size_bytes if facts else None,
        cosine=facts.cosine if facts else None,
        accuracy=facts.accuracy if facts else None,
    )
