"""Measure what `prep export` and `prep build-engine` cost over the bare library calls doing the same work.

    .venv/bin/python -m scripts.benchmarks.measure_overhead [--runs 3] [--model bert-base]

Both sides take the model (seeded weights) to an FP32 ONNX file, to FP16, and to a TensorRT-RTX engine for a
T4. The bare side calls torch.onnx.export, onnxruntime's float16 converter and the TensorRT-RTX builder, and
checks nothing; prep's side also checks parity, writes manifests and a reference, and proves the precision.
Runs are interleaved (bare, prep, bare, prep, ...), each step in a process of its own. Memory is the peak of
the summed resident memory of a step's process tree, sampled every 20 ms.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

BARE_EXPORT = """
import sys, torch
from transformers import BertConfig, BertModel, DistilBertConfig, DistilBertModel
torch.manual_seed(0)
is_bert = sys.argv[1] == "bert-base"
kind, config = (BertModel, BertConfig()) if is_bert else (DistilBertModel, DistilBertConfig())
config._attn_implementation = "eager"
model = kind(config).eval()
ids = torch.ones(2, 16, dtype=torch.int64)
inputs = {"input_ids": ids, "attention_mask": ids} | ({"token_type_ids": ids * 0} if is_bert else {})
axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("sequence")}
program = torch.onnx.export(model, (), kwargs=inputs, dynamo=True, opset_version=20, verbose=False,
                            dynamic_shapes={name: axes for name in inputs}, input_names=list(inputs))
program.save(sys.argv[2])
"""

BARE_BUILD = """
import sys, onnx
from onnxruntime.transformers.float16 import convert_float_to_float16
model = convert_float_to_float16(onnx.load(sys.argv[1]), keep_io_types=True)
onnx.save(model, sys.argv[2])
del model
import tensorrt_rtx as trt
logger = trt.Logger(trt.Logger.ERROR)
builder = trt.Builder(logger)
network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
parser = trt.OnnxParser(network, logger)
assert parser.parse_from_file(sys.argv[2]), [parser.get_error(i).desc() for i in range(parser.num_errors)]
config = builder.create_builder_config()
config.num_compute_capabilities = 1
config.set_compute_capability(trt.ComputeCapability.SM75, 0)
profile = builder.create_optimization_profile()
for i in range(network.num_inputs):
    profile.set_shape(network.get_input(i).name, (1, 16), (8, 128), (16, 384))
config.add_optimization_profile(profile)
engine = builder.build_serialized_network(network, config)
with open(sys.argv[3], "wb") as stream:
    stream.write(engine)
"""


def measure(command: list[str], cwd: Path) -> tuple[float, float]:
    """Run a command; return its wall seconds and the peak memory of its process tree in MiB."""
    began = time.monotonic()
    child = psutil.Popen(command, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    peak = 0
    while child.poll() is None:
        peak = max(peak, sum_resident(child))
        time.sleep(0.02)
    seconds = time.monotonic() - began
    if child.returncode:
        sys.exit(f"{' '.join(command[:3])} failed:\n{child.stderr.read().decode()[-2000:]}")
    return seconds, peak / 2**20


def sum_resident(process: psutil.Process) -> int:
    """Return the resident bytes of a process and of everything below it."""
    total = 0
    try:
        for one in [process, *process.children(recursive=True)]:
            total += one.memory_info().rss
    except psutil.NoSuchProcess:
        pass
    return total


def run_bare(model: str, folder: Path) -> dict[str, tuple[float, float]]:
    """Take a model to an engine with the libraries alone."""
    python = sys.executable
    return {
        "export": measure([python, "-c", BARE_EXPORT, model, "model.onnx"], folder),
        "build-engine": measure([python, "-c", BARE_BUILD, "model.onnx", "fp16.onnx", "model.engine"], folder),
    }


def run_prep(model: str, folder: Path) -> dict[str, tuple[float, float]]:
    """Take a model to an engine with prep."""
    prep = str(Path(sys.executable).with_name("prep"))
    return {
        "export": measure([prep, "export", model, "--weights", "random", "--task", "feature-extraction"], folder),
        "build-engine": measure(
            [prep, "build-engine", model, "--fp16", "--gpu", "t4", "--builder", "tensorrt-rtx"], folder
        ),
    }


def main() -> None:
    """Measure and print the table."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--runs", type=int, default=3, help="interleaved runs of each side")
    arguments.add_argument("--model", default="bert-base", choices=["bert-base", "distilbert"])
    chosen = arguments.parse_args()
    results: dict[str, list[dict[str, tuple[float, float]]]] = {"bare": [], "prep": []}
    for number in range(chosen.runs):
        for side, run in (("bare", run_bare), ("prep", run_prep)):
            with tempfile.TemporaryDirectory(prefix="prep-overhead-") as folder:
                results[side].append(run(chosen.model, Path(folder)))
            print(f"run {number + 1} of {chosen.runs}, {side}: done", file=sys.stderr)
    print(f"{chosen.model}, seeded weights, {platform.machine()}, {os.cpu_count()} CPUs, medians of {chosen.runs} runs")
    print(f"{'step':<14}{'bare s':>9}{'prep s':>9}{'ratio':>8}{'bare MiB':>11}{'prep MiB':>10}{'ratio':>8}")
    totals = {"bare": 0.0, "prep": 0.0}
    peaks = {"bare": 0.0, "prep": 0.0}
    for step in ("export", "build-engine"):
        seconds = {side: statistics.median(one[step][0] for one in runs) for side, runs in results.items()}
        memory = {side: statistics.median(one[step][1] for one in runs) for side, runs in results.items()}
        print_row(step, seconds, memory)
        for side in totals:
            totals[side] += seconds[side]
            peaks[side] = max(peaks[side], memory[side])
    print_row("both", totals, peaks)


def print_row(step: str, seconds: dict[str, float], memory: dict[str, float]) -> None:
    """Print one row of the table."""
    print(
        f"{step:<14}{seconds['bare']:>9.1f}{seconds['prep']:>9.1f}{seconds['prep'] / seconds['bare']:>8.2f}"
        f"{memory['bare']:>11.0f}{memory['prep']:>10.0f}{memory['prep'] / memory['bare']:>8.2f}"
    )


if __name__ == "__main__":
    main()
