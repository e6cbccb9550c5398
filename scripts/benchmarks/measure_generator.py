"""Measure prep's load generator against NVIDIA's perf_analyzer, and how much it can send.

    .venv/bin/python -m scripts.benchmarks.measure_generator [--rounds 5] [--window-s 2] [--only compare]

- compare: both generators send the same requests to the same server, in turns: a round has both at each concurrency,
  neither always first. perf_analyzer measures three windows, prep as long as those together; of `identity`, whose
  latency is a hundredth, a quarter of that. Ratios are medians of the rounds' own. `minilm` is MiniLM (real weights,
  ONNX Runtime on the CPU) with rows of 64 ids; `identity` answers from Triton's response cache, which leaves little but
  what the generators and gRPC themselves take.
- rates: the highest rate of Poisson arrivals that one and two processes of prep send to `identity` before a point is
  marked "not sustained by the generator"; a rate that was sustained in one of two tries counts.

The perf_analyzer is that of PREP_PERF_ANALYZER or of PATH, else that of the wheel tritonclient 2.45.0, which gets an
environment of its own (build/analyzer-venv) on the first run. Server and generators share the cores of this machine.
With the defaults it takes six minutes, on a busy machine up to three more.
"""

import argparse
import os
import shutil
import subprocess
import tempfile
import venv
from collections import defaultdict
from collections.abc import Sequence
from importlib.metadata import files
from pathlib import Path

from prep_triton.bench.analyzer import ANALYZER_VARIABLE, Analyzer, find_analyzer, run_analyzer, write_inputs
from prep_triton.bench.intervals import percentile
from prep_triton.bench.measure import Plan, Tools, measure_repeat
from prep_triton.bench.points import is_sustained
from prep_triton.bench.records import Load
from prep_triton.bench.requests import EntryFacts, InputChoice, Workload, make_workload
from prep_triton.bench.sending_processes import SendingProcesses
from prep_triton.errors import GeneratorError
from prep_triton.export.onnx import export_model
from prep_triton.spec import ModelSpec, ServingSpec
from prep_triton.triton.server.client import TritonClient
from prep_triton.triton.server.load import read_served_model
from prep_triton.triton.server.process import run_triton
from prep_triton.workspace import Workspace

from scripts.benchmarks.common import (
    Table,
    describe_versions,
    log,
    make_parser,
    print_conditions,
    summarize,
    take_turns,
    wait_for_idle,
)
from scripts.benchmarks.serving_configs import assemble_entry

CONCURRENCIES = (1, 4, 16)
LENGTHS = {"minilm": 64, "identity": 16}
WINDOW_SHARES = {"minilm": 1.0, "identity": 0.25}
WARMUP_S, TIMEOUT_S, WINDOWS = 0.5, 60.0, 3
PEER_PACKAGES = ("tritonclient==2.45.0", "nvidia-cuda-runtime-cu12==12.9.79")
FIRST_RATE, MOST_RATE, STEP, BISECTIONS, TRIES = 250.0, 64_000.0, 2.0, 4, 2
RATE_S = 1.5
CACHE = "--cache-config=local,size=16777216"

IDENTITY_CONFIG = """
name: "identity"
backend: "python"
max_batch_size: 8
input [ { name: "input_ids" data_type: TYPE_INT64 dims: [ -1 ] } ]
output [ { name: "ids" data_type: TYPE_INT64 dims: [ -1 ] } ]
response_cache { enable: true }
"""
IDENTITY_MODEL = """
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        ids = [pb_utils.get_input_tensor_by_name(request, "input_ids").as_numpy() for request in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("ids", array)]) for array in ids]
"""


def main() -> None:
    """Serve both entries, measure, and print the tables."""
    parser = make_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rounds of the comparison")
    parser.add_argument("--window-s", type=float, default=2.0, help="seconds of a window of perf_analyzer")
    parser.add_argument("--only", choices=("compare", "rates"), help="measure one part alone")
    parser.add_argument("--entries", nargs="+", choices=tuple(LENGTHS), default=list(LENGTHS), help="of the comparison")
    parser.add_argument(
        "--folder", type=Path, default=Path("build"), help="holds the exported MiniLM and analyzer-venv"
    )
    arguments = parser.parse_args()
    analyzer = None if arguments.only == "rates" else ensure_analyzer((arguments.folder / "analyzer-venv").absolute())
    print_conditions(
        describe_versions("tritonclient", "grpcio", "numpy"),
        f"perf_analyzer {analyzer.version}" if analyzer else "without perf_analyzer",
    )
    with tempfile.TemporaryDirectory(prefix="measure-generator-") as folder:
        write_identity(Path(folder) / "identity")
        if arguments.only != "rates" and "minilm" in arguments.entries:
            model = export_model(
                ModelSpec(model="minilm", task="feature-extraction"), Workspace(arguments.folder)
            ).artifact
            assemble_entry(model, [], ServingSpec(), Path(folder), name="minilm")
        with (
            run_triton(folder, arguments=[CACHE]) as server,
            TritonClient(server.grpc_url, timeout_s=TIMEOUT_S) as client,
        ):
            server.check_loaded()
            print(f"Triton {server.version} ({server.flavour})", flush=True)
            if analyzer:
                print_comparison(client, analyzer, arguments)
            if arguments.only != "compare":
                print_rates(client)


