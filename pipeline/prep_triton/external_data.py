"""Weights that an ONNX graph keeps in a file beside it: one file holds 2 GiB at most (onnx, docs/ExternalData.md).

Where they lie is read from the graph, which anybody may have written: a place outside of the graph's folder is refused,
whether it is named (``..``, an absolute path) or a link leads there.
"""

import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from onnx import GraphProto, TensorProto
from onnx.external_data_helper import uses_external_data

from prep_triton.layout import WEIGHTS_NAME
from prep_triton.quoting import show_value

# What onnx recommends, so that a runtime maps a weight instead of copying it.
PAGE_BYTES = 4096


@dataclass(frozen=True)
class RawSpan:
    """Where a weight's little-endian bytes lie: `length` bytes of a file from `offset`."""

    path: Path
    offset: int
    length: int

    def read(self) -> bytes:
        """Return the bytes."""
        with self.path.open("rb") as stream:
            stream.seek(self.offset)
            return stream.read(self.length)


def point_beside(header: TensorProto, offset: int, length: int) -> TensorProto:
    """Let a tensor without bytes say that they lie in the file beside the graph."""
    header.data_location = TensorProto.EXTERNAL
    for key, value in (("location", WEIGHTS_NAME), ("offset", offset), ("length", length)):
        header.external_data.add(key=key, value=str(value))
    return header


def iterate_external(graph: GraphProto) -> Iterator[TensorProto]:
    """Yield every tensor of a graph, of its nodes and of their subgraphs, whose values lie beside it."""
    yield from filter(uses_external_data, graph.initializer)
    for attribute in (attribute for node in graph.node for attribute in node.attribute):
        yield from filter(uses_external_data, (attribute.t, *attribute.tensors))
        for subgraph in (attribute.g, *attribute.graphs):
            if subgraph.node or subgraph.initializer:
                yield from iterate_external(subgraph)


def find_span(tensor: TensorProto, folder: Path) -> RawSpan:
    """Return where the values of a tensor lie.

    Args:
        tensor: One of `iterate_external`.
        folder: The folder of the graph's file.

    Raises:
        ValueError: It names no file in the folder, or one that holds less; the reason is one line.
    """
    values = {pair.key: pair.value for pair in tensor.external_data}
    location, named = values.get("location", ""), show_value(values.get("location", ""))
    size = _find_size(folder, location)
    if size is None:
        raise ValueError(f"it keeps weights in {named}, which leads out of its folder")
    if size < 0:
        raise ValueError(f"it keeps weights in {named}, which is not beside it")
    offset = _parse_number(values, "offset", 0)
    length = _parse_number(values, "length", max(0, size - offset))
    if offset + length > size:
        raise ValueError(f"it needs {offset + length} bytes of weights in {named}, which has {size}")
    return RawSpan(folder / location, offset, length)


def take_in(tensor: TensorProto, span: RawSpan) -> None:
    """Put the values of a tensor into it."""
    tensor.raw_data = span.read()
    forget_place(tensor)


def forget_place(tensor: TensorProto) -> None:
    """Let a tensor no longer say that its values lie beside the graph."""
    tensor.ClearField("external_data")
    tensor.ClearField("data_location")


def _find_size(folder: Path, location: str) -> int | None:
    """Return the size of a file in a folder, -1 where there is none that can be opened, None where it lies outside."""
    path = folder / location
    try:
        if not path.resolve().is_relative_to(folder.resolve()) or ".." in path.parts[len(folder.parts) :]:
            return None
        about = path.stat()
    except (OSError, ValueError, RuntimeError):  # a name with a NUL, or of 5,000 letters; links in a circle
        return -1
    return about.st_size if stat.S_ISREG(about.st_mode) else -1


def _parse_number(values: dict[str, str], key: str, default: int) -> int:
    text = values.get(key, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise ValueError(f"the {key} of its weights is {show_value(text)}, expected a number of bytes")
    return int(text)
