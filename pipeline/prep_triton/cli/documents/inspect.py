"""What `prep inspect` answers."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from prep_triton.artifact import Engine, OverflowRecord, Record, TensorSpec
from prep_triton.cli.documents.rows import describe_overflow
from prep_triton.cli.output import Output
from prep_triton.cli.units import format_seconds, format_size
from prep_triton.layout import ENGINE_NAME

_UNKNOWN = "unknown: the builder does not tell ahead of time"


class LoadedEngine(Record):
    """What an engine, loaded on the GPU here, says of itself; sizes in bytes, `io_tensors` once for each profile.

    `inspector` says why the engine's inspector did not tell its layers.
    """

    kernels: int
    profiles: int
    device_memory_bytes: int
    refittable: bool
    weights_bytes: int | None
    layers: dict[str, int] = Field(default_factory=dict)
    gemm_kernels: dict[str, int] = Field(default_factory=dict)
    fused_attention: bool | None = None
    io_tensors: tuple[str, ...] = ()
    inspector: str = ""


class InspectDocument(Engine):
    """The record of an engine; `loaded` is None where it cannot run here, and `problem` says why.

    `caveat` says why it is no configuration that NVIDIA documents.
    """

    folder: Path
    loaded: LoadedEngine | None = None
    problem: str | None = None
    caveat: str | None = None


def render_inspect(out: Output, document: InspectDocument) -> None:
    """Print tables of what is known."""
    out.table(document.name, ("=what", "is"), describe_record(document))
    tensors = [*rows_of_tensors("input", document.model_inputs), *rows_of_tensors("output", document.model_outputs)]
    out.table("", ("=tensor", "=name", "=type", "shape"), tensors)
    if document.caveat:
        out.line(f"No documented configuration: {document.caveat}.", style="yellow")
    if document.loaded is None:
        out.line(f"The engine was not loaded: {document.problem}.", style="dim")
    else:
        out.table("the engine itself, loaded on this GPU", ("=what", "is"), describe_loaded(document.loaded))


def describe_record(engine: Engine) -> list[tuple[str, str]]:
    """Say what the record of an engine holds, one fact a row."""
    proof = engine.proof
    weighed = f", at {proof.weighed_at[0]}x{proof.weighed_at[1]}" if proof.weighed_at else ""
    rows = [
        ("precision", engine.precision),
        ("GEMM FLOPs", f"{_describe_share(proof.gemm_flops_share)}{weighed}"),
        ("encoder's linear layers", _describe_share(proof.linear_flops_share)),
        ("layers", _describe_counts(proof.layers)),
        ("kept out of fp16", _describe_overflow(engine.overflow)),
        ("fused attention", _describe_fusion(proof.fused_attention)),
        ("proof", proof.method),
        *((f"profile {index}", str(profile)) for index, profile in enumerate(engine.profiles)),
        ("size", format_size(engine.files[ENGINE_NAME].size)),
        ("weights", _describe_bytes(proof.weights_bytes)),
        ("builder", f"{engine.builder} {engine.builder_version}"),
        ("compute capability", engine.compute_capability),
        ("options", _describe_options(engine.spec)),
        ("built", f"{engine.created_at:%Y-%m-%d %H:%M:%S} UTC, in {format_seconds(engine.build_seconds)}"),
        ("folder", str(engine.folder)),
    ]
    return [(what, text) for what, text in rows if text]


def describe_loaded(engine: LoadedEngine) -> list[tuple[str, str]]:
    """Describe a loaded engine as its own runtime reports it, one fact a row."""
    rows = [
        ("kernels", str(engine.kernels)),
        ("layers", _describe_counts(engine.layers)),
        ("GEMM kernels", _describe_counts(engine.gemm_kernels)),
        ("fused attention", _describe_fusion(engine.fused_attention)),
        ("inputs and outputs", ", ".join(engine.io_tensors)),
        ("weights", _describe_bytes(engine.weights_bytes)),
        ("activation memory", format_size(engine.device_memory_bytes)),
        ("refittable", "yes" if engine.refittable else "no"),
        ("inspector", engine.inspector),
    ]
    return [(what, text) for what, text in rows if text]


def _describe_share(share: Mapping[str, float]) -> str:
    return ", ".join(f"{part:.1%} {word.upper()}" for word, part in share.items())


def _describe_overflow(overflow: OverflowRecord | None) -> str:
    if overflow is None:
        return ""
    names = describe_overflow(overflow.in_graph_order(), most=len(overflow.kept_out))
    return f"{names}: computed in FP32, their GEMMs scaled"


def _describe_counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {word.upper()}" for word, count in counts.items())


def _describe_fusion(fused: bool | None) -> str:
    return _UNKNOWN if fused is None else ("yes" if fused else "no")


def _describe_bytes(size: int | None) -> str:
    return "" if size is None else format_size(size)


def _describe_options(spec: Mapping[str, Any]) -> str:
    keys = (
        "optimization_level",
        "workspace_limit_mib",
        "version_compatible",
        "hardware_compatible",
        "refit",
        "strip_weights",
    )
    return ", ".join(f"{key} {spec[key]}" for key in keys if spec.get(key) not in (None, False, "none"))


def rows_of_tensors(role: str, tensors: Iterable[TensorSpec]) -> list[tuple[str, str, str, str]]:
    """Return a row for each tensor: its role, name, type and shape."""
    return [(role, tensor.name, tensor.dtype, f"[{', '.join(map(str, tensor.shape))}]") for tensor in tensors]
