"""`prep bench`: a server under load, with intervals, a verdict and a comparison."""

import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast, get_args

import typer

from prep_triton.cli.bench_comparison import (
    DEFAULT_DURATION_S,
    DEFAULT_REPEATS,
    ComparedOptions,
    bench_and_compare,
    choose_duration,
    choose_repeats,
)
from prep_triton.cli.bench_costs import CostOptions, price_from_options
from prep_triton.cli.burst_options import BurstOptions, check_burst_options, play_bursts
from prep_triton.cli.exclusive import list_given
from prep_triton.cli.groups import expand_groups
from prep_triton.cli.measurements import end_if_interrupted, settle_interruption
from prep_triton.cli.options import OutputOptions, ReleaseOption
from prep_triton.cli.output import Output, session
from prep_triton.cli.report_files import check_report_path, write_report_of_run
from prep_triton.cli.traffic_options import TrafficOptions, apply_traffic
from prep_triton.layout import DEFAULT_REPOSITORY

if TYPE_CHECKING:
    from prep_triton.bench.records import BenchReport, Load
    from prep_triton.run.benching import BenchRequest, Generator

# Beside 1 and 2: nothing failed, and something is slower than the baseline.
EXIT_SLOWER = 4
Arrivals = Literal["poisson", "constant"]


@dataclass(frozen=True)
class LoadOptions:
    """How the server is loaded."""

    concurrency: Annotated[
        str | None,
        typer.Option(metavar="N,N|START:END:STEP", help="Requests under way at a time. [1,4,16 without --rate]"),
    ] = None
    rate: Annotated[
        str | None,
        typer.Option(metavar="N,N|START:END:STEP", help="Requests a second, sent whatever becomes of them."),
    ] = None
    arrivals: Annotated[str, typer.Option(metavar="poisson|constant", help="How those of --rate follow.")] = "poisson"
    repeats: Annotated[
        int | None,
        typer.Option(
            min=1, max=1000, help="How often each load is measured, interleaved. [5, --against 216 at most, --bursts 3]"
        ),
    ] = None
    duration_s: Annotated[
        float | None,
        typer.Option(min=0.1, max=86400, help="Measured seconds of a repeat. [2, --against 0.5, --bursts 5]"),
    ] = None
    warmup_s: Annotated[float, typer.Option(min=0, max=3600, help="Seconds before them, not counted.")] = 0.5


@dataclass(frozen=True)
class GeneratorOptions:
    """What sends the load."""

    load_generator: Annotated[
        str,
        typer.Option(metavar="prep|perf-analyzer", help="NVIDIA's sends where it is on PATH, or PREP_PERF_ANALYZER."),
    ] = "prep"
    processes: Annotated[
        int, typer.Option(min=1, max=64, help="Processes that send, where one does not sustain a load.")
    ] = 1


@dataclass(frozen=True)
class SentOptions:
    """What each request holds."""

    batch: Annotated[int, typer.Option(min=1, max=65536, help="Rows of a request.")] = 1
    seq_len: Annotated[
        int | None, typer.Option(min=1, max=65536, help="Tokens of a row of ids. [128, or the longest the entry takes]")
    ] = None
    texts: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Texts for text entries, one a line. [sentences of prep's own]")
    ] = None
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Decides ids, texts and arrivals.")] = 0


@dataclass(frozen=True)
class KeptOptions:
    """What is made of the figures."""

    slo: Annotated[str | None, typer.Option(metavar="p99=50ms", help="Service level to judge each load by.")] = None
    run_file: Annotated[Path | None, typer.Option("-o", metavar="RUN.json", help="File for the whole document.")] = None
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="File for perf_analyzer's columns.")] = None
    report: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="HTML report to write, as prep report does.")
    ] = None


