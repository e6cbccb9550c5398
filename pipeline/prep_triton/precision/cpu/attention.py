"""Attention as one operator: ONNX Runtime's MultiHeadAttention, which on a CPU is flash attention without a mask.

Flash attention keeps the scores of a few rows in cache instead of writing and reading them several times (Dao et
al. 2022, https://arxiv.org/abs/2205.14135), but ONNX Runtime's CPU kernel takes that way only where it is given no
mask; with one it is slower than the single operators. So the mask travels inside the product: every query head gets
one more element that is 1, and every key head one more that is mask / scale. Then

    scale * (query . key + 1 * mask / scale) = scale * query . key + mask

The query's element is a bias of its linear layer over weights that are 0; the key's is one addition. The context is
exact: the mask's share of an unmasked key is 0.

Measured (onnxruntime 1.32, one core, 384 tokens): MiniLM 51 -> 44 ms, BERT-base 247 -> 225 ms.
"""

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, numpy_helper
from onnx.helper import get_node_attr_value, make_node

from prep_triton.precision.cpu.graph import MICROSOFT_DOMAIN, Graph
from prep_triton.precision.cpu.linear import Linear
from prep_triton.precision.rewrite.checks import MASK_VALUE

_BY_HEAD = [0, 2, 1, 3]
_BY_HEAD_TRANSPOSED = [0, 2, 3, 1]


@dataclass(frozen=True)
class Attention:
    """One attention of a graph: softmax(scale * query . key + mask) . value.

    Args:
        query: The linear layer that makes it, [batch, sequence, heads * head_size].
        key: Likewise.
        value: The name of its tensor, of the same shape.
        mask: The name of what is added to the scores, [batch, 1, 1, sequence].
        scale: What the scores are multiplied by.
        head_size: The number of elements of one head.
        joined: The node that ends it, whose output is [batch, sequence, heads * head_size].
    """

    query: Linear
    key: Linear
    value: str
    mask: str
    scale: float
    head_size: int
    joined: NodeProto


def find_attentions(graph: Graph, linears: list[Linear]) -> list[Attention]:
    """Find the attentions that have the form that the export stage writes."""
    finder = _Finder(graph, linears)
    matches = (finder.match(node) for node in graph.proto.graph.node if node.op_type == "Softmax")
    return [attention for attention in matches if attention is not None]


def fuse_attention(graph: Graph, attention: Attention) -> None:
    """Replace an attention by MultiHeadAttention, and mark its query and key layers to be widened."""
    size, output = attention.head_size, attention.joined.output[0]
    attention.query.head_size, attention.query.head_fill = size, 1.0
    attention.key.head_size, attention.key.head_fill = size, 0.0
    heads = attention.query.outputs // size
    wide, masked = f"{attention.mask}.by_head.{size}", f"{attention.key.output}.masked"
    nodes = [] if wide in graph.producers else _make_wide_mask(graph, attention, heads, wide)
    nodes.append(make_node("Add", [attention.key.output, wide], [masked], name=f"{output}.mask"))
    nodes.append(
        make_node(
            "MultiHeadAttention",
            [attention.query.output, masked, attention.value],
            [output],
            name=f"{output}.attention",
            domain=MICROSOFT_DOMAIN,
            num_heads=heads,
            scale=attention.scale,
        )
    )
    graph.replace(attention.joined, nodes)


def _make_wide_mask(graph: Graph, attention: Attention, heads: int, name: str) -> list[NodeProto]:
    """Lay the mask where the keys' extra elements are: [batch, sequence, heads * (head_size + 1)]."""
    pattern = np.zeros((heads, attention.head_size + 1), np.float32)
    pattern[:, -1] = 1 / attention.scale
    # Divided by the scale, the lowest float would be an infinity; -1e4 gives a weight of exactly 0 as well.
    lowest = graph.add_constant(f"{name}.lowest", np.array([MASK_VALUE], np.float32))
    shape = graph.add_constant(f"{name}.shape", np.array([0, -1, 1], np.int64))
    nodes = [
        make_node("Max", [attention.mask, lowest], [f"{name}.clamped"], name=f"{name}.clamp"),
        make_node("Reshape", [f"{name}.clamped", shape], [f"{name}.column"], name=f"{name}.reshape"),
        make_node("Mul", [f"{name}.column", graph.add_constant(f"{name}.pattern", pattern.ravel())], [name], name=name),
    ]
    graph.producers[name] = nodes[-1]
    return nodes


