"""Measure whether tier 1 keeps its throughput and latency in bursts, on the real server, with and without tiers.

    .venv/bin/python -m scripts.benchmarks.measure_tiers [--seconds 10] [--rounds 3] [--workspace build]

Two entries, tier-1 and tier-2, serve the same MiniLM (real weights, ONNX Runtime on the CPU, batches of up to 16) on
one Triton. Requests are rows of 32 ids, sent open-loop: they arrive as a Poisson process (seeded, the same arrivals in
every case of a round), whatever the server does; beyond 128 unanswered requests of an entry, as a gateway would, new
ones are turned away. Load is given as a share of the capacity, which is what tier-1 answers alone when flooded.

    burst 1: both together within the capacity     tier-1 40 %, tier-2 30 %
    burst 2: tier 1 bursts beyond it               tier-1 150 %, tier-2 30 %
    burst 3: tier 2 bursts beyond it               tier-1 40 %, tier-2 300 %

Three cases for each burst: tier-1 alone with the same arrivals; both without tiers (the same configurations, no rate
limiter); both with tiers (`prep_triton.triton.config.tiers`). The two servers run side by side and the cases take
turns; a round in which other programs took much of the cores is tried again, twice at most; figures are medians over
the rounds.
"kept" is tier-1's throughput over that of its round's alone case, "load" what this process, which sends the requests,
took of one core, "others" what other programs took of all. Latencies are of answers that came within the phase.
"""

import argparse
import contextlib
import itertools
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import grpc
import numpy as np
import psutil
from prep_triton.artifact import OnnxModel
from prep_triton.spec import ServingSpec, Tier
from prep_triton.triton.config import tiers
from prep_triton.triton.config.server_arguments import RATE_LIMIT
from prep_triton.triton.entries.write import preview_entry
from prep_triton.triton.server.process import RunningTriton, run_triton
from prep_triton.workspace import Workspace
from tritonclient.grpc import service_pb2

from scripts.benchmarks.common import (
    PREP,
    Table,
    describe_versions,
    log,
    make_parser,
    print_conditions,
    take_turns,
    wait_for_idle,
)

BURSTS = {"1": (0.4, 0.3), "2": (1.5, 0.3), "3": (0.4, 3.0)}  # tier-1 and tier-2, shares of the capacity
TIERS: tuple[Tier, ...] = (1, 2)
CASES = ("alone", "without tiers", "with tiers")
MOST_UNANSWERED, SEQUENCE, DEADLINE_S = 128, 32, 120.0
CAPACITY_RUNS, CAPACITY_S, FLOOD = 3, 4.0, (2000.0,)
ATTEMPTS, DISTURBED_SHARE = 3, 0.15  # of all cores, taken by other programs


def entry_config(model: OnnxModel, tier: Tier, *, is_tiered: bool) -> str:
    """Return one entry's config.pbtxt: what `prep assemble` writes, with its tier or without."""
    serving = ServingSpec(tier=tier) if is_tiered else ServingSpec()
    return preview_entry(model, [], serving, name=f"tier-{tier}")[1]


class Sender:
    """Sends one entry's requests and keeps when each was answered: [(second, latency in ms)]."""

    def __init__(self, address: str, entry: str) -> None:
        """Open a connection of its own; the request is written once."""
        self.entry, self.unanswered, self.lock = entry, 0, threading.Lock()
        self.answered: list[tuple[float, float]] = []
        self.errors: list[str] = []
        self.channel = grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)])
        self.call = self.channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        self.request = render_request(entry)

    def send(self) -> None:
        """Send one request, unless too many are unanswered."""
        with self.lock:
            if self.unanswered >= MOST_UNANSWERED:
                return
            self.unanswered += 1
        began = time.perf_counter()
        self.call.future(self.request, timeout=DEADLINE_S).add_done_callback(lambda sent: self.keep(sent, began))

    def keep(self, sent: Any, began: float) -> None:
        """Keep an answer's time; runs in a thread of gRPC."""
        ended = time.perf_counter()
        with self.lock:
            self.unanswered -= 1
            self.answered.append((ended, (ended - began) * 1e3))
            if sent.code() is not grpc.StatusCode.OK:
                self.errors.append(f"{sent.code().name}: {sent.details()}")


