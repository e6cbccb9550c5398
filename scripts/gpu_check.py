"""Build engines for the GPU of this machine, run them on it, and compare and time them.

    .venv/bin/python scripts/gpu_check.py [--builder tensorrt] [--model minilm] [--report build/gpu-check.md]

Takes bert-base (seeded weights) and MiniLM (real weights) through FP16 and INT8 engines. Each engine is
proved by the engine inspector, answers the model's reference rows on the device, and is compared with ONNX
Runtime FP32 on the CPU: the cosine of each row's unpadded output values. Latencies are medians of runs with
inputs and outputs on the device, FP16 and INT8 in turn. Exits 0; 1 where something failed; 3 where this
machine cannot do it, which is no pass.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray
from prep_triton.artifact import Engine, OnnxModel
from prep_triton.engine.build import build_engine
from prep_triton.engine.builders import BuilderName, find_builder_problem, has_nvidia_driver
from prep_triton.engine.execute import measure_latencies_ms, run_engine
from prep_triton.errors import PrepError
from prep_triton.export.onnx import export_model
from prep_triton.gpus import find_present_gpus
from prep_triton.layout import REFERENCE_NAME
from prep_triton.precision.fp16.stage import convert_to_fp16
from prep_triton.precision.int8.stage import quantize_to_int8
from prep_triton.reference import load_reference
from prep_triton.spec import CalibrationSpec, EngineSpec, ModelSpec, Precision, QuantizationSpec
from prep_triton.workspace import Workspace

EXIT_FAILED, EXIT_CANNOT = 1, 3
MODELS = {
    "minilm": ModelSpec(model="minilm", task="feature-extraction"),
    "bert-base": ModelSpec(model="bert-base", weights="random"),
}
SEQ_LENS, BATCH = (128, 384), (1, 8, 16)
SHAPES = ((1, 128), (1, 384), (8, 128))
# The smallest cosine of any row: what FP16 and INT8 must reach on real text.
SMALLEST_COSINE = {"fp16": 0.999, "int8": 0.97}
_CALIBRATION_ROWS = 64

Array = NDArray[Any]


@dataclass(frozen=True)
class Checked:
    """One engine: what it holds, how far it lies from FP32, and how fast it is."""

    engine: Engine
    model: OnnxModel
    mean_cosine: float
    min_cosine: float
    latencies_ms: tuple[float, ...]

    @property
    def failure(self) -> str:
        """Say what is wrong; nothing where it passes. Seeded weights have no meaning that INT8 could keep."""
        expected = SMALLEST_COSINE[self.engine.precision]
        if np.isfinite(self.min_cosine) and (self.min_cosine >= expected or self.model.weights == "random"):
            return ""
        return f"{self.engine.name}: smallest cosine {self.min_cosine:.5f}, expected {expected}"


def find_problem(builder: BuilderName) -> str | None:
    """Say why this machine cannot do the check, or None where it can."""
    if not has_nvidia_driver() or not find_present_gpus():
        return "there is no NVIDIA GPU with a running driver"
    return find_builder_problem(builder)


def check_model(exported: OnnxModel, builder: BuilderName, workspace: Workspace) -> list[Checked]:
    """Build, run, compare and time the engines of one exported model."""
    feed = load_feed(exported)
    expected = run_reference(exported, feed)
    engines = []
    precisions: tuple[Precision, ...] = ("fp16", "int8")
    for precision in precisions:
        spec = EngineSpec(precision=precision, gpu="native", builder=builder, seq_lens=SEQ_LENS, batch=BATCH)
        engines.append(build_engine(convert(exported, precision, workspace), spec, workspace).artifact)
    cosines = [compare_rows(expected, run_engine(engine, [feed])[0], feed["attention_mask"]) for engine in engines]
    latencies = measure_latencies_ms(engines, SHAPES)
    return [
        Checked(engine, exported, float(cosine.mean()), float(cosine.min()), tuple(medians))
        for engine, cosine, medians in zip(engines, cosines, latencies, strict=True)
    ]


def convert(exported: OnnxModel, precision: Precision, workspace: Workspace) -> OnnxModel:
    """Return the graph in a precision."""
    if precision == "fp16":
        return convert_to_fp16(exported, workspace).artifact
    calibration = CalibrationSpec(path=str(write_calibration(exported, workspace)), samples=_CALIBRATION_ROWS)
    spec = QuantizationSpec(calibration=calibration, search=False)
    return quantize_to_int8(exported, spec, workspace).artifact


def write_calibration(exported: OnnxModel, workspace: Workspace) -> Path:
    """Write the reference rows, repeated, as calibration ids: this check is about the device, not about accuracy."""
    feed = load_feed(exported)
    rows = [np.resize(array, (_CALIBRATION_ROWS, array.shape[1])) for array in feed.values()]
    path = workspace.root / "gpu-check" / f"{exported.name}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **dict(zip(feed, rows, strict=True)))
    return path


def load_feed(model: OnnxModel) -> dict[str, Array]:
    """Return the reference inputs of a model, INT64 [rows, sequence], at most a batch of them."""
    names = [tensor.name for tensor in model.model_inputs]
    inputs = load_reference(model.path(REFERENCE_NAME), names, []).inputs
    return {name: inputs[name][: BATCH[-1]] for name in names}


def run_reference(model: OnnxModel, feed: dict[str, Array]) -> dict[str, Array]:
    """Answer a feed with the exported FP32 graph in ONNX Runtime on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(model.path("model.onnx"), providers=["CPUExecutionProvider"])
    names = [tensor.name for tensor in model.model_outputs]
    return dict(zip(names, session.run(names, feed), strict=True))


