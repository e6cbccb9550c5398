"""Measure `prep tune`: its choice against a brute-force grid, its simulation against the server, padding of text.

    .venv/bin/python -m scripts.benchmarks.measure_tune [--grid] [--simulation] [--padding] [--slo p99=60ms]

All three without a flag, about 35 minutes; the entries are those of `prep run configs/nightly-cpu.yaml`.

--grid (25 minutes): `prep tune` on --entry, then every point of a grid (instances x threads x batches x delays) under
one load whose rate rises; the best six of them, and then tune's choice and the grid's best in turn, are bisected for
the highest rate that holds the level. Within a round both see the same arrivals.
--simulation (3 minutes): batch times of --entry as it is served, and five loads: simulated and measured mean and p99.
--padding (5 minutes): --text-entry with length buckets and batches, and with exact lengths with and without batches:
tokens a second of the same texts in a closed loop.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median

import numpy as np
from prep_triton.bench.batch_times import time_requests
from prep_triton.bench.generator import ClosedLoop, OpenLoop, Sample
from prep_triton.bench.predictor import Mix, Predictor
from prep_triton.bench.requests import InputChoice
from prep_triton.bench.slo import parse_slo
from prep_triton.bench.tuning_records import Choice, Layout
from prep_triton.run.benching import read_texts
from prep_triton.run.candidate import TunedEntry, choice_from_entry, find_tuned_entry, largest_batch
from prep_triton.run.tuning import TuneRequest, tune
from prep_triton.run.tuning_server import TuningLoad, TuningServer
from prep_triton.triton.server.load import LoadConnection

from scripts.benchmarks.common import Table, describe_versions, log, make_parser, print_conditions, take_turns

BATCHES, DELAYS_US = (2, 4, 8, 16), (0, 500, 2000, 5000)
RAMP = (0.2, 1.6)  # of the rate that tune found: from, to
OVERRUN = 0.2
BISECT = (0.7, 1.5)  # wide enough that the grid may find what tune did not
LOADS = (0.3, 0.5, 0.7, 0.8, 0.9)
CLIENTS = 16


@dataclass(frozen=True)
class Settings:
    """What is measured, and for how long."""

    repository: Path
    entry: str
    text_entry: str
    load: TuningLoad
    cores: int
    rounds: int
    ramp_s: float
    steps: int
    finalists: int
    points: int


def grid_of(entry: TunedEntry, cores: int) -> list[Choice]:
    """Return the grid: 68 points on two cores or more."""
    counts = [(1, cores), (cores, 1), (1, max(1, cores // 2)), (max(2, cores // 2), 2)]
    points = []
    for instances, threads in dict.fromkeys(counts):
        layout = Layout(instances=instances, threads=threads)
        points.append(Choice(layout=layout, merges=False, max_batch=entry.model.max_batch_size))
        for size in BATCHES:
            points += [Choice(layout=layout, max_batch=size, delay_us=delay) for delay in DELAYS_US]
    return points


def ramp_rate(server: TuningServer, choice: Choice, rates: tuple[float, float], seconds: float) -> float:
    """Send a load whose rate rises, and return the rate at which a fifth of half a second's requests were late."""
    client = server.serve(choice)
    assert server.workload is not None
    moments_s = rising_moments(rates, seconds)
    bound_s = server.load.slo.bound_ms / 1000
    with LoadConnection(client.address, timeout_s=30.0) as sender:
        loop = OpenLoop(sender, server.workload.requests, moments_s)
        began = loop.start()
        while time.perf_counter() - began < seconds + bound_s and len(loop.samples) < len(moments_s):
            time.sleep(0.1)
        sender.close()
        loop.finish()
    return rate_of_overrun(loop.samples, began, moments_s, bound_s, rates, seconds)


def rising_moments(rates: tuple[float, float], seconds: float) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    """Return the moments of a Poisson process whose rate rises linearly."""
    low, high = rates
    count = int((low + high) / 2 * seconds)
    shares = np.sort(np.random.default_rng(0).uniform(0, 1, count)) * (low + high) / 2 * seconds
    slope = (high - low) / seconds
    return np.asarray((np.sqrt(low**2 + 2 * slope * shares) - low) / slope)


