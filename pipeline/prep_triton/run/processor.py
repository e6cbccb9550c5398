"""What a processor multiplies by itself, and which precision to take on it.

OpenVINO's documentation, "CPU Device": BF16 by AVX512_BF16 or AMX, emulated with AVX-512 and refused without; on ARM no
BF16, and INT8 graphs are executed in floating point; without VNNI sums of INT8 products may saturate. "System
Requirements": SSE4.2 or later.
"""

from collections.abc import Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prep_triton.bench.machine import Processor

# As their makers call them, of the flags of /proc/cpuinfo.
_NAMES = {
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx_vnni": "AVX_VNNI",
    "avx512_vnni": "AVX512_VNNI",
    "avx512_bf16": "AVX512_BF16",
    "amx_int8": "AMX INT8",
    "amx_bf16": "AMX BF16",
    "asimd": "ASIMD",
    "asimddp": "DotProd",
    "i8mm": "I8MM",
    "bf16": "BF16",
    "sve": "SVE",
}
_BY_INT8 = ("amx_int8", "avx512_vnni", "avx_vnni")
_BY_BF16 = ("amx_bf16", "avx512_bf16")


def describe_processor(processor: "Processor") -> str:
    """Return its name, its cores, and what of the above it has."""
    flags = ", ".join(name for flag, name in _NAMES.items() if flag in processor.flags)
    return f"{processor.name or 'unknown'}, {processor.cores} cores: {flags or 'no vectors that are known'}"


def advise_precision(flags: Collection[str]) -> str:
    """Return which precision to take on a processor that multiplies INT8 by itself."""
    if not _has_any(flags, _BY_BF16):
        fate = "emulated, slower than fp32" if "avx512f" in flags else "refused by OpenVINO"
        return f"take int8, or fp32 without calibration text; bf16 would be {fate}"
    return "take int8, or bf16 without calibration text"


def find_processor_problem(flags: Collection[str]) -> str | None:
    """Say what to do on a processor that gains nothing from INT8 or BF16; None where it does."""
    if "asimd" in flags:
        return (
            "serve fp32 with runtime onnxruntime: Triton has no OpenVINO backend on ARM, where OpenVINO executes int8 "
            "in floating point and has no bf16"
        )
    if "avx2" not in flags:
        return "serve on a CPU with AVX2; here take fp32, which is slow: OpenVINO itself runs from SSE4.2 on"
    if not _has_any(flags, _BY_INT8):
        return "take fp32; without VNNI sums of int8 may saturate, so take it only where prep verify passes on this CPU"
    return None


def _has_any(flags: Collection[str], wanted: Collection[str]) -> bool:
    return any(flag in flags for flag in wanted)
