"""What precision an engine really holds: found in the network and, where a GPU is present, in the engine.

Imported by the worker, so it takes the builder's module as an argument and imports no vendor itself.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

NETWORK_METHOD = "strongly typed network"
INSPECTOR_METHOD = "engine inspector"

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
_FLOAT_WORDS = ("fp32", "bf16", "fp16", "fp8", "int8")

# How the inspector's JSON names a tensor's type: "Half", or "Row major linear FP16 format".
_FORMAT_WORDS = (
    (re.compile(r"\b(half|fp16)\b", re.IGNORECASE), "fp16"),
    (re.compile(r"\b(bf16|bfloat16)\b", re.IGNORECASE), "bf16"),
    (re.compile(r"\bint8\b", re.IGNORECASE), "int8"),
    (re.compile(r"\b(float|fp32)\b", re.IGNORECASE), "fp32"),
)
_GEMM_LAYER = re.compile(r"gemm|matmul|matrix_?multiply|fully_?connected|\bmha\b|attention", re.IGNORECASE)


@dataclass(frozen=True)
class Proof:
    """The fields of `pipeline.artifact.PrecisionProof`."""

    method: str
    gemm_flops_share: dict[str, float]
    layers: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


def proof_from_network(trt: Any, network: Any, opt: tuple[int, int]) -> Proof:
    """Weigh the GEMMs of a strongly typed network by their operands' types.

    The builder may not change the types of such a network, so what the network holds the engine holds.

    Args:
        trt: The module `tensorrt` or `tensorrt_rtx`.
        network: A parsed `INetworkDefinition`.
        opt: Batch and sequence to weigh with: the first profile's opt shape.
    """
    flops: Counter[str] = Counter()
    layers: Counter[str] = Counter()
    for layer in iterate_layers(network):
        made = _dtype_words(layer.get_output(index) for index in range(layer.num_outputs))
        layers.update(word for word in made[:1] if word in _FLOAT_WORDS)
        if layer.type == trt.LayerType.MATRIX_MULTIPLY:
            operands = [layer.get_input(0), layer.get_input(1)]
            flops[widest(_dtype_words(operands))] += count_gemm_flops(trt, layer, opt)
    total = sum(flops.values())
    share = {word: count / total for word, count in sorted(flops.items())} if total else {}
    return Proof(NETWORK_METHOD, share, dict(sorted(layers.items())))


def iterate_layers(network: Any) -> Iterator[Any]:
    """Yield the layers of a network."""
    for index in range(network.num_layers):
        yield network.get_layer(index)


def count_gemm_flops(trt: Any, layer: Any, opt: tuple[int, int]) -> int:
    """Count the multiplications and additions of one matrix product at the opt shape.

    In a BERT every dynamic axis but the first is the sequence, which is all that is assumed here.
    """
    layer.__class__ = trt.IMatrixMultiplyLayer  # how the bindings give access to a layer's own fields
    left = _sized(layer.get_input(0).shape, opt)
    inner = left[-2] if layer.op0 == trt.MatrixOperation.TRANSPOSE and len(left) > 1 else left[-1]
    return 2 * int(math.prod(_sized(layer.get_output(0).shape, opt))) * int(inner)


def proof_from_inspector(text: str, network_proof: Proof) -> Proof:
    """Read the engine inspector's JSON: layers by type, and any GEMM wider than the network said.

    Args:
        text: `IEngineInspector.get_engine_information(LayerInformationFormat.JSON)` of an engine that was
            built with detailed profiling verbosity.
        network_proof: The proof from the network; its FLOP shares stand unless the engine contradicts them.

    Returns:
        The engine's layers by the type of their output. Where it holds a GEMM-like layer of a type that
        the network does not know, that type appears in the shares with the fraction of such layers.

    Raises:
        ValueError: The text is not what an inspector writes.
    """
    entries = json.loads(text)["Layers"]
    detailed: list[Mapping[str, Any]] = [entry for entry in entries if isinstance(entry, Mapping)]
    if entries and not detailed:
        raise ValueError("the engine holds no layer details")
    layers: Counter[str] = Counter()
    gemms: Counter[str] = Counter()
    for entry in detailed:
        if words := _format_words(entry.get("Outputs", ())):
            layers[words[0]] += 1
        # An epilogue may read an FP32 operand beside FP16 ones; only an all-FP32 product is FP32.
        is_gemm = _GEMM_LAYER.search(f"{entry.get('LayerType', '')} {entry.get('Name', '')}")
        if is_gemm and (words := _format_words(entry.get("Inputs", ()))):
            gemms[narrowest(words)] += 1
    share = dict(network_proof.gemm_flops_share)
    strangers = {word: count / sum(gemms.values()) for word, count in gemms.items() if word not in share}
    if strangers:
        rest = 1.0 - sum(strangers.values())
        share = {**{word: part * rest for word, part in share.items()}, **strangers}
    return Proof(INSPECTOR_METHOD, share, dict(sorted(layers.items())))


def widest(words: Iterable[str]) -> str:
    """Return the widest of some precision words."""
    return min(words, key=_rank)


def narrowest(words: Iterable[str]) -> str:
    """Return the narrowest of some precision words."""
    return max(words, key=_rank)


def _rank(word: str) -> int:
    return _FLOAT_WORDS.index(word) if word in _FLOAT_WORDS else -1


def _sized(shape: Any, opt: tuple[int, int]) -> list[int]:
    batch, sequence = opt
    return [size if size >= 0 else (batch if axis == 0 else sequence) for axis, size in enumerate(shape)]


def _dtype_words(tensors: Any) -> list[str]:
    return [DTYPE_WORDS.get(tensor.dtype.name, tensor.dtype.name).lower() for tensor in tensors if tensor is not None]


def _format_words(tensors: Any) -> list[str]:
    found = []
    for tensor in tensors:
        told = str(tensor.get("Format/Datatype", "")) if isinstance(tensor, Mapping) else ""
        found += [word for pattern, word in _FORMAT_WORDS if pattern.search(told)][:1]
    return found
