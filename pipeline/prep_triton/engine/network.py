"""What a strongly typed network holds: its matrix products by precision, its attention, its weights.

Imported by the worker, after it has chosen a flavour.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from prep_triton.engine.flavour import trt

# Triton's words, from TensorRT's.
DTYPE_WORDS = {
    "FLOAT": "FP32",
    "HALF": "FP16",
    "BF16": "BF16",
    "INT8": "INT8",
    "INT32": "INT32",
    "INT64": "INT64",
    "BOOL": "BOOL",
    "FP8": "FP8",
    "UINT8": "UINT8",
}
# Widest first: a GEMM is as wide as its widest operand.
PRECISION_WORDS = ("fp32", "bf16", "fp16", "fp8", "int8")

# Layers that move values and leave them as they are: a builder moves Q/DQ across them.
_MOVES = frozenset(("SHUFFLE", "IDENTITY", "SQUEEZE", "UNSQUEEZE"))
# What a builder folds away between stored weights and the product that reads them.
_FOLDED = _MOVES | {"CAST", "QUANTIZE", "DEQUANTIZE"}
# Layers that no kernel runs: they are folded into their readers.
_UNCOUNTED = frozenset(("CONSTANT", "QUANTIZE", "DEQUANTIZE"))
# In every encoder layer: query, key and value, or the one product that is all three (ModernBERT), before its attention;
# attention output, FFN up, FFN down after it.
_LINEARS_BEFORE_ATTENTION = 3
_LINEARS_AFTER_ATTENTION = 3


@dataclass(frozen=True)
class Gemm:
    """One matrix product of a network.

    `name` is the ONNX node's, which the engine inspector repeats; `word` the precision of its operands;
    `is_encoder_linear` says that one operand is weights and that it is not part of a head.
    """

    name: str
    flops: int
    word: str
    is_encoder_linear: bool


class NetworkReader:
    """Finds the matrix products of a network and where their operands come from.

    Args:
        network: A parsed, strongly typed network. A builder may not change its types.
    """

    def __init__(self, network: "trt.INetworkDefinition") -> None:
        self.layers = [network.get_layer(index) for index in range(network.num_layers)]
        self._producers = {
            output.name: layer for layer in self.layers for output in iterate_outputs(layer) if output is not None
        }

    def find_gemms(self, shape: tuple[int, int]) -> list[Gemm]:
        """Return the products in network order, weighed at a (batch, sequence).

        The heads' linear layers are those behind the third one after the last attention product, and those of the
        embeddings (ELECTRA projects them) before the third one before the first: a layer has no more than three
        before its attention, and exactly three behind it.
        """
        products: list[tuple[str, int, str, bool]] = []
        for layer in self.layers:
            if layer.type.name == "MATRIX_MULTIPLY":
                operands = [layer.get_input(0), layer.get_input(1)]
                is_linear = any(self._is_weights(operand) for operand in operands)
                products.append((layer.name, count_gemm_flops(layer, shape), self._product_word(operands), is_linear))
            elif layer.type.name == "ATTENTION_INPUT":  # opset 23: both products of one attention
                query, key = layer.get_input(0), layer.get_input(1)
                flops = 4 * math.prod(_sized(query.shape, shape)) * _sized(key.shape, shape)[-2]
                name = layer.name.removesuffix("_AttentionInput")  # what the parser adds to the node's name
                products.append((name, flops, self._product_word([query, key]), False))
        attentions = [index for index, (*_, is_linear) in enumerate(products) if not is_linear]
        first, last = (attentions[0], attentions[-1]) if attentions else (0, len(products))
        encoder = range(first - _LINEARS_BEFORE_ATTENTION, last + _LINEARS_AFTER_ATTENTION + 1)
        return [
            Gemm(name, flops, word, is_encoder_linear=is_linear and index in encoder)
            for index, (name, flops, word, is_linear) in enumerate(products)
        ]

    def count_layers(self) -> dict[str, int]:
        """Count the layers that compute, by precision: a product's is its operands', others' their output's."""
        layers: Counter[str] = Counter()
        for layer in self.layers:
            if layer.type.name in _UNCOUNTED:
                continue
            if layer.type.name == "MATRIX_MULTIPLY":
                layers[self._product_word([layer.get_input(0), layer.get_input(1)])] += 1
            else:
                words = [precision_word(tensor) for tensor in iterate_outputs(layer) if tensor is not None][:1]
                layers.update(word for word in words if word in PRECISION_WORDS)
        return dict(sorted(layers.items()))

    def count_weights_bytes(self) -> int:
        """Add up the constants."""
        constants = [layer.get_output(0) for layer in self.layers if layer.type.name == "CONSTANT"]
        return sum(math.prod(read_sizes(tensor.shape)) * int(tensor.dtype.itemsize) for tensor in constants)

    def has_fused_attention(self) -> bool | None:
        """Return True for attention that must be one kernel; None where the builder decides and does not say.

        Source: `IAttention::setDecomposable` in NvInfer.h: without it, a build that finds no fused kernel fails.
        """
        from prep_triton.engine.flavour import trt

        kind = getattr(trt, "IAttentionInputLayer", None)  # since TensorRT 10.14
        attentions = []
        for layer in self.layers:
            if kind is not None and layer.type.name == "ATTENTION_INPUT":
                layer.__class__ = kind
                attentions.append(layer.attention)  # type: ignore[attr-defined, unused-ignore]
        return True if attentions and not any(attention.decomposable for attention in attentions) else None

    def _product_word(self, operands: "Iterable[trt.ITensor]") -> str:
        words = [self._operand_word(operand) for operand in operands]
        if len(set(words)) == 1:
            return words[0]
        return widest(precision_word(operand) for operand in operands)

    def _operand_word(self, tensor: "trt.ITensor") -> str:
        """Return the type that a kernel reads: behind a DequantizeLinear, the quantised one."""
        source = self._source(tensor, _MOVES)
        if source is not None and source.type.name == "DEQUANTIZE":
            return precision_word(source.get_input(0))
        return precision_word(tensor)

    def _is_weights(self, tensor: "trt.ITensor") -> bool:
        source = self._source(tensor, _FOLDED)
        return source is not None and source.type.name == "CONSTANT"

    def _source(self, tensor: "trt.ITensor", through: frozenset[str]) -> "trt.ILayer | None":
        source = self._producers.get(tensor.name)
        while source is not None and source.type.name in through:
            source = self._producers.get(source.get_input(0).name)
        return source


def count_gemm_flops(layer: "trt.ILayer", shape: tuple[int, int]) -> int:
    """Count the multiplications and additions of one matrix product at a (batch, sequence).

    In a BERT every dynamic axis but the first is the sequence, which is all that is assumed here.
    """
    from prep_triton.engine.flavour import trt

    layer.__class__ = trt.IMatrixMultiplyLayer  # how the bindings give access to a layer's own fields
    product = cast("trt.IMatrixMultiplyLayer", layer)
    left = _sized(product.get_input(0).shape, shape)
    inner = left[-2] if product.op0 == trt.MatrixOperation.TRANSPOSE and len(left) > 1 else left[-1]
    return 2 * math.prod(_sized(product.get_output(0).shape, shape)) * inner


def iterate_outputs(layer: "trt.ILayer") -> "Iterator[trt.ITensor | None]":
    """Yield the outputs of a layer; one that is not there is None."""
    for index in range(layer.num_outputs):
        yield layer.get_output(index)


def read_sizes(dims: "trt.Dims") -> list[int]:
    """Return a tensor's dimensions, -1 where dynamic."""
    return [int(dims[axis]) for axis in range(len(dims))]


