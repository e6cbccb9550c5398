"""What `prep inspect` answers of a graph, an entry and a release."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import Field

from prep_triton.artifact import AccuracyRecord, OnnxModel, RepositoryEntry, Share
from prep_triton.cli.documents.inspect import rows_of_tensors
from prep_triton.cli.output import Output
from prep_triton.cli.units import format_size
from prep_triton.precision.measure.execution import Execution
from prep_triton.publish.record import Release


class InspectedGraph(OnnxModel):
    """The record of a graph, with its products with weights: their number, and the share of FLOPs, by precision.

    `execution` is what OpenVINO makes of it on this CPU, of a graph that an OpenVINO entry serves; where it is None of
    such a graph, `problem` says why.
    """

    folder: Path
    execution: Execution | None = None
    problem: str | None = None
    flops_share: dict[str, Share] = Field(default_factory=dict)
    layers: dict[str, int] = Field(default_factory=dict)


class InspectedEntry(RepositoryEntry):
    """The record of an entry of a repository; `execution` and `problem` are those of its graph, in OpenVINO."""

    folder: Path
    execution: Execution | None = None
    problem: str | None = None


class InspectedRelease(Release):
    """A release, as its release.json is."""

    uri: str


def render_graph(out: Output, document: InspectedGraph) -> None:
    """Print what the record of a graph holds."""
    share = _describe_share(document.flops_share)
    layers = ", ".join(f"{count} {word.upper()}" for word, count in document.layers.items())
    rows = [
        ("precision", document.precision),
        ("task", document.task),
        ("source", document.source),
        ("reference", "PyTorch" if document.reference == "pytorch" else "the graph itself, in ONNX Runtime"),
        ("parity", f"largest difference {document.parity.max_abs_error:.1e}" if document.parity else ""),
        ("cosine to fp32", _describe_fidelity(document)),
        ("accuracy", _describe_accuracy(document.accuracy)),
        ("FLOPs with weights", share),
        ("products with weights", layers),
        ("size", format_size(document.graph_bytes)),
        ("parameters", f"{document.parameters / 1e6:.1f} M"),
        ("opset", str(document.opset)),
        ("labels", ", ".join(document.labels[:8]) + (", …" if len(document.labels) > 8 else "")),
        ("longest text", f"{document.usual_length} of {document.max_sequence_length} tokens"),
        ("made", f"{document.created_at:%Y-%m-%d %H:%M:%S} UTC"),
        ("folder", str(document.folder)),
    ]
    out.table(document.name, ("what", "is"), [row for row in rows if row[1]])
    tensors = [*rows_of_tensors("input", document.model_inputs), *rows_of_tensors("output", document.model_outputs)]
    out.table("", ("tensor", "name", "type", "shape"), tensors)
    _render_execution(out, document)


def render_entry(out: Output, document: InspectedEntry) -> None:
    """Print what the record of an entry holds."""
    rows = [
        ("kind", document.kind),
        ("runtime", document.runtime),
        ("precision", document.precision),
        ("task", document.task),
        ("max batch", str(document.max_batch_size or "any")),
        ("tier", "" if document.tier is None else str(document.tier)),
        ("compute capabilities", ", ".join(document.compute_capabilities)),
        ("smallest cosine that verify lets pass", f"{document.tolerance:g}"),
        ("serves", document.serves or ""),
        ("calls", ", ".join(document.composes)),
        ("graph", f"{document.onnx.name} ({document.onnx.key})" if document.onnx else ""),
        ("engines", ", ".join(engine.name for engine in document.engines)),
        ("size", format_size(sum(file.size for file in document.files.values()))),
        ("files", str(len(document.files))),
        ("made", f"{document.created_at:%Y-%m-%d %H:%M:%S} UTC"),
        ("folder", str(document.folder)),
    ]
    out.table(document.name, ("what", "is"), [row for row in rows if row[1]])
    _render_execution(out, document)


def render_release(out: Output, document: InspectedRelease) -> None:
    """Print a release and its entries."""
    target = document.target.release if document.target else ""
    rows = [
        ("uri", document.uri),
        ("published", f"{document.created_at:%Y-%m-%d %H:%M:%S} UTC, by prep {document.prep_version}"),
        ("git revision", document.git_revision or ""),
        ("target", str(target)),
        ("size", f"{format_size(document.size)} in {len(document.files)} files"),
    ]
    out.table(document.id, ("what", "is"), [row for row in rows if row[1]])
    entries = [(entry.name, entry.kind, entry.runtime, entry.precision, entry.task) for entry in document.entries]
    out.table("", ("entry", "kind", "runtime", "precision", "task"), entries)


def _render_execution(out: Output, document: InspectedGraph | InspectedEntry) -> None:
    execution = document.execution
    if document.problem:
        out.line(f"What this CPU executes it in is not known: {document.problem}", style="dim")
    if execution is None:
        return
    batch, sequence = execution.weighed_at
    fused = ", fused" if execution.fused_attention else ""
    rows = [
        ("GEMM FLOPs", f"{_describe_share(execution.gemm_flops_share) or 'none'}, at {batch}x{sequence}"),
        ("encoder's linear layers", _describe_share(execution.linear_flops_share)),
        ("attention's products", f"{_describe_share(execution.attention_flops_share)}{fused}"),
        ("kernels", ", ".join(f"{count} {kernel}" for kernel, count in execution.kernels.items())),
        ("what is not quantised", execution.inference_precision),
        ("seen with", f"{execution.runtime}, {execution.processor}"),
    ]
    out.table("what OpenVINO executes on this CPU", ("=what", "is"), [row for row in rows if row[1]])


def _describe_share(share: Mapping[str, float]) -> str:
    return ", ".join(f"{part:.1%} {word.upper()}" for word, part in share.items())


def _describe_fidelity(document: OnnxModel) -> str:
    fidelity = document.fidelity
    return f"mean {fidelity.mean_cosine:.6f}, min {fidelity.min_cosine:.6f}, {fidelity.rows} rows" if fidelity else ""


def _describe_accuracy(accuracy: AccuracyRecord | None) -> str:
    if accuracy is None:
        return ""
    return f"{accuracy.metric} {accuracy.converted:.2f}, of fp32 {accuracy.reference:.2f} ({accuracy.rows} rows)"
