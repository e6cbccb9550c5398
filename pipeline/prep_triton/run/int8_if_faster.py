"""INT8 only where it is measured faster: on BERT it often is not (transformer-deploy#168, TensorRT#4073)."""

import logging
from collections.abc import Sequence
from typing import Any, Literal

from prep_triton.artifact import Artifact, Engine, OnnxModel
from prep_triton.engine.machine import Machine
from prep_triton.run.build import build_engines
from prep_triton.run.report import RowCollector, RowState, StageRow, state_of
from prep_triton.spec import VariantSpec
from prep_triton.workspace import Produced, Recipe, Workspace

log = logging.getLogger(__name__)


class PrecisionChoice(Artifact):
    """Which precision was measured faster, of which engines (the key names them), and the latencies."""

    kept: Literal["int8", "fp16"]
    measured: str


def choose_faster(
    rows: RowCollector, model: OnnxModel, variant: VariantSpec, workspace: Workspace, machine: Machine
) -> tuple[OnnxModel, list[Engine]]:
    """Build FP16, and INT8 where both can be run here; keep INT8 if it is faster on every GPU and shape.

    Args:
        rows: Takes the steps, and the choice with its figures.
        model: An exported FP32 graph.
        variant: A tensorrt INT8 variant.
        workspace: Where the artifacts are kept.
        machine: What this machine builds and runs.

    Returns:
        The graph and the engines of the precision that was kept.
    """
    from prep_triton.engine.execute import find_execution_problem

    # What ships must pass the gate, whichever precision it is.
    same_gate = {"gate": variant.required_gate(), "int8_if_faster": False}
    half = variant.model_copy(update={"precision": "fp16", "quantization": None, **same_gate})
    fp16_graph, fp16_engines = build_engines(rows, model, half, workspace, machine)
    problem = next(filter(None, (find_execution_problem(engine, machine) for engine in fp16_engines)), None)
    if problem and _find_choice(model, fp16_engines, workspace) == "int8":  # of the machine that has the GPU
        return build_engines(rows, model, variant, workspace, machine)
    if problem:
        log.warning("%s: INT8 was not measured (%s), so FP16 is built", model.name, problem)
        _add_row(rows, model, "fp16", f"not measured: {problem}", "skipped")
        return fp16_graph, fp16_engines
    int8_graph, int8_engines = build_engines(rows, model, variant, workspace, machine)
    choice = _choose(model, variant, list(zip(fp16_engines, int8_engines, strict=True)), workspace, machine)
    kept, measured = choice.artifact.kept, choice.artifact.measured
    _add_row(rows, model, kept, measured, state_of(choice))
    if kept == "int8":
        return int8_graph, int8_engines
    log.warning("%s: INT8 is not faster than FP16 here (%s), so FP16 is kept", model.name, measured)
    return fp16_graph, fp16_engines


def _choose(
    model: OnnxModel,
    variant: VariantSpec,
    pairs: Sequence[tuple[Engine, Engine]],
    workspace: Workspace,
    machine: Machine,
) -> Produced[PrecisionChoice]:
    """Choose between FP16 and INT8, unless these very engines were measured before."""
    shapes = [profile.opt for profile in variant.engine_profiles(model.usual_length)]
    engines = [engine for pair in pairs for engine in pair]
    recipe = Recipe(
        stage="choice",
        name=model.name,
        spec={"shapes": shapes},
        inputs={engine.name: engine.key for engine in engines},
    )
    return workspace.produce(recipe, PrecisionChoice, lambda _: _measure(pairs, shapes, machine))


def _measure(
    pairs: Sequence[tuple[Engine, Engine]], shapes: Sequence[tuple[int, int]], machine: Machine
) -> dict[str, Any]:
    """Time each FP16 engine against its INT8 one, and choose."""
    from prep_triton.engine.execute import measure_latencies_ms

    parts, is_faster = [], True
    for pair in pairs:
        fp16_medians, int8_medians = measure_latencies_ms(pair, shapes, machine)
        for (batch, sequence), fp16_ms, int8_ms in zip(shapes, fp16_medians, int8_medians, strict=True):
            parts.append(f"{batch}x{sequence}: fp16 {fp16_ms:.2f} ms, int8 {int8_ms:.2f} ms")
            is_faster = is_faster and int8_ms < fp16_ms
    return {"kept": "int8" if is_faster else "fp16", "measured": "; ".join(parts)}


def _find_choice(model: OnnxModel, fp16_engines: Sequence[Engine], workspace: Workspace) -> str | None:
    """Return the precision that was measured faster than these engines, on whichever machine; None: not measured."""
    keys = {engine.key for engine in fp16_engines}
    choice = workspace.find_kept(
        "choice", model.name, PrecisionChoice, lambda choice: keys <= set(choice.inputs.values())
    )
    return choice.kept if choice else None


def _add_row(rows: RowCollector, model: OnnxModel, kept: str, note: str, state: RowState) -> None:
    rows.add(StageRow(stage="choose", artifact=f"{model.name}-{kept}", state=state, note=note))
