"""What precision an engine really holds: found in the network and, where a GPU is present, in the engine.

Imported by the worker; parsing an inspector's JSON needs no vendor at all.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from prep_triton.engine.network import Gemm, NetworkReader, narrowest, share_from_gemms, widest

if TYPE_CHECKING:
    from prep_triton.engine.flavour import trt

NETWORK_METHOD = "strongly typed network"
INSPECTOR_METHOD = "engine inspector"

# How the inspector's JSON names a tensor's type: "Half", or "Row major linear FP16 format".
_FORMAT_WORDS = (
    (re.compile(r"\b(half|fp16)\b", re.IGNORECASE), "fp16"),
    (re.compile(r"\b(bf16|bfloat16)\b", re.IGNORECASE), "bf16"),
    (re.compile(r"\bint8\b", re.IGNORECASE), "int8"),
    (re.compile(r"\bfp8\b", re.IGNORECASE), "fp8"),
    (re.compile(r"\b(float|fp32)\b", re.IGNORECASE), "fp32"),
)
# A kernel's name gives its operands' types first: sm80_xmma_gemm_f16f16_f16f32_f32_tn_n_tilesize…
_TACTIC_WORDS = (
    (re.compile(r"_(i8i8|s8s8)_"), "int8"),
    (re.compile(r"_(f16f16)_"), "fp16"),
    (re.compile(r"_(bf16bf16)_"), "bf16"),
    (re.compile(r"_(e4m3e4m3)_"), "fp8"),
    (re.compile(r"_(f32f32)_"), "fp32"),
)
_GEMM_KIND = re.compile(r"gemm|matmul|matrix_?multiply|fully_?connected", re.IGNORECASE)
# Names of fused kernels: _gemm_mha_v2_myl0_8, _gemv_mha_v1, fmha_v2_…. A layer that is only called
# "attention.query" is a projection.
_FUSED_ATTENTION = re.compile(r"(?:^|_)mha(?:_|\Z)|fmha|flash", re.IGNORECASE)
_GEMM_NAME = re.compile(rf"gemm|gemv|__myl_Fc|{_FUSED_ATTENTION.pattern}", re.IGNORECASE)
_ONNX_LAYER = re.compile(r"\[ONNX Layer: ([^\]]*)\]")

Entry = Mapping[str, Any]


@dataclass(frozen=True)
class Proof:
    """The fields of `prep_triton.artifact.PrecisionProof`."""

    method: str
    gemm_flops_share: dict[str, float]
    layers: dict[str, int]
    linear_flops_share: dict[str, float]
    weighed_at: tuple[int, int]
    fused_attention: bool | None
    weights_bytes: int

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class EngineLayers:
    """What the engine inspector says of an engine's layers.

    `layers` and `gemms` count by precision word; `named_gemms` maps the ONNX nodes that a matrix product
    was made of to its word, where the builder says so. `io_tensors` are the names of the inputs and outputs, once for
    each profile.
    """

    layers: dict[str, int]
    gemms: dict[str, int]
    named_gemms: dict[str, str]
    fused_attention: bool | None
    io_tensors: tuple[str, ...] = ()


def proof_from_network(network: "trt.INetworkDefinition", shape: tuple[int, int]) -> tuple[Proof, list[Gemm]]:
    """Weigh the GEMMs of a strongly typed network by their operands' types.

    The builder may not change the types of such a network, so what the network holds the engine holds.

    Args:
        network: A parsed network.
        shape: Batch and sequence to weigh with.

    Returns:
        The proof, and the products it was made from.
    """
    reader = NetworkReader(network)
    gemms = reader.find_gemms(shape)
    proof = Proof(
        method=NETWORK_METHOD,
        gemm_flops_share=share_from_gemms(gemms),
        layers=reader.count_layers(),
        linear_flops_share=_linear_share(gemms),
        weighed_at=shape,
        fused_attention=reader.has_fused_attention(),
        weights_bytes=reader.count_weights_bytes(),
    )
    return proof, gemms


def proof_from_inspector(inspected: EngineLayers, network_proof: Proof, gemms: Sequence[Gemm]) -> Proof:
    """Correct the network's proof by what the engine holds.

    Where the builder names the ONNX nodes behind its kernels, each product takes the precision of its
    kernel. Where it does not, a precision that only the engine knows, or only the network, shows as the
    fraction of such kernels.

    Args:
        inspected: What the inspector says.
        network_proof: The proof from the network that the engine was built from.
        gemms: The products of that network.
    """
    realised = [replace(gemm, word=inspected.named_gemms.get(gemm.name, gemm.word)) for gemm in gemms]
    if not any(gemm.name in inspected.named_gemms for gemm in gemms) and inspected.gemms:
        realised = _contradict(gemms, inspected.gemms)
    return replace(
        network_proof,
        method=INSPECTOR_METHOD,
        gemm_flops_share=share_from_gemms(realised),
        linear_flops_share=_linear_share(realised),
        layers=inspected.layers,
        fused_attention=inspected.fused_attention,
    )


def parse_engine_layers(text: str) -> EngineLayers:
    """Read the engine inspector's JSON.

    Args:
        text: `IEngineInspector.get_engine_information(LayerInformationFormat.JSON)` of an engine that was
            built with detailed profiling verbosity.

    Raises:
        ValueError: The text is not what an inspector writes, or it holds layer names alone.
    """
    content = json.loads(text)
    entries = content.get("Layers") if isinstance(content, Mapping) else None
    detailed: list[Entry] = [entry for entry in entries or () if isinstance(entry, Mapping)]
    if not detailed:
        raise ValueError("the engine holds no layer details")
    layers: Counter[str] = Counter()
    gemms: Counter[str] = Counter()
    named: dict[str, str] = {}
    for entry in detailed:
        if (word := _gemm_word(entry)) is not None:
            layers[word] += 1
            gemms[word] += 1
            for name in _ONNX_LAYER.findall(str(entry.get("Metadata", ""))):
                named[name] = widest((word, named.get(name, word)))
        elif words := _format_words(entry.get("Outputs", ())):
            layers[words[0]] += 1
    fused = any(_FUSED_ATTENTION.search(_kernel_names(entry)) for entry in detailed)
    return EngineLayers(
        layers=dict(sorted(layers.items())),
        gemms=dict(sorted(gemms.items())),
        named_gemms=named,
        fused_attention=fused if gemms else None,
        io_tensors=_read_io_tensors(content),
    )


def _read_io_tensors(content: Entry) -> tuple[str, ...]:
    """Return the names of the inputs and outputs: TensorRT 11.0 renamed the key (release notes of 11.0)."""
    tensors = content.get("I/O Tensors", content.get("Bindings"))
    if not isinstance(tensors, list):
        return ()
    names = (tensor.get("Name") if isinstance(tensor, Mapping) else tensor for tensor in tensors)
    return tuple(name for name in names if isinstance(name, str))


def _contradict(gemms: Sequence[Gemm], seen: Mapping[str, int]) -> list[Gemm]:
    """Give the FLOPs of precisions that were not seen to those that were, and strangers their fraction."""
    expected = {gemm.word for gemm in gemms}
    kept = [gemm if gemm.word in seen else replace(gemm, word=widest(seen)) for gemm in gemms]
    strangers = {word: count / sum(seen.values()) for word, count in seen.items() if word not in expected}
    if not strangers:
        return kept
    split = []
    for gemm in kept:
        if gemm.word in strangers:
            split.append(gemm)
            continue
        rest = 1.0 - sum(strangers.values())
        parts = {gemm.word: rest, **strangers}
        split += [replace(gemm, word=word, flops=round(gemm.flops * part)) for word, part in parts.items()]
    return split


def _linear_share(gemms: Iterable[Gemm]) -> dict[str, float]:
    return share_from_gemms(gemm for gemm in gemms if gemm.is_encoder_linear)


def _gemm_word(entry: Entry) -> str | None:
    """Return the precision of a layer that multiplies matrices, None for others and where it is not known."""
    if not (_GEMM_KIND.search(str(entry.get("LayerType", ""))) or _GEMM_NAME.search(_kernel_names(entry))):
        return None
    tactic = str(entry.get("TacticName", ""))
    for pattern, word in _TACTIC_WORDS:
        if pattern.search(tactic):
            return word
    # An epilogue may read an FP32 operand beside FP16 ones; only an all-FP32 product is FP32.
    words = _format_words(entry.get("Inputs", ()))
    return narrowest(words) if words else None


def _kernel_names(entry: Entry) -> str:
    return f"{entry.get('Name', '')} {entry.get('TacticName', '')}"


def _format_words(tensors: Any) -> list[str]:
    words = []
    for tensor in tensors:
        text = str(tensor.get("Format/Datatype", "")) if isinstance(tensor, Mapping) else ""
        words += [word for pattern, word in _FORMAT_WORDS if pattern.search(text)][:1]
    return words
