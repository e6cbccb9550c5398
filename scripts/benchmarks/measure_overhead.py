"""Measure what `prep export` and `prep build-engine` cost over the bare library calls doing the same work.

    .venv/bin/python -m scripts.benchmarks.measure_overhead [--runs 3] [--model bert-base]

Both sides take the model (seeded weights) to an FP32 ONNX file, to FP16, and to a TensorRT-RTX engine for a
T4. The bare side calls torch.onnx.export, onnxruntime's float16 converter and the TensorRT-RTX builder, and
checks nothing; prep's side also checks parity, writes manifests and a reference, and proves the precision.
Runs are interleaved (bare, prep, bare, prep, ...), each step in a process of its own. Memory is the peak of
the summed resident memory of a step's process tree, sampled every 20 ms.
"""

import sys
import tempfile
from pathlib import Path

from scripts.benchmarks.common import PREP, Cost, Table, log, make_parser, print_conditions, run_measured, summarize

STEPS = ("export", "build-engine")

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


def run_bare(model: str, folder: Path) -> dict[str, Cost]:
    """Take a model to an engine with the libraries alone."""
    python = sys.executable
    return {
        "export": run_measured([python, "-c", BARE_EXPORT, model, "model.onnx"], folder),
        "build-engine": run_measured([python, "-c", BARE_BUILD, "model.onnx", "fp16.onnx", "model.engine"], folder),
    }


def run_prep(model: str, folder: Path) -> dict[str, Cost]:
    """Take a model to an engine with prep."""
    export = [PREP, "export", model, "--weights", "random", "--task", "feature-extraction"]
    build = [PREP, "build-engine", model, "--fp16", "--gpu", "t4", "--builder", "tensorrt-rtx"]
    return {"export": run_measured(export, folder), "build-engine": run_measured(build, folder)}


SIDES = {"bare": run_bare, "prep": run_prep}


def main() -> None:
    """Measure and print the table."""
    parser = make_parser(__doc__)
    parser.add_argument("--runs", type=int, default=3, help="interleaved runs of each side")
    parser.add_argument("--model", default="bert-base", choices=["bert-base", "distilbert"])
    arguments = parser.parse_args()
    runs: dict[str, list[dict[str, Cost]]] = {side: [] for side in SIDES}
    for number in range(arguments.runs):
        for side, run in SIDES.items():
            with tempfile.TemporaryDirectory(prefix="prep-overhead-") as folder:
                runs[side].append(run(arguments.model, Path(folder)))
            log(f"run {number + 1} of {arguments.runs}, {side}: done")
    print_conditions(f"{arguments.model}, seeded weights, medians of {arguments.runs} runs")
    print_table(runs)


def print_table(runs: dict[str, list[dict[str, Cost]]]) -> None:
    """Print a row for each step, and one for both: their time together and the higher peak."""
    table = Table(("step", "<14"), ("bare s", ">9.1f"), ("prep s", ">9.1f"), ("ratio", ">8.2f"),
                  ("bare MiB", ">11.0f"), ("prep MiB", ">10.0f"), ("ratio", ">8.2f"))  # fmt: skip
    medians = {
        side: {
            step: Cost(
                summarize([costs[step].seconds for costs in of_side]).median,
                summarize([costs[step].peak_mib for costs in of_side]).median,
            )
            for step in STEPS
        }
        for side, of_side in runs.items()
    }
    rows = {step: {side: costs[step] for side, costs in medians.items()} for step in STEPS}
    rows["both"] = {side: add_costs(list(costs.values())) for side, costs in medians.items()}
    for step, row in rows.items():
        bare, prep = row["bare"], row["prep"]
        table.print_row(step, bare.seconds, prep.seconds, prep.seconds / bare.seconds,
                        bare.peak_mib, prep.peak_mib, prep.peak_mib / bare.peak_mib)  # fmt: skip


def add_costs(costs: list[Cost]) -> Cost:
    """Return the cost of steps one after the other."""
    return Cost(sum(cost.seconds for cost in costs), max(cost.peak_mib for cost in costs))


if __name__ == "__main__":
    main()