def rate_of_overrun(
    samples: Sequence[Sample],
    began: float,
    moments_s: "np.ndarray[tuple[int], np.dtype[np.float64]]",
    bound_s: float,
    rates: tuple[float, float],
    seconds: float,
) -> float:
    """Return the rate of the first half second of which more than a fifth was late; the highest where none was."""
    in_time = np.array(
        [s.intended_s - began for s in samples if s.error is None and s.ended_s - s.intended_s <= bound_s]
    )
    for start in np.arange(0, seconds, 0.5):
        sent = int(((moments_s >= start) & (moments_s < start + 0.5)).sum())
        kept = int(((in_time >= start - 1e-6) & (in_time < start + 0.5 - 1e-6)).sum())
        if sent and kept < sent * (1 - OVERRUN):
            return rates[0] + (rates[1] - rates[0]) * float(start) / seconds
    return rates[1]


def bisect_rate(server: TuningServer, choice: Choice, around: float, steps: int, number: int) -> float:
    """Return the highest rate near another one that a choice was shown to hold; 0 where it held none."""
    low, high, held = around * BISECT[0], around * BISECT[1], 0.0
    for step in range(steps):
        rate = (low + high) / 2
        trial = server.measure(choice, rate, number + step)
        if trial.verdict.state == "met":
            held = low = rate
        else:
            high = rate
    return held


def measure_grid(settings: Settings) -> None:
    """Compare tune's choice with the best of the grid."""
    entry = find_tuned_entry(settings.repository, settings.entry)
    request = TuneRequest(settings.entry, settings.repository, settings.load, command="prep tune")
    report = tune(request, progress=lambda text, _share=None: log(text)).report
    if report.best is None:
        raise SystemExit(f"tune found nothing: {report.best_seen}")
    best, began = report.best, time.monotonic()
    rates = (best.rate * RAMP[0], best.rate * RAMP[1])
    points = grid_of(entry, settings.cores)[: settings.points or None]
    with TuningServer(entry, settings.load) as server:
        ranked = []
        for number, choice in enumerate(points, 1):
            ranked.append((ramp_rate(server, choice, rates, settings.ramp_s), choice))
            log(f"{number} of {len(points)}: {choice.describe()}: overrun at {ranked[-1][0]:.0f}/s")
        ranked.sort(key=lambda pair: -pair[0])
        finalists = [choice for _, choice in ranked[: settings.finalists]]
        held = {choice: bisect_rate(server, choice, best.rate, settings.steps, 1000) for choice in finalists}
        grid_best = max(held, key=lambda choice: held[choice])
        minutes = (time.monotonic() - began) / 60
        sides = {"tune": best.choice, "grid": grid_best}
        rounds: dict[str, list[float]] = {side: [] for side in sides}
        for number in range(settings.rounds):
            for side in take_turns(list(sides), number):
                seed = 2000 + 100 * number  # both see the same arrivals
                rounds[side].append(bisect_rate(server, sides[side], best.rate, settings.steps, seed))
                log(f"round {number + 1}, {side}: {rounds[side][-1]:.1f}/s")
    describe(settings, f"{settings.entry}, {settings.load.slo.describe()}, rounds {settings.rounds}, Poisson arrivals")
    table = Table(("side", "<6"), ("choices", "<58"), ("measured", ">9"), ("minutes", ">9.1f"), ("rate/s", ">9.1f"),
                  ("rounds", ">26"))  # fmt: skip
    counts = {
        "tune": str(len(report.measurements)),
        "grid": str(len(points) + settings.steps * len(finalists)),
    }
    for side, took in (("tune", report.seconds / 60), ("grid", minutes)):
        shown = " ".join(f"{rate:.0f}" for rate in rounds[side])
        table.print_row(side, sides[side].describe(), counts[side], took, median(rounds[side]), shown)
    if median(rounds["grid"]):
        print(f"tune / grid: {median(rounds['tune']) / median(rounds['grid']):.3f} ({len(points)} points of the grid)")


