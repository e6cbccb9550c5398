"""`prep inspect`: what an engine holds."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from prep_triton.cli.groups import expand_groups
from prep_triton.cli.options import DEFAULT_WORKSPACE, OutputOptions, WorkspaceOption
from prep_triton.cli.output import format_seconds, format_size, session
from prep_triton.layout import ENGINE_NAME

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from prep_triton.artifact import Engine, TensorSpec

_UNKNOWN = "unknown: the builder does not tell ahead of time"


@expand_groups
def inspect(
    engine: Annotated[str, typer.Argument(help="An engine's name in the workspace, its folder, or its model.engine.")],
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    output: OutputOptions = OutputOptions(),
) -> None:
    """Show what an engine holds, and how that is known.

    Where this machine can run it, the engine itself is asked too.

    \b
    Examples:
      prep inspect minilm-fp16-rtx-sm75
      prep inspect build/engine/minilm-fp16-rtx-sm75/0123456789abcdef/model.engine --json
    """
    with session(output) as out:
        from prep_triton.engine.execute import describe_engine, find_execution_problem
        from prep_triton.engine.find import find_engine
        from prep_triton.engine.machine import detect_machine
        from prep_triton.workspace import Workspace

        found = find_engine(engine, Workspace(workspace))
        machine = detect_machine()
        problem = find_execution_problem(found, machine)
        message = None if problem else describe_engine(found, machine)
        out.document({**found.model_dump(mode="json"), "folder": str(found.folder), "loaded": message})
        out.table(found.name, ("what", "is"), describe_record(found))
        tensors = [*_describe_tensors("input", found.model_inputs), *_describe_tensors("output", found.model_outputs)]
        out.table("", ("tensor", "name", "type", "shape"), tensors)
        if message is None:
            out.line(f"The engine itself was not asked: {problem}.", style="dim")
        else:
            out.table("the engine itself, loaded on this GPU", ("what", "is"), describe_loaded(message))


def describe_record(engine: "Engine") -> list[tuple[str, str]]:
    """Say what the record of an engine holds, one fact a row."""
    proof = engine.proof
    weighed = f", at {proof.weighed_at[0]}x{proof.weighed_at[1]}" if proof.weighed_at else ""
    rows = [
        ("precision", engine.precision),
        ("GEMM FLOPs", f"{_describe_share(proof.gemm_flops_share)}{weighed}"),
        ("encoder's linear layers", _describe_share(proof.linear_flops_share)),
        ("layers", _describe_counts(proof.layers)),
        ("fused attention", _describe_fusion(proof.fused_attention)),
        ("proof", proof.method),
        *((f"profile {index}", str(profile)) for index, profile in enumerate(engine.profiles)),
        ("size", _describe_bytes(engine.files[ENGINE_NAME].size)),
        ("weights", _describe_bytes(proof.weights_bytes)),
        ("builder", f"{engine.builder} {engine.builder_version}"),
        ("compute capability", engine.compute_capability),
        ("options", _describe_options(engine.spec)),
        ("built", f"{engine.created_at:%Y-%m-%d %H:%M:%S} UTC, in {format_seconds(engine.build_seconds)}"),
        ("folder", str(engine.folder)),
    ]
    return [(what, message) for what, message in rows if message]


def describe_loaded(message: "Mapping[str, Any]") -> list[tuple[str, str]]:
    """Say what a loaded engine told of itself, one fact a row."""
    rows = [
        ("kernels", str(message["kernels"])),
        ("layers", _describe_counts(message.get("layers", {}))),
        ("GEMM kernels", _describe_counts(message.get("gemm_kernels", {}))),
        ("fused attention", _describe_fusion(message.get("fused_attention"))),
        ("weights", _describe_bytes(message["weights_bytes"])),
        ("activation memory", _describe_bytes(message["device_memory_bytes"])),
        ("refittable", "yes" if message["refittable"] else "no"),
        ("inspector", str(message.get("inspector", ""))),
    ]
    return [(what, text) for what, text in rows if text]


def _describe_share(share: "Mapping[str, float]") -> str:
    return ", ".join(f"{part:.1%} {word.upper()}" for word, part in share.items())


def _describe_counts(counts: "Mapping[str, int]") -> str:
    return ", ".join(f"{count} {word.upper()}" for word, count in counts.items())


def _describe_fusion(fused: bool | None) -> str:
    return _UNKNOWN if fused is None else ("yes" if fused else "no")


def _describe_bytes(size: int | None) -> str:
    return "" if size is None else format_size(size)


def _describe_options(spec: "Mapping[str, Any]") -> str:
    keys = (
        "optimization_level",
        "workspace_limit_mib",
        "version_compatible",
        "hardware_compatible",
        "refit",
        "strip_weights",
    )
    return ", ".join(f"{key} {spec[key]}" for key in keys if spec.get(key) not in (None, False, "none"))


def _describe_tensors(role: str, tensors: "Iterable[TensorSpec]") -> list[tuple[str, str, str, str]]:
    return [(role, tensor.name, tensor.dtype, f"[{', '.join(map(str, tensor.shape))}]") for tensor in tensors]
