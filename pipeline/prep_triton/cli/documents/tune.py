"""What `prep tune` answers."""

from prep_triton.bench.tuning_records import TuneMeasurement, TuneReport, Winner
from prep_triton.cli.output import Output


class TuneDocument(TuneReport):
    """What was measured, what was chosen, and how far the model was from it."""


def render_tune(out: Output, document: TuneDocument) -> None:
    """Print the conditions, a row for each measurement, the model's error, and the choices."""
    if document.conditions:
        conditions = document.conditions
        out.line(f"Triton {conditions.triton_version} ({conditions.triton_flavour})", style="bold")
        out.line(
            f"  {conditions.cpu} ({' '.join(conditions.cpu_flags)}), {conditions.cores} cores, load "
            f"{conditions.load_before:.1f} before"
        )
        if out.verbose:
            out.line(f"  run again: {conditions.command}")
    columns = ["#no", "=for", "=choices", "#rate/s", "#mean ms", "#p99 ms", "#simulated mean / p99", "verdict"]
    out.table("", columns, [_row_of(row) for row in document.measurements])
    out.line(
        f"{len(document.measurements)} measurements of {document.max_measurements} at most, {document.simulated} "
        f"configurations simulated, {document.seconds / 60:.1f} minutes"
    )
    if error := document.model_error:
        out.line(
            f"simulation against {error.measurements} measurements: mean off by {_percent(error.mean_median)} (median) "
            f"and {_percent(error.mean_worst)} (worst), p99 by {_percent(error.p99_median)} and "
            f"{_percent(error.p99_worst)}"
        )
    _render_winners(out, document)
    if document.best_seen:
        out.line(document.best_seen, style="yellow")
    if document.objective_note:
        out.line(document.objective_note)
    if document.partial:
        out.line(f"partial: {document.partial_reason}", style="yellow")
    if document.serving_file:
        out.line(f"written: {document.serving_file}; use it with prep assemble --serving {document.serving_file}")


def _render_winners(out: Output, document: TuneDocument) -> None:
    if document.best:
        out.line(f"best: {describe_winner(document.best)}", style="bold")
    if document.current and document.best and document.current.choice != document.best.choice:
        out.line(f"as it is served now: {describe_winner(document.current)}")
    for padding, winner in document.by_padding.items():
        name = "length buckets" if padding == "buckets" else "exact lengths"
        if document.best is None or winner.choice != document.best.choice:
            out.line(f"{name}: {describe_winner(winner)}")


def describe_winner(winner: Winner) -> str:
    """Say choices and what they held in a line."""
    tokens = ""
    if winner.tokens_per_s is not None:
        tokens = f", {winner.tokens_per_s:,.0f} tokens/s"
        if winner.padded_tokens_per_s is not None and winner.padded_tokens_per_s > winner.tokens_per_s * 1.001:
            tokens += f" ({winner.padded_tokens_per_s:,.0f} with padding)"
    return (
        f"{winner.choice.describe()}: {winner.rate:.4g}/s{tokens}, mean {winner.mean_ms:.2f} ms, p99 "
        f"{winner.p99_ms:.2f} ms, {winner.verdict.describe()}"
    )


def _row_of(row: TuneMeasurement) -> tuple[str, ...]:
    simulated = "" if row.simulated_mean_ms is None else f"{row.simulated_mean_ms:.1f} / {row.simulated_p99_ms:.1f}"
    verdict = row.verdict.describe() if row.verdict else ""
    return (
        str(row.number),
        row.purpose,
        row.choice.describe(),
        "" if row.rate is None else f"{row.rate:.4g}",
        "" if row.mean_ms is None else f"{row.mean_ms:.1f}",
        "" if row.p99_ms is None else f"{row.p99_ms:.1f}",
        simulated,
        f"{verdict}, ended early" if row.ended_early else verdict,
    )


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