class _Finder:
    """Matches attentions from their Softmax, up to the linear layers and down to the joined heads."""

    def __init__(self, graph: Graph, linears: list[Linear]) -> None:
        self.graph = graph
        self.linears = {linear.output: linear for linear in linears if linear.is_wide}
        inferred = onnx.shape_inference.infer_shapes(graph.proto).graph
        self.shapes = {info.name: info.type.tensor_type.shape.dim for info in (*inferred.value_info, *inferred.input)}

    def match(self, softmax: NodeProto) -> Attention | None:
        """Return the attention around a Softmax, or None where its form is another."""
        added = self._maker(softmax.input[0], "Add")
        scaled = added and self._maker(added.input[0], "Mul")
        scores = scaled and self._maker(scaled.input[0], "MatMul")
        context = self._reader(softmax.output[0], "MatMul")
        if not (added and scaled and scores and context) or context.input[0] != softmax.output[0]:
            return None
        query = self._split(scores.input[0], _BY_HEAD)
        key = self._split(scores.input[1], _BY_HEAD_TRANSPOSED)
        value = self._split(context.input[1], _BY_HEAD)
        joined = self._join(context)
        scale = self._scalar(scaled.input[1])
        if not (query and key and value and joined and scale) or not self._is_padding_mask(added.input[1]):
            return None
        size = query[1]
        linears = self.linears.get(query[0]), self.linears.get(key[0])
        if key[1] != size or value[1] != size or None in linears:
            return None
        return Attention(linears[0], linears[1], value[0], added.input[1], scale, size, joined)  # type: ignore[arg-type]

    def _maker(self, name: str, op_type: str) -> NodeProto | None:
        """Return the node that makes a tensor, if it is of that type and the tensor has one reader."""
        node = self.graph.producers.get(name)
        return node if node is not None and node.op_type == op_type and self.graph.follow(name) is not None else None

    def _reader(self, name: str, op_type: str) -> NodeProto | None:
        node = self.graph.follow(name)
        return node if node is not None and node.op_type == op_type else None

    def _split(self, name: str, perm: list[int]) -> tuple[str, int] | None:
        """Return what was split into heads, [batch, sequence, hidden], and the size of a head."""
        transposed = self._maker(name, "Transpose")
        if transposed is None or get_node_attr_value(transposed, "perm") != perm:
            return None
        reshaped = self._maker(transposed.input[0], "Reshape")
        if reshaped is None or self.graph.follow(reshaped.input[0]) is None:
            return None
        size = self._last_number(reshaped.input[1])
        return (reshaped.input[0], size) if size is not None and size > 0 else None

    def _join(self, context: NodeProto) -> NodeProto | None:
        transposed = self._reader(context.output[0], "Transpose")
        if transposed is None or get_node_attr_value(transposed, "perm") != _BY_HEAD:
            return None
        reshaped = self.graph.follow(transposed.output[0])
        return reshaped if reshaped is not None and reshaped.op_type == "Reshape" else None

    def _last_number(self, name: str) -> int | None:
        """Return the last element of a shape: a constant, or a Concat that ends in one."""
        node = self.graph.producers.get(name)
        if node is not None and node.op_type == "Concat":
            name = node.input[-1]
        tensor = self.graph.constants.get(name)
        return None if tensor is None else int(numpy_helper.to_array(tensor).ravel()[-1])

    def _scalar(self, name: str) -> float | None:
        tensor = self.graph.constants.get(name)
        if tensor is None or tensor.data_type != TensorProto.FLOAT or any(size != 1 for size in tensor.dims):
            return None
        return float(numpy_helper.to_array(tensor).item())

    def _is_padding_mask(self, name: str) -> bool:
        shape = self.shapes.get(name)
        return shape is not None and len(shape) == 4 and [shape[axis].dim_value for axis in (1, 2)] == [1, 1]
