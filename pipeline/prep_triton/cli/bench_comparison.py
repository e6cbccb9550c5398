"""What `prep bench` compares with: an earlier run, several, or another server in the same session."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from prep_triton.progress import Progress
    from prep_triton.run.benching import BenchOutcome, BenchRequest

DEFAULT_REPEATS = 5
# At most: it ends when the intervals are narrow.
DEFAULT_REPEATS_AGAINST = 216
DEFAULT_DURATION_S = 2.0
# Short turns have the same neighbours.
DEFAULT_DURATION_AGAINST_S = 0.5
# Two rounds: of one, nothing says how far rounds lie apart.
FEWEST_REPEATS_AGAINST = 6


@dataclass(frozen=True)
class ComparedOptions:
    """What the figures are compared with; exit code 4 where they are slower."""

    baseline: Annotated[
        list[Path] | None,
        typer.Option(metavar="RUN.json", help="Earlier run to compare with; three times or more: a history of runs."),
    ] = None
    against: Annotated[
        str | None,
        typer.Option(
            metavar="TARGET|HOST:PORT", help="Repository, release or running Triton to measure in turns with this one."
        ),
    ] = None


def choose_repeats(repeats: int | None, compared: ComparedOptions) -> int:
    """Return how often each load is measured.

    Raises:
        SpecError: That is too little for --against.
    """
    from prep_triton.errors import SpecError

    if repeats is None:
        return DEFAULT_REPEATS_AGAINST if compared.against else DEFAULT_REPEATS
    if compared.against and repeats < FEWEST_REPEATS_AGAINST:
        raise SpecError(
            f"--repeats {repeats} is too few for --against, which measures in rounds of three",
            hint=f"write --repeats {FEWEST_REPEATS_AGAINST} or more; {DEFAULT_REPEATS_AGAINST} without",
        )
    return repeats


def choose_duration(duration_s: float | None, compared: ComparedOptions) -> float:
    """Return the measured seconds of a repeat."""
    return duration_s or (DEFAULT_DURATION_AGAINST_S if compared.against else DEFAULT_DURATION_S)


def bench_and_compare(request: "BenchRequest", compared: ComparedOptions, progress: "Progress") -> "BenchOutcome":
    """Measure, and compare with what was named.

    Raises:
        SpecError: A baseline cannot be read, or there are two of them, or one and another server.
    """
    from prep_triton.bench.compare import load_baseline
    from prep_triton.bench.history import check_history
    from prep_triton.errors import SpecError
    from prep_triton.run.benching import bench, compare
    from prep_triton.run.benching_against import bench_against

    paths = compared.baseline or []
    if compared.against and paths:
        raise SpecError("--against and --baseline are two comparisons", hint="write one of them")
    check_history(len(paths))
    if compared.against:
        return bench_against(request, compared.against, progress=progress)
    runs = [load_baseline(path) for path in paths]
    outcome = bench(request, progress=progress)
    if not runs:
        return outcome
    name = str(paths[0]) if len(paths) == 1 else f"{len(paths)} runs, the last of them {paths[-1]}"
    return replace(outcome, report=compare(outcome.report, runs, name))