def prepare_model(server: TuningServer, choice: Choice, cores: int, seconds: float) -> tuple[Mix, Predictor]:
    """Measure the batch times of a choice's layout, and return the simulation on them."""
    largest = largest_batch(server.entry)
    layout = choice.layout
    mix = server.find_mix(server.timing_choice(layout, largest))
    times = server.time_batches(layout, mix, largest, seconds)
    if layout.instances > 1:
        times = server.time_together(times, mix, largest, seconds)
    return mix, Predictor(mix, [times], server.load.slo, cores=cores, seed=7)


def measure_simulation(settings: Settings) -> None:
    """Compare simulated and measured latencies of the entry as it is served, at five loads."""
    entry = find_tuned_entry(settings.repository, settings.entry)
    choice = choice_from_entry(entry)
    with TuningServer(entry, settings.load) as server:
        _, predictor = prepare_model(server, choice, settings.cores, settings.load.duration_s or 5.0)
        highest = predictor.highest_rate(choice)
        measured: dict[float, list[tuple[float, float]]] = {share: [] for share in LOADS}
        for number in range(settings.rounds):
            for share in take_turns(LOADS, number):
                trial = server.measure(choice, highest * share, 3000 + 10 * number)
                if trial.mean_ms and not trial.ended_early and trial.verdict.state != "not counted":
                    measured[share].append((trial.mean_ms, trial.p99_ms))
                log(f"round {number + 1}, {share:.0%}: {trial.verdict.describe()}")
    describe(
        settings,
        f"{settings.entry} as it is served: {choice.describe()}",
        f"loads of {highest:.0f}/s, the simulated highest rate at {settings.load.slo.describe()}; "
        f"means of {settings.rounds} rounds",
    )
    table = Table(("load", "<6"), ("rate/s", ">9.1f"), ("mean ms", ">10.2f"), ("simulated", ">11.2f"),
                  ("error", ">8.2f"), ("p99 ms", ">10.2f"), ("simulated", ">11.2f"), ("error", ">8.2f"))  # fmt: skip
    for share, rows in measured.items():
        if not rows:
            table.print_row(f"{share:.0%}", highest * share, *["none"] * 6)
            continue
        mean_ms, p99_ms = fmean(row[0] for row in rows), fmean(row[1] for row in rows)
        said = predictor.predict(choice, highest * share, fine=True)
        table.print_row(f"{share:.0%}", highest * share, mean_ms, said.mean_ms, said.mean_ms / mean_ms - 1,
                        p99_ms, said.p99_ms, said.p99_ms / p99_ms - 1)  # fmt: skip


def closed_rate(server: TuningServer, choice: Choice, seconds: float) -> float:
    """Return the requests a second of a closed loop."""
    client = server.serve(choice)
    assert server.workload is not None
    with LoadConnection(client.address, timeout_s=30.0) as sender:
        time_requests(sender, server.workload.requests[:CLIENTS], CLIENTS, 0.5)
    with LoadConnection(client.address, timeout_s=30.0) as sender:
        loop = ClosedLoop(sender, server.workload.requests, CLIENTS)
        began = loop.start()
        time.sleep(seconds)
        count = sum(sample.error is None for sample in loop.samples)
        took = time.perf_counter() - began
        loop.finish()
    return count / took


