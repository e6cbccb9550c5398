"""What was built of a model: which of it `prep assemble` serves where nothing is said, and what it leaves out."""

from collections.abc import Iterator, Sequence

from prep_triton.artifact import Engine, OnnxModel, Record
from prep_triton.spec import EntrySpec, Runtime, find_precision_problem
from prep_triton.workspace import Workspace


class LeftOut(Record):
    """Something that was built and is not among the entries: why, and the command that assembles it, if one does."""

    artifact: str
    reason: str
    command: str | None = None


def choose_built(model: OnnxModel, workspace: Workspace, precision: str | None = None) -> tuple[Runtime, str]:
    """Return what serves a model where nobody says: the plans that were built last, else ONNX Runtime.

    Args:
        model: The exported model.
        workspace: Where it was built.
        precision: The precision that was asked for; the plans' own where None, or FP32 where there are none.
    """
    engines = (engine for engine in _list_engines(model, workspace) if engine.builder == "tensorrt")
    plans = [engine for engine in engines if precision in (None, engine.precision)]
    if plans:
        return "tensorrt", max(plans, key=lambda engine: engine.created_at).precision
    return "onnxruntime", precision or "fp32"


def find_left_out(model: OnnxModel, spec: EntrySpec, workspace: Workspace) -> list[LeftOut]:
    """Return what was built of a model and is not served by an entry of `spec`."""
    engines = _list_engines(model, workspace)
    return [
        *_foreign_engines(engines),
        *_other_plans(model, engines, spec),
        *_other_graphs(model, engines, spec, workspace),
    ]


def _foreign_engines(engines: Sequence[Engine]) -> Iterator[LeftOut]:
    names = sorted(engine.name for engine in engines if engine.builder == "tensorrt-rtx")
    if names:
        yield LeftOut(artifact=", ".join(names), reason="TensorRT-RTX engines, which no Triton backend loads")


def _other_plans(model: OnnxModel, engines: Sequence[Engine], spec: EntrySpec) -> Iterator[LeftOut]:
    plans = {engine.precision for engine in engines if engine.builder == "tensorrt"}
    for precision in sorted(plans - ({spec.precision} if spec.runtime == "tensorrt" else set())):
        yield LeftOut(
            artifact=f"{model.name} in {precision}",
            reason="TensorRT plans",
            command=f"prep assemble {model.name} --runtime tensorrt --precision {precision}",
        )


def _other_graphs(
    model: OnnxModel, engines: Sequence[Engine], spec: EntrySpec, workspace: Workspace
) -> Iterator[LeftOut]:
    """Yield the graphs that were converted for a CPU: those that no engine was built of."""
    built = {engine.inputs.get("onnx") for engine in engines}
    for graph in _list_graphs(model, workspace):
        runtime = graph.quantization.runtime if graph.quantization else "onnxruntime"
        is_served = (spec.runtime, spec.precision) == (runtime, graph.precision)
        if graph.key not in built and not is_served and runtime != "tensorrt":
            label = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}[runtime]
            yield LeftOut(
                artifact=graph.name,
                reason=f"a graph in {graph.precision} for {label}",
                command=None
                if find_precision_problem(runtime, graph.precision)  # an older prep made it
                else f"prep assemble {model.name} --runtime {runtime} --precision {graph.precision}",
            )


def _list_graphs(model: OnnxModel, workspace: Workspace) -> list[OnnxModel]:
    return [graph for graph in workspace.list_current("precision", OnnxModel) if graph.inputs.get("onnx") == model.key]


def _list_engines(model: OnnxModel, workspace: Workspace) -> list[Engine]:
    keys = {model.key, *(graph.key for graph in _list_graphs(model, workspace))}
    return [engine for engine in workspace.list_current("engine", Engine) if engine.inputs.get("onnx") in keys]