@expand_groups
def bench(
    target: Annotated[
        str | None,
        typer.Argument(
            help="Repository folder, release, gs://bucket/prefix, or pipeline file. "
            "[build/model_repository without --server]"
        ),
    ] = None,
    release: ReleaseOption = None,
    entry: Annotated[list[str] | None, typer.Option(help="Entry to load (repeatable). [every model and text]")] = None,
    server: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="gRPC (or HTTP, by --protocol) of a running Triton. [starts one]"),
    ] = None,
    load: LoadOptions = LoadOptions(),
    traffic: TrafficOptions = TrafficOptions(),
    generator: GeneratorOptions = GeneratorOptions(),
    sent: SentOptions = SentOptions(),
    kept: KeptOptions = KeptOptions(),
    compared: ComparedOptions = ComparedOptions(),
    cost: CostOptions = CostOptions(),
    bursts: BurstOptions = BurstOptions(),
    timeout_s: Annotated[float, typer.Option(min=0.1, max=86400, help="Longest wait for an answer, seconds.")] = 30.0,
    output: OutputOptions = OutputOptions(),
) -> None:
    """Measure entries of a real Triton under load.

    Every figure has an interval of 95 % confidence. Latency counts from the moment at which a request was meant to be
    sent; a load that this machine could not send on time is marked and not counted. Ctrl-C keeps what was measured.
    With --server, name the repository too, so that ids are of the model's vocabulary. Of a pipeline file, what this
    machine can serve is measured, and the rest is a row that says why not.

    \b
    Examples:
      prep bench
      prep bench --concurrency 4:24:2 --batch 2 --seq-len 384
      prep bench --server localhost:8001 --entry minilm-onnx-fp32 --rate 50:400:50 --slo p99=50ms
      prep bench --mix minilm-openvino-int8=3,minilm-onnx-fp32=1 --rate 100
      prep bench --bursts --tier-1 minilm-openvino-int8 --tier-2 minilm-onnx-fp32
      prep bench --report report.html
      prep bench -o today.json --baseline yesterday.json
      prep bench --against gs://bucket/models --concurrency 4
      prep bench prep.yaml --concurrency 4:24:2 --batch 2 --seq-len 384
      prep bench --rate 50:400:50 --slo p99=50ms --machine g2-standard-4 --price spot
    """
    with session(output) as out:
        from prep_triton.run.costing import add_costs

        given = [*list_given(load, traffic, generator, sent, kept, compared, cost), *(["--entry"] if entry else [])]
        check_burst_options(bursts, [*given, *(["--server"] if server else [])])
        asked = load.repeats, load.duration_s
        load = replace(
            load, repeats=choose_repeats(load.repeats, compared), duration_s=choose_duration(load.duration_s, compared)
        )
        groups = (load, sent, generator)
        request = _request_from_flags((target, release, server), entry or [], groups, (kept.slo, timeout_s))
        request = apply_traffic(
            request,
            traffic,
            default_loads=not (load.concurrency or load.rate),
            others={"--entry": bool(entry), "--csv": kept.csv is not None},
        )
        _check_files(kept, request)
        if bursts.bursts:
            play_bursts(out, request, bursts, asked, kept.run_file)
            return
        _check_generator(request, kept, traffic, compared)
        price = price_from_options(cost)
        with out.progress(f"bench {request.target or request.server}") as progress:
            outcome = settle_interruption(bench_and_compare(request, compared, progress))
        report = add_costs(outcome.report, price) if price else outcome.report
        _save(report, kept)
        if kept.report:
            write_report_of_run(out, replace(outcome, report=report), kept.report, kept.run_file, request.target)
        if outcome.error is None or not out.as_json:
            _show(out, report)
        if outcome.error is not None:
            raise outcome.error
        _exit(out, report)


def _request_from_flags(
    place: tuple[str | None, str | None, str | None],
    entries: list[str],
    groups: tuple[LoadOptions, SentOptions, GeneratorOptions],
    judged: tuple[str | None, float],
) -> "BenchRequest":
    from prep_triton.bench.measure import Plan
    from prep_triton.bench.requests import InputChoice
    from prep_triton.bench.slo import parse_slo
    from prep_triton.errors import SpecError
    from prep_triton.run.benching import BenchRequest, read_texts

    (target, release, server), (load, sent, generator), (slo, timeout_s) = place, groups, judged
    if release and server and not target:
        raise SpecError("--release says which release, but of no store", hint="name the store before --server")
    return BenchRequest(
        target=target or (None if server else DEFAULT_REPOSITORY),
        release=release,
        server=server,
        entries=tuple(dict.fromkeys(entries)),
        inputs=InputChoice(sent.batch, sent.seq_len, sent.seed, read_texts(sent.texts), join_texts=sent.texts is None),
        plan=Plan(
            loads=_loads_from_flags(load),
            repeats=load.repeats or DEFAULT_REPEATS,
            warmup_s=load.warmup_s,
            duration_s=load.duration_s or DEFAULT_DURATION_S,
            seed=sent.seed,
            timeout_s=timeout_s,
            processes=generator.processes,
        ),
        slo=parse_slo(slo) if slo else None,
        command=shlex.join(["prep", *sys.argv[1:]]),
        generator=_generator_from_flag(generator.load_generator),
    )