def measure_padding(settings: Settings) -> None:
    """Compare length buckets with exact lengths, each with the better of its layouts."""
    entry = find_tuned_entry(settings.repository, settings.text_entry)
    size = max(16, entry.model.max_batch_size)
    layouts = [Layout(instances=1, threads=settings.cores), Layout(instances=settings.cores, threads=1)]
    sides = [
        Choice(layout=layout, merges=merges, max_batch=size, padding=padding)
        for layout in layouts
        for padding, merges in (("buckets", True), ("longest", True), ("longest", False))
    ]
    seconds = settings.load.duration_s or 6.0
    rates: dict[Choice, list[float]] = {choice: [] for choice in sides}
    with TuningServer(entry, settings.load) as server:
        mix = server.find_mix(sides[0])
        for number in range(settings.rounds):
            for choice in take_turns(sides, number):
                rates[choice].append(closed_rate(server, choice, seconds))
                log(f"round {number + 1}, {choice.describe()}: {rates[choice][-1]:.1f}/s")
    describe(
        settings,
        f"{settings.text_entry}, {CLIENTS} clients, medians of {settings.rounds} rounds of {seconds:g} s; "
        f"{mix.tokens or 0:.0f} tokens a text, {mix.padded_tokens('buckets'):.0f} in its bucket",
    )
    table = Table(("choices", "<58"), ("texts/s", ">9.1f"), ("tokens/s", ">10.0f"), ("with padding", ">14.0f"),
                  ("lowest", ">9.1f"), ("highest", ">9.1f"))  # fmt: skip
    for choice, seen in rates.items():
        rate = median(seen)
        table.print_row(choice.describe(), rate, rate * (mix.tokens or 0), rate * mix.padded_tokens(choice.padding),
                        min(seen), max(seen))  # fmt: skip


def describe(settings: Settings, *lines: str) -> None:
    """Print the conditions of a table."""
    print()
    versions = describe_versions("prep-triton", "tritonclient", "onnxruntime", "nvidia-pytriton")
    seconds = settings.load.duration_s
    print_conditions(
        *lines, f"measurements of {f'{seconds:g} s' if seconds else 'as long as a verdict takes'}", versions
    )


def settings_from_arguments(arguments: argparse.Namespace) -> Settings:
    """Return the settings of a command line."""
    from prep_triton.bench.machine import read_processor

    texts = Path(arguments.texts) if arguments.texts else None
    inputs = InputChoice(sequence=arguments.seq_len, texts=read_texts(texts), join_texts=texts is None)
    return Settings(
        repository=Path(arguments.repository),
        entry=arguments.entry,
        text_entry=arguments.text_entry,
        load=TuningLoad(inputs, parse_slo(arguments.slo), arguments.duration_s),
        cores=read_processor().cores,
        rounds=arguments.rounds,
        ramp_s=arguments.ramp_s,
        steps=arguments.steps,
        finalists=arguments.finalists,
        points=arguments.points,
    )


def main() -> None:
    """Measure what was asked for, and print a table of each."""
    parser = make_parser(__doc__)
    parts = {"grid": measure_grid, "simulation": measure_simulation, "padding": measure_padding}
    for name in parts:
        parser.add_argument(f"--{name}", action="store_true", help="measure this part alone, or with the others named")
    parser.add_argument("--repository", default="build/model_repository", help="folder of the repository")
    parser.add_argument("--entry", default="minilm-onnx-fp32", help="model entry of --grid and --simulation")
    parser.add_argument("--text-entry", default="minilm-onnx-fp32-text", help="text ensemble of --padding")
    parser.add_argument("--texts", help="file with a text a line; prep's own sentences otherwise")
    parser.add_argument("--slo", default="p99=60ms", help="service level")
    parser.add_argument("--seq-len", type=int, default=64, help="tokens of a row of ids")
    parser.add_argument(
        "--duration-s", type=float, help="seconds of a measurement; as long as a verdict takes otherwise"
    )
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds of what is compared")
    parser.add_argument("--ramp-s", type=float, default=6.0, help="seconds of the rising load of a grid's point")
    parser.add_argument("--steps", type=int, default=6, help="loads of a bisection")
    parser.add_argument("--finalists", type=int, default=6, help="points of the grid that are bisected")
    parser.add_argument("--points", type=int, default=0, help="points of the grid, to try the script; all where 0")
    arguments = parser.parse_args()
    settings = settings_from_arguments(arguments)
    named = [part for name, part in parts.items() if getattr(arguments, name)]
    for part in named or parts.values():
        part(settings)


if __name__ == "__main__":
    main()