def precision_word(tensor: "trt.ITensor") -> str:
    """Return a tensor's type as a precision word, ``fp16``."""
    return triton_word(tensor).lower()


def triton_word(tensor: "trt.ITensor") -> str:
    """Return a tensor's type as Triton's word, ``FP16``."""
    name = str(tensor.dtype.name)
    return DTYPE_WORDS.get(name, name)


def share_from_gemms(gemms: Iterable[Gemm]) -> dict[str, float]:
    """Return each precision's share of the FLOPs, 0..1; empty where there are none."""
    flops: Counter[str] = Counter()
    for gemm in gemms:
        flops[gemm.word] += gemm.flops
    total = sum(flops.values())
    return {word: count / total for word, count in sorted(flops.items())} if total else {}


def widest(words: Iterable[str]) -> str:
    """Return the widest of some precision words."""
    return min(words, key=_rank)


def narrowest(words: Iterable[str]) -> str:
    """Return the narrowest of some precision words."""
    return max(words, key=_rank)


def _rank(word: str) -> int:
    return PRECISION_WORDS.index(word) if word in PRECISION_WORDS else -1


def _sized(dims: "trt.Dims", shape: tuple[int, int]) -> list[int]:
    batch, sequence = shape
    sizes = enumerate(read_sizes(dims))
    return [size if size >= 0 else (batch if axis == 0 else sequence) for axis, size in sizes]
