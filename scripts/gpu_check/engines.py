"""From a checkpoint to engines that were run: each proved by the inspector, compared with FP32, and timed.

Cosines are of each reference row's unpadded outputs against ONNX Runtime FP32 on the CPU. Latencies are medians of runs
with inputs and outputs on the device, the engines of a model in turn.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prep_triton.artifact import Engine, OnnxModel
from prep_triton.engine.build import build_engine
from prep_triton.engine.execute import measure_latencies_ms, run_engine
from prep_triton.export.onnx import export_model
from prep_triton.layout import GRAPH_NAME, REFERENCE_NAME
from prep_triton.reference import load_reference
from prep_triton.run.conversion import put_in_precision
from prep_triton.spec import CalibrationSpec, ConversionSpec, EngineSpec, GateSpec, Precision, QuantizationSpec
from prep_triton.workspace import Workspace

from scripts.gpu_check.request import BATCH, Request

PRECISIONS: tuple[Precision, ...] = ("fp16", "int8")
# The smallest cosine of any row: what FP16 and INT8 must reach on real text.
SMALLEST_COSINE = {"fp16": 0.999, "int8": 0.97}
# Of seeded weights too: lower than what `prep` asks for by itself.
INT8_GATE = 0.95
CALIBRATION_PATH = Path(__file__).parents[2] / "configs" / "calibration-sentences.txt"
CALIBRATION_SAMPLES = 64

Array = NDArray[Any]


@dataclass(frozen=True)
class Checked:
    """One engine: what it holds, how far it lies from FP32, and how fast it is; None where it was not executed."""

    engine: Engine
    model: OnnxModel
    mean_cosine: float | None = None
    min_cosine: float | None = None
    latencies_ms: tuple[float, ...] = ()

    @property
    def failure(self) -> str:
        """Say what is wrong; nothing where it passes. Seeded weights have no meaning that INT8 could keep."""
        if self.min_cosine is None:
            return ""
        expected = SMALLEST_COSINE[self.engine.precision]
        if np.isfinite(self.min_cosine) and (self.min_cosine >= expected or self.model.weights == "random"):
            return ""
        return f"{self.engine.name}: smallest cosine {self.min_cosine:.5f}, expected {expected}"


def export_models(request: Request, workspace: Workspace) -> dict[str, OnnxModel]:
    """Export every model, by the name that it was asked for by."""
    return {name: export_model(request.spec_of(name), workspace).artifact for name in request.models}


def convert_models(exported: OnnxModel, workspace: Workspace) -> dict[Precision, OnnxModel]:
    """Return a model's graphs, by their precision."""
    return {precision: convert(exported, precision, workspace) for precision in PRECISIONS}


def build_engines(graphs: dict[Precision, OnnxModel], request: Request, workspace: Workspace) -> list[Engine]:
    """Build an engine of each of a model's graphs."""
    shapes = {"seq_lens": request.seq_lens, "batch": BATCH}
    return [
        build_engine(
            graph,
            EngineSpec.model_validate(
                {"precision": precision, "gpu": request.gpu, "builder": request.builder, **shapes}
            ),
            workspace,
        ).artifact
        for precision, graph in graphs.items()
    ]


def compare_engines(exported: OnnxModel, engines: Sequence[Engine]) -> list[Checked]:
    """Run a model's engines on its reference rows, and compare what they answer with FP32."""
    feed = load_feed(exported)
    return compare_answers(exported, engines, feed, [run_engine(engine, [feed])[0] for engine in engines])


def compare_graphs(exported: OnnxModel, engines: Sequence[Engine], graphs: dict[Precision, OnnxModel]) -> list[Checked]:
    """Compare as `compare_engines` does, with the graphs on the CPU in place of the engines."""
    feed = load_feed(exported)
    return compare_answers(exported, engines, feed, [run_graph(graphs[engine.precision], feed) for engine in engines])


def compare_answers(
    exported: OnnxModel, engines: Sequence[Engine], feed: "dict[str, Array]", answers: "Sequence[dict[str, Array]]"
) -> list[Checked]:
    """Compare what each engine answered to a feed with what the FP32 graph does."""
    expected = run_graph(exported, feed)
    cosines = [compare_rows(expected, answer, feed["attention_mask"]) for answer in answers]
    return [
        Checked(engine, exported, float(cosine.mean()), float(cosine.min()))
        for engine, cosine in zip(engines, cosines, strict=True)
    ]


def time_engines(engines: Sequence[Engine], request: Request) -> list[tuple[float, ...]]:
    """Return the median milliseconds of a model's engines, for each of the shapes that are timed."""
    return [tuple(medians) for medians in measure_latencies_ms(engines, request.shapes)]


def convert(exported: OnnxModel, precision: Precision, workspace: Workspace) -> OnnxModel:
    """Return the graph in a precision, behind a gate, as `prep build-engine` makes it."""
    spec = ConversionSpec(runtime="tensorrt", precision=precision)
    if precision == "int8":
        calibration = CalibrationSpec(path=str(CALIBRATION_PATH), samples=CALIBRATION_SAMPLES)
        quantization = QuantizationSpec(calibration=calibration, search=False)
        gate = GateSpec(min_cosine=INT8_GATE)
        spec = ConversionSpec(runtime="tensorrt", precision=precision, quantization=quantization, gate=gate)
    return put_in_precision(exported, spec, workspace).artifact


def load_feed(model: OnnxModel) -> dict[str, Array]:
    """Return the reference inputs of a model, INT64 [rows, sequence], at most a batch of them."""
    names = [tensor.name for tensor in model.model_inputs]
    inputs = load_reference(model.path(REFERENCE_NAME), names, []).inputs
    return {name: inputs[name][: BATCH[-1]] for name in names}


def run_graph(model: OnnxModel, feed: dict[str, Array]) -> dict[str, Array]:
    """Answer a feed with a graph in ONNX Runtime on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(model.path(GRAPH_NAME), providers=["CPUExecutionProvider"])
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


def render_engines(checked: Sequence[Checked], shapes: Sequence[tuple[int, int]]) -> str:
    """Return the table of engines, in Markdown."""
    header = ["engine", "builder", "GEMM FLOPs", "fused attention", "mean cosine", "min cosine"]
    header += [f"{batch}x{sequence} ms" for batch, sequence in shapes]
    rows = (f"| {' | '.join(render_row(row, len(shapes)))} |" for row in checked)
    return "\n".join([f"| {' | '.join(header)} |", f"|{'---|' * len(header)}", *rows]) + "\n"


def render_row(row: Checked, timed: int) -> list[str]:
    """Return one engine's cells."""
    engine, proof = row.engine, row.engine.proof
    share = ", ".join(f"{part:.1%} {word}" for word, part in proof.gemm_flops_share.items())
    fused = {None: "unknown", True: "yes", False: "no"}[proof.fused_attention]
    cosines = ["-" if value is None else f"{value:.5f}" for value in (row.mean_cosine, row.min_cosine)]
    latencies = [f"{ms:.3f}" for ms in row.latencies_ms] or ["-"] * timed
    builder = f"{engine.builder} {engine.builder_version}"
    return [engine.name, builder, f"{share} ({proof.method})", fused, *cosines, *latencies]
