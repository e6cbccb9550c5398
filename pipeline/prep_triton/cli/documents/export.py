"""What `prep export` answers."""

from pathlib import Path

from prep_triton.artifact import OnnxModel
from prep_triton.cli.output import Output
from prep_triton.cli.units import format_seconds, format_size
from prep_triton.layout import is_graph_file
from prep_triton.workspace import Produced

# What the part of a source before its colon is called.
_PLACES = {"folder": "the folder ", "mlflow": "the MLflow model ", "onnx": "the ONNX file "}


class ExportDocument(OnnxModel):
    """The exported model; `seconds` are those of this command, also where `reused` says that nothing was made."""

    reused: bool
    seconds: float
    folder: Path


def export_document(produced: Produced[OnnxModel], seconds: float) -> ExportDocument:
    """Return the document of an export."""
    return ExportDocument(**dict(produced.artifact), reused=produced.reused, seconds=round(seconds, 3))


def render_export(out: Output, document: ExportDocument) -> None:
    """Print what was exported, its tensors and its parity."""
    state = "unchanged" if document.reused else f"exported in {format_seconds(document.seconds)}"
    graph = f"{format_size(document.graph_bytes)}, opset {document.opset}"
    out.line(f"{document.name}: {state}", style="bold")
    kind, _, origin = document.source.partition(":")
    place = document.source if origin.startswith("//") else origin
    weights = f"weights of {_PLACES.get(kind, '')}{place}"
    shown = f"random weights, seed {document.spec.get('seed')}" if document.weights == "random" else weights
    names = " and ".join(sorted(filter(is_graph_file, document.files)))
    out.line(f"  {document.folder}/{names} ({graph}, task {document.task}, {shown})")
    for label, tensors in (("inputs", document.model_inputs), ("outputs", document.model_outputs)):
        shown = ", ".join(f"{tensor.name} {tensor.dtype}[{', '.join(map(str, tensor.shape))}]" for tensor in tensors)
        out.line(f"  {label}: {shown}")
    if document.parity:
        shapes = ", ".join(f"{batch}x{sequence}" for batch, sequence in document.parity.shapes)
        out.line(f"  parity with PyTorch at {shapes}: largest difference {document.parity.max_abs_error:.1e}")
    elif document.reference == "onnxruntime":
        out.line("  parity: with itself in ONNX Runtime alone; there was no PyTorch reference")
    out.note(f"next: prep build-engine {document.name} --fp16, or prep assemble {document.name}")