def compare_rows(expected: dict[str, Array], answered: dict[str, Array], mask: Array) -> Array:
    """Return each row's cosine over its unpadded values of every output, in double precision."""
    cosines = []
    for row, length in enumerate(mask.sum(axis=1)):
        pair = [
            np.concatenate([pick_row(answers[name], row, int(length), mask.shape[1]) for name in expected])
            for answers in (expected, answered)
        ]
        cosines.append(float(pair[0] @ pair[1] / (np.linalg.norm(pair[0]) * np.linalg.norm(pair[1]))))
    return np.array(cosines)


def pick_row(answer: Array, row: int, length: int, sequence: int) -> Array:
    """Return one row of an output [rows, …] as a vector, without padding where it has a sequence axis."""
    values = answer[row]
    has_sequence = values.ndim > 0 and values.shape[0] == sequence
    return np.ravel(values[:length] if has_sequence else values).astype(np.float64)


def render_report(checked: Sequence[Checked], builder: BuilderName) -> str:
    """Write the report, in Markdown."""
    gpus = ", ".join(f"{gpu.name} ({gpu.compute_capability})" for gpu in find_present_gpus()) or "no GPU"
    version = checked[0].engine.builder_version if checked else ""
    header = ["engine", "GEMM FLOPs", "fused attention", "mean cosine", "min cosine"]
    header += [f"{batch}x{sequence} ms" for batch, sequence in SHAPES]
    lines = [
        f"# GPU check: {gpus}, {builder} {version}",
        "",
        f"| {' | '.join(header)} |",
        f"|{'---|' * len(header)}",
        *(f"| {' | '.join(render_row(row))} |" for row in checked),
        "",
        "Cosines: each reference row's unpadded outputs against ONNX Runtime FP32 on the CPU. Latencies: medians,",
        "inputs and outputs on the device, the engines of a model in turn. Run again: `scripts/gpu-check`.",
        *(["", "Failed:", *(f"- {row.failure}" for row in checked if row.failure)] if any_failed(checked) else []),
    ]
    return "\n".join(lines) + "\n"


def render_row(row: Checked) -> list[str]:
    """Return one engine's cells."""
    proof = row.engine.proof
    share = ", ".join(f"{part:.1%} {word}" for word, part in proof.gemm_flops_share.items())
    fused = {None: "unknown", True: "yes", False: "no"}[proof.fused_attention]
    cosines = [f"{row.mean_cosine:.5f}", f"{row.min_cosine:.5f}"]
    return [row.engine.name, f"{share} ({proof.method})", fused, *cosines, *(f"{ms:.3f}" for ms in row.latencies_ms)]


def any_failed(checked: Sequence[Checked]) -> bool:
    """Tell whether an engine is not what it must be."""
    return any(row.failure for row in checked)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Build, run, compare and time engines on the GPU of this machine.")
    parser.add_argument("--builder", choices=get_args(BuilderName), default="tensorrt")
    parser.add_argument("--model", choices=sorted(MODELS), action="append", help="all by default")
    parser.add_argument("--workspace", type=Path, default=Path("build"))
    parser.add_argument("--report", type=Path, default=Path("build/gpu-check.md"))
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    if problem := find_problem(options.builder):
        print(f"gpu-check cannot run here: {problem}. This is not a pass.", file=sys.stderr)
        return EXIT_CANNOT
    workspace = Workspace(options.workspace)
    checked: list[Checked] = []
    try:
        for name in options.model or MODELS:
            checked += check_model(export_model(MODELS[name], workspace).artifact, options.builder, workspace)
    except PrepError as err:
        print(f"error: {err.message}\nhint: {err.hint}", file=sys.stderr)
        return EXIT_FAILED
    report = render_report(checked, options.builder)
    options.report.parent.mkdir(parents=True, exist_ok=True)
    options.report.write_text(report, encoding="utf-8")
    print(report)
    return EXIT_FAILED if any_failed(checked) else 0


if __name__ == "__main__":
    sys.exit(main())