def render_request(entry: str) -> bytes:
    """Return a serialised request of one row of seeded ids."""
    request = service_pb2.ModelInferRequest(model_name=entry)
    rows = (np.random.default_rng(0).integers(1000, 30000, SEQUENCE), np.ones(SEQUENCE), np.zeros(SEQUENCE))
    for name, row in zip(("input_ids", "attention_mask", "token_type_ids"), rows, strict=True):
        request.inputs.add(name=name, datatype="INT64", shape=[1, SEQUENCE])
        request.raw_input_contents.append(row.astype(np.int64).tobytes())
    request.outputs.add(name="last_hidden_state")
    return bytes(request.SerializeToString())


@dataclass(frozen=True)
class Phase:
    """What one phase gave: answers a second of each tier, tier-1's latencies, and who took the cores."""

    rates: tuple[float, ...]
    p50_ms: float
    p99_ms: float
    load_share: float
    others_share: float


Measured = tuple[Phase, float]  # the phase, and what tier 1 kept of its throughput alone in the same round


def run_phase(server: RunningTriton, per_s: Sequence[float], seconds: float, seed: int) -> Phase:
    """Send Poisson arrivals at a rate for each tier, and wait for the answers that are still missing."""
    wait_for_idle()
    senders = [Sender(server.grpc_url, f"tier-{tier}") for tier in TIERS[: len(per_s)]]
    busy, own, load = read_clocks()
    began = time.perf_counter()
    for at, index in draw_arrivals(per_s, seconds, seed):
        time.sleep(max(0.0, began + at - time.perf_counter()))
        senders[index].send()
    time.sleep(max(0.0, began + seconds - time.perf_counter()))
    ended = time.perf_counter()
    elapsed, clocks = ended - began, read_clocks()
    for sender in senders:
        while sender.unanswered:
            time.sleep(0.02)
        sender.channel.close()
        if sender.errors:
            sys.exit(f"{sender.entry} failed {len(sender.errors)} requests, the first with {sender.errors[0]}")
    in_time = [[ms for at, ms in sender.answered if at <= ended] for sender in senders]
    p50, p99 = map(float, np.percentile(in_time[0] or [np.nan], (50, 99)))
    others = max(0.0, (clocks[0] - busy) - (clocks[1] - own)) / elapsed / (os.cpu_count() or 1)
    return Phase(tuple(len(answered) / elapsed for answered in in_time), p50, p99, (clocks[2] - load) / elapsed, others)


def draw_arrivals(per_s: Sequence[float], seconds: float, seed: int) -> list[tuple[float, int]]:
    """Return [(second, tier's index)] in order; a tier's arrivals do not depend on the other's."""
    arrivals = []
    for index, rate in enumerate(per_s):
        drawn, at = random.Random(f"{seed}-{index}"), 0.0
        while (at := at + drawn.expovariate(rate)) < seconds:
            arrivals.append((at, index))
    return sorted(arrivals)


def read_clocks() -> tuple[float, float, float]:
    """Return seconds of processor time: of all programs, of this one with its servers, of this one alone."""
    times, own = psutil.cpu_times(), time.process_time()
    servers = sum(sum(child.cpu_times()[:2]) for child in psutil.Process().children(recursive=True))
    return sum(times) - times.idle - times.iowait, own + servers, own


def find_model(folder: Path) -> OnnxModel:
    """Return the exported MiniLM; exporting it again takes no time where nothing changed."""
    subprocess.run([PREP, "export", "minilm", "--workspace", str(folder)], check=True, capture_output=True)
    model = Workspace(folder).current("export", "minilm", OnnxModel)
    assert model is not None
    return model


