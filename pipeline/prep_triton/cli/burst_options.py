"""`prep bench --bursts`: its options, and what it answers."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prep_triton.cli.exclusive import check_alone
from prep_triton.cli.measurements import end_if_interrupted, settle_interruption
from prep_triton.cli.output import Output

if TYPE_CHECKING:
    from prep_triton.bench.burst_records import BurstReport
    from prep_triton.run.benching import BenchRequest

DEFAULT_ROUNDS = 3
DEFAULT_PHASE_S = 5.0
# What a burst takes of the options of `prep bench`: it plays loads of its own, on servers of its own.
_SHARED = {"--repeats", "--duration-s", "--warmup-s", "--batch", "--seq-len", "--seed", "--protocol", "-o"}


@dataclass(frozen=True)
class BurstOptions:
    """Which entries play, if bursts are played at all."""

    bursts: Annotated[
        bool, typer.Option("--bursts", help="Play three bursts on two tiers of one server, with and without tiers.")
    ] = False
    tier_1: Annotated[
        str | None, typer.Option("--tier-1", metavar="NAME", help="Entry of tier 1. [that of the tier, or the first]")
    ] = None
    tier_2: Annotated[
        str | None, typer.Option("--tier-2", metavar="NAME", help="Entry of tier 2. [that of the tier, or the last]")
    ] = None


def check_burst_options(bursts: BurstOptions, given: Iterable[str]) -> None:
    """Refuse what bursts have no use for, and their own options without them.

    Args:
        bursts: The options.
        given: The flags that were given beside them.

    Raises:
        SpecError: Says which.
    """
    from prep_triton.errors import SpecError

    if bursts.bursts:
        others = [flag for flag in given if flag not in _SHARED]
        check_alone("--bursts", others, reason="bursts are loads of their own, on two servers that they start")
    elif bursts.tier_1 or bursts.tier_2:
        flag = "--tier-1" if bursts.tier_1 else "--tier-2"
        raise SpecError(f"{flag} says what plays a tier in bursts", hint="write --bursts as well")


def play_bursts(
    out: Output,
    request: "BenchRequest",
    bursts: BurstOptions,
    timing: tuple[int | None, float | None],
    run_file: Path | None,
) -> None:
    """Play bursts, and show and write what was found.

    Raises:
        PrepError: They could not be played, or were not to their end; what was played is shown and written.
    """
    from prep_triton.files import write_atomically
    from prep_triton.run.bursts import BurstRequest, bench_bursts

    rounds, phase_s = timing
    plan = replace(request.plan, repeats=rounds or DEFAULT_ROUNDS, duration_s=phase_s or DEFAULT_PHASE_S)
    with out.progress(f"bench {request.target}") as progress:
        burst_request = BurstRequest(replace(request, plan=plan), bursts.tier_1, bursts.tier_2)
        outcome = settle_interruption(bench_bursts(burst_request, progress=progress))
    if run_file:
        write_atomically(run_file, outcome.report.model_dump_json(indent=1).encode() + b"\n")
    if outcome.error is None or not out.as_json:
        _show(out, outcome.report)
    if outcome.error is not None:
        raise outcome.error
    end_if_interrupted(out, outcome.report, kept="what was played until then")


def _show(out: Output, report: "BurstReport") -> None:
    from prep_triton.cli.documents.bursts import BurstDocument, render_bursts

    out.show(BurstDocument(**dict(report)), render_bursts)