def _generator_from_flag(word: str) -> "Generator":
    from prep_triton.errors import SpecError, suggest
    from prep_triton.run.benching import Generator

    words = get_args(Generator)
    if word not in words:
        raise SpecError(
            f"--load-generator {word} is neither prep nor perf-analyzer",
            hint=suggest(word, words, otherwise="write --load-generator perf-analyzer"),
        )
    return cast("Generator", word)


def _check_generator(
    request: "BenchRequest", kept: KeptOptions, traffic: TrafficOptions, compared: ComparedOptions
) -> None:
    """Raise where perf_analyzer is to send, and cannot do what is asked.

    Raises:
        SpecError: It cannot.
    """
    from prep_triton.bench.analyzer import check_flags

    if request.generator == "perf-analyzer":
        used: dict[str, object] = {"--slo": kept.slo, "--baseline": compared.baseline, "--against": compared.against}
        used |= {"--protocol": traffic.protocol != "grpc"}
        used |= {"--processes": request.plan.processes > 1, "--mix": traffic.mix, "--priority": traffic.priority}
        check_flags([flag for flag, value in used.items() if value])


def _loads_from_flags(options: LoadOptions) -> "tuple[Load, ...]":
    from prep_triton.bench.loads import DEFAULT_CONCURRENCY, parse_concurrency, parse_rates
    from prep_triton.errors import SpecError, suggest

    if options.arrivals not in get_args(Arrivals):
        raise SpecError(
            f"--arrivals {options.arrivals} is neither poisson nor constant",
            hint=suggest(options.arrivals, get_args(Arrivals), otherwise="write --arrivals poisson"),
        )
    concurrency = options.concurrency or (None if options.rate else DEFAULT_CONCURRENCY)
    closed = parse_concurrency(concurrency) if concurrency else ()
    return (*closed, *(parse_rates(options.rate, cast("Arrivals", options.arrivals)) if options.rate else ()))


def _check_files(kept: KeptOptions, request: "BenchRequest") -> None:
    """Raise before anything is measured where what was measured could not be written.

    Raises:
        SpecError: A folder is not there, or the CSV could not hold the points.
    """
    from prep_triton.bench.perf_analyzer import check_csv

    for flag, path in (("-o", kept.run_file), ("--csv", kept.csv), ("--report", kept.report)):
        if path:
            check_report_path(flag, path)
    if kept.csv:
        check_csv(request.entries, [load.kind for load in request.plan.loads])


def _save(report: "BenchReport", kept: KeptOptions) -> None:
    from prep_triton.bench.perf_analyzer import check_csv, render_csv
    from prep_triton.files import write_atomically

    if kept.run_file:
        write_atomically(kept.run_file, report.model_dump_json(indent=1).encode() + b"\n")
    if kept.csv:
        points = report.points
        check_csv(list(dict.fromkeys(point.entry for point in points)), [point.load.kind for point in points])
        write_atomically(kept.csv, render_csv(points).encode())


def _show(out: Output, report: "BenchReport") -> None:
    from prep_triton.cli.documents.bench import BenchDocument, render_bench

    out.show(BenchDocument(**dict(report)), render_bench)


def _exit(out: Output, report: "BenchReport") -> None:
    """End a run that was interrupted, or that is slower than its baseline, with its exit code."""
    end_if_interrupted(out, report)
    if report.comparison and report.comparison.is_slower:
        raise typer.Exit(EXIT_SLOWER)