@contextlib.contextmanager
def run_servers(model: OnnxModel, folder: Path) -> Iterator[dict[str, RunningTriton]]:
    """Start a server without tiers and one with them."""
    servers = {}
    with contextlib.ExitStack() as stack:
        for case, is_tiered in zip(CASES[1:], (False, True), strict=True):
            repository = folder / case.replace(" ", "-")  # the Python backend cannot load from a path with a space
            for tier in TIERS:
                entry_dir = repository / f"tier-{tier}"
                (entry_dir / "1").mkdir(parents=True)
                (entry_dir / "1" / "model.onnx").symlink_to(model.path("model.onnx").absolute())
                (entry_dir / "config.pbtxt").write_text(entry_config(model, tier, is_tiered=is_tiered))
            arguments = (RATE_LIMIT,) if is_tiered else ()
            servers[case] = stack.enter_context(run_triton(str(repository), arguments=arguments))
            servers[case].check_loaded()
        yield servers | {"alone": servers["without tiers"]}


def measure_bursts(
    servers: dict[str, RunningTriton], capacity: float, arguments: argparse.Namespace
) -> dict[tuple[str, str], list[Measured]]:
    """Return the phases of each burst and case, one a round; a disturbed round is tried again."""
    measured = defaultdict(list)
    for number in range(arguments.rounds):
        for burst, shares in BURSTS.items():
            for attempt in range(ATTEMPTS):
                log(f"round {number + 1} of {arguments.rounds}, burst {burst}, attempt {attempt + 1}")
                phases = {}
                for case in take_turns(CASES, number):
                    per_s = [share * capacity for share in (shares[:1] if case == "alone" else shares)]
                    phases[case] = run_phase(servers[case], per_s, arguments.seconds, arguments.seed + number)
                if max(phase.others_share for phase in phases.values()) < DISTURBED_SHARE:
                    break
            for case, phase in phases.items():
                measured[burst, case].append((phase, phase.rates[0] / phases["alone"].rates[0]))
    return measured


def print_rows(measured: dict[tuple[str, str], list[Measured]]) -> None:
    """Print a row for each burst and case, of medians over the rounds."""
    print()
    table = Table(
        ("burst", "<6"), ("case", "<15"), ("tier-1/s", ">9.1f"), ("kept", ">9.0%"), ("p50 ms", ">9.0f"),
        ("p99 ms", ">9.0f"), ("tier-2/s", ">9.1f"), ("load", ">9.0%"), ("others", ">9.0%"),
        ("  p99 of each round", "<1"),
    )  # fmt: skip
    for burst, case in itertools.product(BURSTS, CASES):
        rounds = measured[burst, case]
        phases = [phase for phase, _ in rounds]
        table.print_row(
            burst,
            case,
            median(phase.rates[0] for phase in phases),
            median(kept for _, kept in rounds),
            median(phase.p50_ms for phase in phases),
            median(phase.p99_ms for phase in phases),
            "" if case == "alone" else median(phase.rates[1] for phase in phases),
            median(phase.load_share for phase in phases),
            median(phase.others_share for phase in phases),
            "  " + " ".join(f"{phase.p99_ms:.0f}" for phase in phases),
        )


def describe_run(server: RunningTriton, capacity: float, arguments: argparse.Namespace) -> list[str]:
    """Return the versions, the load and what the tiers are made of, a line for each."""
    weights = " and ".join(str(tiers.rate_limiter_weight(tier)) for tier in TIERS)
    return [
        f"Triton {server.version} ({server.flavour}), {describe_versions('onnxruntime')}",
        f"seed {arguments.seed}, {arguments.rounds} rounds of {arguments.seconds:g} s, capacity {capacity:.0f}/s",
        f"with tiers: weights {weights}, {RATE_LIMIT}",
    ]


def main() -> None:
    """Start both servers, measure, and print the table."""
    parser = make_parser(__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each phase")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workspace", type=Path, default=Path("build"), help="holds the exported MiniLM")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, run_servers(find_model(arguments.workspace), Path(folder)) as servers:
        for server in servers.values():
            run_phase(server, (50.0, 50.0), 2.0, arguments.seed)  # warms it
        capacity = median(run_phase(servers["alone"], FLOOD, CAPACITY_S, run).rates[0] for run in range(CAPACITY_RUNS))
        print_conditions(*describe_run(servers["alone"], capacity, arguments))
        print_rows(measure_bursts(servers, capacity, arguments))


if __name__ == "__main__":
    main()
