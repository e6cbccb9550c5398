"""A graph under rewriting: its tensors' makers and readers, its weights, and what replaces its nodes."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper
from onnx.helper import make_opsetid

from prep_triton.external_data import RawSpan
from prep_triton.onnx_file import ArrayWeight
from prep_triton.precision.rewrite.weights import ConvertedWeight, check_finite

MICROSOFT_DOMAIN = "com.microsoft"


class Graph:
    """A graph under rewriting: who makes and reads each tensor, and what replaces each node.

    Args:
        proto: The model; changed by `finish` alone.
        spans: Where the bytes of its large FP32 weights lie.
    """

    def __init__(self, proto: ModelProto, spans: dict[str, RawSpan]) -> None:
        self.proto = proto
        self.spans = spans
        self.constants = {tensor.name: tensor for tensor in proto.graph.initializer}
        self.outputs = {info.name for info in proto.graph.output}
        self.producers: dict[str, NodeProto] = {}
        self.readers: dict[str, list[NodeProto]] = defaultdict(list)
        for node in proto.graph.node:
            self.producers.update(dict.fromkeys(node.output, node))
            for name in node.input:
                self.readers[name].append(node)
        self._transposed = self._find_transposed()
        self._replacements: dict[str, list[NodeProto]] = {}
        self._added: dict[str, ArrayWeight] = {}

    def read_constant(self, name: str) -> NDArray[np.float32]:
        """Read the values of an initializer, wherever they lie.

        Raises:
            PrecisionError: A value is not finite, or the file ends before they do.
        """
        if name in self._transposed:
            return self.read_constant(self._transposed[name]).T
        tensor = self.constants[name]
        if (span := self.spans.get(name)) is None:
            small: NDArray[np.float32] = numpy_helper.to_array(tensor)
            check_finite(small, name)
            return small
        weight = ConvertedWeight(name, TensorProto.FLOAT, tensor, span)
        return np.frombuffer(b"".join(weight.chunks()), np.float32).reshape(tuple(tensor.dims))

    def _find_transposed(self) -> dict[str, str]:
        """Take the transposes of weights for constants too: of an embedding that is tied to what predicts tokens."""
        transposed = {}
        for node in self.proto.graph.node:
            source = self.constants.get(node.input[0]) if node.op_type == "Transpose" else None
            if source is not None and len(source.dims) == 2:
                name = node.output[0]
                transposed[name] = source.name
                self.constants[name] = TensorProto(name=name, data_type=source.data_type, dims=[*reversed(source.dims)])
        return transposed

    def add_constant(self, name: str, array: NDArray[Any]) -> str:
        """Add an initializer; return its name."""
        self._added[name] = ArrayWeight(name, array)
        return name

    def follow(self, name: str) -> NodeProto | None:
        """Return the only reader of a tensor; None for a graph output or a tensor that several nodes read."""
        readers = self.readers[name]
        return readers[0] if len(readers) == 1 and name not in self.outputs else None

    def replace(self, node: NodeProto, nodes: Sequence[NodeProto]) -> None:
        """Put other nodes where a node was."""
        self._replacements[node.output[0]] = list(nodes)

    def finish(self) -> list["ConvertedWeight | ArrayWeight"]:
        """Change the model: new nodes, nothing that nobody reads, and ONNX Runtime's own operators declared.

        Returns:
            The initializers that the model's graph does not hold itself.
        """
        graph = self.proto.graph
        nodes = [new for node in graph.node for new in self._replacements.get(node.output[0], [node])]
        kept = _prune(nodes, self.outputs)
        del graph.node[:]
        graph.node.extend(kept)
        del graph.value_info[:]  # it describes tensors that are gone
        self.proto.opset_import.append(make_opsetid(MICROSOFT_DOMAIN, 1))
        return self._take_weights(graph, {name for node in kept for name in node.input})

    def _take_weights(self, graph: GraphProto, read: set[str]) -> list["ConvertedWeight | ArrayWeight"]:
        own = {name: tensor for name, tensor in self.constants.items() if name not in self._transposed}
        small = [tensor for name, tensor in own.items() if name in read and name not in self.spans]
        large = [
            ConvertedWeight(name, TensorProto.FLOAT, self.constants[name], span)
            for name, span in self.spans.items()
            if name in read
        ]
        del graph.initializer[:]
        graph.initializer.extend(small)
        return [*large, *(weight for name, weight in self._added.items() if name in read)]


def _prune(nodes: Sequence[NodeProto], outputs: set[str]) -> list[NodeProto]:
    """Drop the nodes whose outputs nobody reads; the nodes are in topological order."""
    needed = set(outputs)
    kept = []
    for node in reversed(nodes):
        if needed.intersection(node.output):
            needed.update(node.input)
            kept.append(node)
    return kept[::-1]
