"""Whose requests are sent, and how: the options of a mix of entries, of priorities and of the protocol."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Literal, cast, get_args

import typer

from prep_triton.cli.exclusive import check_alone

if TYPE_CHECKING:
    from prep_triton.run.benching import BenchRequest

Protocol = Literal["grpc", "http"]


@dataclass(frozen=True)
class TrafficOptions:
    """What is sent at once, and how."""

    mix: Annotated[
        str | None,
        typer.Option(
            metavar="NAME[@PRIORITY]=SHARE,...",
            help="Load several entries at once, each with its share of --rate or --concurrency.",
        ),
    ] = None
    priority: Annotated[
        int | None,
        typer.Option(min=1, max=2**31 - 1, help="Priority of the requests, 1 is the highest. [the entry's default]"),
    ] = None
    protocol: Annotated[
        str, typer.Option(metavar="grpc|http", help="What they are sent over; --server names that port.")
    ] = "grpc"


def apply_traffic(
    request: "BenchRequest", traffic: TrafficOptions, *, default_loads: bool, others: dict[str, bool]
) -> "BenchRequest":
    """Return a request with its protocol, its mix and its priorities.

    Args:
        request: What was asked for otherwise.
        traffic: The options.
        default_loads: Whether the user named neither a rate nor a concurrency; those too small for a mix are left out.
        others: The flags that a mix excludes, and whether each was given.

    Raises:
        SpecError: There is no such protocol, the mix is none or is given beside one of `others`, or a concurrency is
            too little for it.
    """
    from prep_triton.bench.mix import parse_mix
    from prep_triton.errors import SpecError, suggest

    if traffic.protocol not in get_args(Protocol):
        raise SpecError(
            f"--protocol {traffic.protocol} is neither grpc nor http",
            hint=suggest(traffic.protocol, get_args(Protocol), otherwise="write --protocol http"),
        )
    request = replace(request, protocol=cast("Protocol", traffic.protocol))
    inputs = replace(request.inputs, priority=traffic.priority or 0)
    if traffic.mix is None:
        return replace(request, inputs=inputs)
    check_alone("--mix", others)
    mix = parse_mix(traffic.mix).with_priority(inputs.priority)
    loads = [load for load in request.plan.loads if not default_loads or load.value >= len(mix.streams)]
    for load in loads:
        mix.split_load(load)  # else it were found out only when the server runs
    plan = replace(request.plan, mix=mix, loads=tuple(loads))
    entries = tuple(dict.fromkeys(stream.entry for stream in mix.streams))
    return replace(request, entries=entries, inputs=inputs, plan=plan)
