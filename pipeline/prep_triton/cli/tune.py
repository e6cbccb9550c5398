"""`prep tune`: the serving choices that hold a service level at the highest rate."""

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

from prep_triton.cli.completions import complete_entry
from prep_triton.cli.groups import expand_groups
from prep_triton.cli.measurements import end_if_interrupted, settle_interruption
from prep_triton.cli.options import OutputOptions
from prep_triton.cli.output import Output, session
from prep_triton.layout import DEFAULT_REPOSITORY

if TYPE_CHECKING:
    from prep_triton.bench.tuning_records import Objective, TuneReport
    from prep_triton.run.tuning import TuneRequest

DEFAULT_MEASUREMENTS = 20
EXIT_NOT_HELD = 1


@dataclass(frozen=True)
class SearchOptions:
    """What is searched for, and how long."""

    objective: Annotated[str, typer.Option(metavar="throughput|latency|cost", help="What the best is best at.")] = (
        "throughput"
    )
    rate: Annotated[
        float | None,
        typer.Option(
            min=0.001, max=100_000, help="Requests a second at which the latency counts. [half of what is possible]"
        ),
    ] = None
    max_measurements: Annotated[int, typer.Option(min=4, max=1000, help="Loads on configurations, in all.")] = (
        DEFAULT_MEASUREMENTS
    )
    duration_s: Annotated[
        float | None,
        typer.Option(min=0.2, max=3600, help="Seconds of a measurement. [as many as a verdict takes, 4 to 20]"),
    ] = None


@dataclass(frozen=True)
class WorkloadOptions:
    """What each request holds."""

    batch: Annotated[int, typer.Option(min=1, max=65536, help="Rows of a request: the most that clients send.")] = 1
    seq_len: Annotated[
        int | None, typer.Option(min=1, max=65536, help="Tokens of a row of ids. [128, or the longest the entry takes]")
    ] = None
    texts: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Texts for a text entry, one a line. [sentences of prep's own]")
    ] = None
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Decides ids, texts and arrivals.")] = 0


@expand_groups
def tune(
    entry: Annotated[str, typer.Argument(metavar="ENTRY", help="Entry to tune.", autocompletion=complete_entry)],
    slo: Annotated[str, typer.Option(metavar="p99=50ms", help="Service level to hold.")],
    repository: Annotated[Path, typer.Option(help="Folder of the repository.")] = Path(DEFAULT_REPOSITORY),
    search: SearchOptions = SearchOptions(),
    workload: WorkloadOptions = WorkloadOptions(),
    serving: Annotated[
        Path | None, typer.Option(metavar="FILE", help="File for the serving keys. [build/serving/ENTRY.yaml]")
    ] = None,
    evidence: Annotated[
        Path | None, typer.Option("-o", metavar="EVIDENCE.json", help="File for the whole document.")
    ] = None,
    timeout_s: Annotated[float, typer.Option(min=0.1, max=86400, help="Longest wait for an answer, seconds.")] = 30.0,
    output: OutputOptions = OutputOptions(),
) -> None:
    """Find the serving choices that hold a service level at the highest rate.

    Instances and threads, the largest batch, length buckets or exact lengths, the queue delay and preferred sizes: a
    simulation of Triton's batcher on measured batch times screens them, and this machine's Triton measures the best.
    The result is a file for prep assemble --serving and for serving: in a pipeline file. Where nothing holds the level,
    no file is written and the exit code is 1. A running server cannot be tuned: each choice needs one of its own.

    \b
    Examples:
      prep tune minilm-onnx-fp32 --slo p99=50ms
      prep tune minilm-onnx-fp32-text --slo p99=80ms --texts texts.txt -o evidence.json
      prep tune minilm-onnx-fp32 --slo p99=50ms --objective latency --rate 40
    """
    with session(output) as out:
        from prep_triton.files import write_atomically
        from prep_triton.run.serving_file import check_serving_file, default_serving_file, write_serving_file
        from prep_triton.run.tuning import tune as tune_entry

        request = _request_from_flags((entry, repository, slo), search, workload, timeout_s)
        serving_file = serving or default_serving_file(entry)
        _check_evidence(evidence)
        check_serving_file(serving_file, is_default=serving is None)
        with out.progress(f"tune {entry}") as progress:
            outcome = settle_interruption(tune_entry(request, progress=progress))
        report = outcome.report
        if report.best and not report.partial:
            write_serving_file(report, serving_file)
            report = report.model_copy(update={"serving_file": str(serving_file)})
        if evidence:
            write_atomically(evidence, report.model_dump_json(indent=1).encode() + b"\n")
        if outcome.error is None or not out.as_json:
            _show(out, report)
        if outcome.error is not None:
            raise outcome.error
        _exit(out, report)


def _request_from_flags(
    place: tuple[str, Path, str], search: SearchOptions, workload: WorkloadOptions, timeout_s: float
) -> "TuneRequest":
    from prep_triton.bench.requests import InputChoice
    from prep_triton.bench.slo import parse_slo
    from prep_triton.run.benching import read_texts
    from prep_triton.run.tuning import TuneRequest
    from prep_triton.run.tuning_server import TuningLoad

    (entry, repository, slo), texts = place, workload.texts
    inputs = InputChoice(workload.batch, workload.seq_len, workload.seed, read_texts(texts), join_texts=texts is None)
    return TuneRequest(
        entry=entry,
        repository=repository,
        load=TuningLoad(inputs, parse_slo(slo), search.duration_s, timeout_s),
        objective=_objective_from_flags(search),
        rate=search.rate,
        max_measurements=search.max_measurements,
        command=shlex.join(["prep", *sys.argv[1:]]),
    )


def _objective_from_flags(search: SearchOptions) -> "Objective":
    from prep_triton.bench.tuning_records import Objective
    from prep_triton.errors import SpecError, suggest

    known = get_args(Objective)
    if search.objective not in known:
        raise SpecError(
            f"--objective {search.objective} is none of {', '.join(known)}",
            hint=suggest(search.objective, known, otherwise="write --objective throughput"),
        )
    if search.rate is not None and search.objective != "latency":
        raise SpecError(
            f"--rate means nothing for --objective {search.objective}, which searches for the rate",
            hint="remove --rate, or write --objective latency",
        )
    return cast("Objective", search.objective)


def _check_evidence(path: Path | None) -> None:
    from prep_triton.errors import SpecError

    if path and (path.is_dir() or not path.absolute().parent.is_dir()):
        raise SpecError(f"-o {path} cannot be written", hint="name a file in a folder that is there")


def _show(out: Output, report: "TuneReport") -> None:
    from prep_triton.cli.documents.tune import TuneDocument, render_tune

    out.show(TuneDocument(**dict(report)), render_tune)


def _exit(out: Output, report: "TuneReport") -> None:
    end_if_interrupted(out, report, more="; no serving file is written")
    if report.best is None:
        raise typer.Exit(EXIT_NOT_HELD)