def ensure_analyzer(folder: Path) -> Analyzer:
    """Return the perf_analyzer of this machine, or that of an environment which is made on the first run."""
    if not (os.environ.get(ANALYZER_VARIABLE) or shutil.which("perf_analyzer")):
        launcher = folder / "perf_analyzer"
        if not launcher.is_file():
            log(f"making perf_analyzer's environment in {folder}: pip install {' '.join(PEER_PACKAGES)}")
            venv.create(folder, with_pip=True, clear=True)
            subprocess.run([folder / "bin/pip", "install", "--quiet", "--no-deps", *PEER_PACKAGES], check=True)
            (cuda,) = folder.glob("lib/python3*/site-packages/nvidia/cuda_runtime/lib")
            (folder / "libb64.so.0d").symlink_to(find_libb64())
            paths = f"{cuda}:{folder}"
            launcher.write_text(
                f'#!/bin/sh\nLD_LIBRARY_PATH={paths} exec {folder}/bin/perf_analyzer "$@"\n', encoding="utf-8"
            )
            launcher.chmod(0o755)
        os.environ[ANALYZER_VARIABLE] = str(launcher)
    return find_analyzer()


def find_libb64() -> Path:
    """Return the library that perf_analyzer needs and a system rarely has: the Triton of the wheel brings it."""
    return next(Path(path.locate()) for path in files("nvidia-pytriton") or () if "libb64" in path.name)


def write_identity(folder: Path) -> None:
    """Write a model that answers what it is sent."""
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(IDENTITY_CONFIG, encoding="utf-8")
    (folder / "1" / "model.py").write_text(IDENTITY_MODEL, encoding="utf-8")


def read_workload(client: TritonClient, name: str) -> Workload:
    """Make the requests of an entry, one row each."""
    return make_workload(
        read_served_model(client, name), EntryFacts(vocabulary=30_000), InputChoice(sequence=LENGTHS[name])
    )


def print_comparison(client: TritonClient, analyzer: Analyzer, arguments: argparse.Namespace) -> None:
    """Have both generators load both entries in turns, and print a row for each entry and concurrency."""
    seconds = WINDOWS * arguments.window_s
    print(f"\nmedians (lowest..highest) of {arguments.rounds} rounds of {seconds:g} s; ratios prep / perf_analyzer")
    table = Table(
        ("entry", "<9"),
        ("load", ">5"),
        ("prep/s", ">27"),
        ("analyzer/s", ">27"),
        ("ratio", ">22"),
        ("prep p50 ms", ">26"),
        ("analyzer p50 ms", ">26"),
        ("ratio", ">22"),
        ("rounds", ">8"),
    )
    for name in arguments.entries:
        workload, window_s = read_workload(client, name), arguments.window_s * WINDOW_SHARES[name]
        measured = compare_rounds(client, analyzer, workload, window_s, arguments.rounds)
        for concurrency in CONCURRENCIES:
            pairs = measured[concurrency]
            if not pairs:
                table.print_row(name, str(concurrency), *["-"] * 6, "0")
                continue
            cells = []
            for index, digits in ((0, 1), (1, 2)):  # rates, then medians
                ours, theirs = ([pair[side][index] for pair in pairs] for side in ("prep", "analyzer"))
                ratios = [own / other for own, other in zip(ours, theirs, strict=True)]
                cells += [format_spread(ours, digits), format_spread(theirs, digits), format_spread(ratios, 3)]
            table.print_row(name, str(concurrency), *cells, str(len(pairs)))


