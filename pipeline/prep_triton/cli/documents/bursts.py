"""What `prep bench --bursts` answers."""

from prep_triton.bench.burst_records import BurstCase, BurstReport, BurstShares, BurstSide
from prep_triton.bench.records import Figure
from prep_triton.cli.documents.bench import format_figure, render_entries, render_machine
from prep_triton.cli.output import Output


class BurstDocument(BurstReport):
    """What each tier kept of its throughput, and how long its requests took, with tiers and without."""


def render_bursts(out: Output, document: BurstDocument) -> None:
    """Print the conditions, and a row for each tier of each case of each burst."""
    render_machine(out, document.conditions)
    render_entries(out, document.conditions)
    for tier in document.tiers:
        capacity = format_figure(tier.capacity_per_s, 1)
        out.line(
            f"  tier {tier.tier}: {tier.entry}, alone {capacity} requests/s with {document.most_unanswered} under way"
        )
    if document.server_arguments:
        out.line(f"  with tiers: {' '.join(document.server_arguments)}")
    for shares in document.bursts:
        out.line(f"  burst {describe_burst(shares)}")
    if out.verbose:
        out.line(f"  run again: {document.conditions.command}")
    columns = ["#burst", "=case", "#tier", "#offered/s", "#answered/s", "#kept", "#p50 ms", "#p99 ms"]
    columns += ["#turned away", "#errors", "#others' cores", "note"]
    out.table("", columns, [_row_of(case, side) for case in document.cases for side in case.sides])
    render_remarks(out, document)


def render_remarks(out: Output, document: BurstReport) -> None:
    """Print what went wrong, and what ended it."""
    for case in document.cases:
        for message, count in ((m, c) for side in case.sides for m, c in side.error_messages.items()):
            out.line(f"burst {case.burst}, {case.case}: {count} x {message}", style="yellow")
    if document.played_again:
        share = f"{100 * document.disturbed_share:.0f} %"
        out.line(
            f"{document.played_again} rounds were played again, since other programs took over {share} of the cores",
            style="yellow",
        )
    if document.partial:
        out.line(f"partial: {document.partial_reason}", style="yellow")


def describe_burst(shares: BurstShares) -> str:
    """Say what a burst sends: ``1: tier 1 at 40 % of that, tier 2 at 30 %``."""
    return f"{shares.burst}: tier 1 at {100 * shares.tier_1:.0f} % of that, tier 2 at {100 * shares.tier_2:.0f} %"


def _row_of(case: BurstCase, side: BurstSide) -> tuple[str, ...]:
    percentiles = (side.p50_ms, side.p99_ms)
    return (
        str(case.burst),
        case.case,
        str(side.tier),
        f"{side.offered_per_s:.1f}",
        format_figure(side.answered_per_s, 1),
        _percent_of(side.kept),
        *(format_figure(figure, 0) if side.requests else "-" for figure in percentiles),
        str(side.turned_away),
        str(side.errors),
        "-" if case.others_cores is None else f"{case.others_cores:.1f}",
        "" if side.sustained else "not sustained by the generator",
    )


def _percent_of(kept: Figure | None) -> str:
    if kept is None:
        return ""
    return f"{100 * kept.value:.0f} % ({100 * kept.low:.0f}-{100 * kept.high:.0f})"
