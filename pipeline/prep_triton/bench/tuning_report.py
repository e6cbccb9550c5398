"""What a search comes to: its measurements, its winners, and how far its model was from them."""

from collections.abc import Sequence
from statistics import median

from prep_triton.bench.predictor import Mix
from prep_triton.bench.search import Measured, Search
from prep_triton.bench.tuning_records import Choice, ModelError, TuneMeasurement, Winner
from prep_triton.spec import Padding


def measurements_from_search(search: Search, before: int) -> tuple[TuneMeasurement, ...]:
    """Return the rows of a document; `before` other measurements came first.

    The latencies of a load that was ended early, or not sent in time, are no figures of the configuration.
    """
    rows = []
    for number, row in enumerate(search.measured, before + 1):
        trial = row.trial
        is_whole = not trial.ended_early and trial.verdict.state != "not counted"
        rows.append(
            TuneMeasurement(
                number=number,
                purpose=row.purpose,
                choice=row.choice,
                rate=trial.rate,
                seconds=trial.seconds,
                requests=trial.requests,
                verdict=trial.verdict,
                ended_early=trial.ended_early,
                mean_ms=trial.mean_ms if is_whole else None,
                p50_ms=trial.p50_ms if is_whole else None,
                p99_ms=trial.p99_ms if is_whole else None,
                simulated_mean_ms=row.prediction.mean_ms,
                simulated_p99_ms=row.prediction.p99_ms,
            )
        )
    return tuple(rows)


def measure_model_error(rows: Sequence[TuneMeasurement]) -> ModelError | None:
    """Return how far the simulation was from what was measured after it; None where nothing can be compared."""
    means = [abs(row.simulated_mean_ms / row.mean_ms - 1) for row in rows if row.mean_ms and row.simulated_mean_ms]
    p99s = [abs(row.simulated_p99_ms / row.p99_ms - 1) for row in rows if row.p99_ms and row.simulated_p99_ms]
    if not means or not p99s:
        return None
    return ModelError(
        measurements=len(means),
        mean_median=median(means),
        mean_worst=max(means),
        p99_median=median(p99s),
        p99_worst=max(p99s),
    )


def winner_from_search(search: Search, mix: Mix, choices: Sequence[Choice] | None = None) -> Winner | None:
    """Return what held the level best, of some choices or all; None where nothing did."""
    best = search.best(choices)
    if best is None:
        return None
    choice, rate = best
    verdict = search.verdict(choice, rate)
    trials = [row.trial for row in search.measured if (row.choice, row.trial.rate) == best]
    return Winner(
        choice=choice,
        rate=rate,
        is_shown=verdict.state == "met",
        verdict=verdict,
        mean_ms=sum(trial.mean_ms for trial in trials) / len(trials),
        p99_ms=search.p99_ms(choice, rate),
        tokens_per_s=None if mix.tokens is None else rate * mix.tokens,
        padded_tokens_per_s=rate * mix.padded_tokens(choice.padding),
    )


def best_by_padding(search: Search, mix: Mix) -> dict[Padding, Winner]:
    """Return what held the level best with each padding of text."""
    winners: dict[Padding, Winner] = {}
    for padding in mix.lengths:
        choices = [row.choice for row in search.measured if row.choice.padding == padding]
        winner = winner_from_search(search, mix, choices) if padding else None
        if padding and winner:
            winners[padding] = winner
    return winners


def describe_best_seen(search: Search) -> str:
    """Say the best that was seen where nothing held the level; empty where nothing was measured."""
    counted = [row for row in search.measured if row.trial.verdict.state != "not counted" and row.trial.requests]
    if not search.measured:
        return ""
    if not counted:
        return "no load could be sent in time: this machine is too busy to measure itself"
    slo = search.goal.slo

    def share_over(row: Measured) -> float:  # of all loads at that rate: one that was not confirmed is none
        verdict = search.verdict(row.choice, row.trial.rate)
        return verdict.over / verdict.requests if verdict.requests else 1.0

    best = min(counted, key=lambda row: (share_over(row), row.trial.p99_ms))
    trial = best.trial
    return (
        f"nothing holds {slo.describe()}: the best seen is {100 * (1 - share_over(best)):.1f} % in time, p50 "
        f"{trial.p50_ms:.2f} ms and p99 {trial.p99_ms:.2f} ms, at {trial.rate:.3g}/s with {best.choice.describe()}"
    )