def compare_rounds(
    client: TritonClient, analyzer: Analyzer, workload: Workload, window_s: float, rounds: int
) -> dict[int, list[dict[str, tuple[float, float]]]]:
    """Return of each round, by concurrency, both sides' requests a second and median latency in ms.

    A round in which perf_analyzer reports nothing, as where no request fits into its window, is left out.
    """
    measured: dict[int, list[dict[str, tuple[float, float]]]] = defaultdict(list)
    plan = Plan((), 1, WARMUP_S, WINDOWS * window_s, 0, TIMEOUT_S)
    with tempfile.TemporaryDirectory() as folder:
        inputs_path = Path(folder) / "inputs.json"
        write_inputs(workload, inputs_path)

        def measure_ours(load: Load) -> tuple[float, float]:
            window = measure_repeat(client, workload, load, plan, 0).window
            return window.completed_s.size / window.seconds, percentile(window.latency_s, 50.0) * 1000

        def measure_theirs(load: Load) -> tuple[float, float]:
            place, limits = (client.address, inputs_path), (window_s, TIMEOUT_S)
            figures = run_analyzer(analyzer, workload, load, place, limits)
            return figures.inferences_per_s, figures.latency_us[50] / 1000

        sides = [("prep", measure_ours), ("analyzer", measure_theirs)]
        for number in range(rounds):
            for concurrency in take_turns(CONCURRENCIES, number):
                pair = {}
                for side, measure in take_turns(sides, number):  # neither side is always the first
                    wait_for_idle()
                    try:
                        pair[side] = measure(Load(kind="closed", value=concurrency))
                    except GeneratorError as err:
                        log(f"round {number + 1} left out: {err.message}")
                if len(pair) == len(sides):
                    measured[concurrency].append(pair)
                    said = ", ".join(f"{side} {rate:.1f}/s {p50:.2f} ms" for side, (rate, p50) in pair.items())
                    log(f"{workload.model.name}, concurrency {concurrency}, round {number + 1}: {said}")
    return measured


def format_spread(values: Sequence[float], digits: int) -> str:
    """Render a median with the extremes."""
    spread = summarize(values)
    return f"{spread.median:.{digits}f} ({spread.lowest:.{digits}f}..{spread.highest:.{digits}f})"


def print_rates(client: TritonClient) -> None:
    """Search the highest rate that one and two processes sustain, and print it."""
    workload = read_workload(client, "identity")
    print(f"\nidentity, Poisson arrivals, {RATE_S:g} s a try: the highest rate that the generator sustains")
    table = Table(("processes", ">9"), ("sustained/s", ">12.0f"), ("p50 ms", ">8.2f"), ("not sustained/s", ">16.0f"))
    for count in (1, 2):
        with SendingProcesses(count) as processes:
            tools = Tools(processes=processes if count > 1 else None)
            sustained, p50_ms, refused = search_rate(client, workload, tools)
        table.print_row(str(count), sustained, p50_ms, refused)


def search_rate(client: TritonClient, workload: Workload, tools: Tools) -> tuple[float, float, float]:
    """Return the highest rate that was sustained with its median latency in ms, and the lowest that was not."""
    sustained, p50_ms, refused = 0.0, 0.0, 0.0
    rate, left = FIRST_RATE, BISECTIONS
    while left and rate <= MOST_RATE:
        latency_ms = try_rate(client, workload, tools, rate)
        if latency_ms is None:
            refused = rate
        else:
            sustained, p50_ms = rate, latency_ms
        if refused:
            rate, left = (sustained + refused) / 2, left - 1
        else:
            rate *= STEP
    return sustained, p50_ms, refused


def try_rate(client: TritonClient, workload: Workload, tools: Tools, rate: float) -> float | None:
    """Return the median latency in ms where a try is sustained; None where none is."""
    plan = Plan((), 1, WARMUP_S, RATE_S, 0, TIMEOUT_S)
    for number in range(TRIES):
        wait_for_idle()
        load = Load(kind="open", value=rate, arrivals="poisson")
        window = measure_repeat(client, workload, load, plan, number, tools).window
        is_kept = is_sustained(window.lateness_s, window.latency_s, window.unsent)
        late_ms = percentile(window.lateness_s, 95.0) * 1000
        said = "sustained" if is_kept else "not sustained"
        log(f"{rate:.0f}/s: {said}, unsent {window.unsent}, 5 % at least {late_ms:.1f} ms late")
        if is_kept:
            return percentile(window.latency_s, 50.0) * 1000
    return None


if __name__ == "__main__":
    os.environ["HF_HUB_OFFLINE"] = "1"  # everything is on this machine
    main()
