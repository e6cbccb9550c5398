"""GPU names, their compute capabilities, which builder builds for which, and which GPU a plan runs on.

Capabilities are those of https://developer.nvidia.com/cuda-gpus. What TensorRT-RTX supports is the
``ComputeCapability`` enum of tensorrt-rtx 1.7.1: it has no member for Hopper (9.0) or Blackwell
data-centre GPUs (10.0), and the worker checks the enum of the installed version once more.
"""

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from prep_triton.errors import GpuMissingError, UnsupportedGpuError, find_nearest

CAPABILITY_BY_GPU: dict[str, str] = {
    "t4": "7.5",
    "rtx2080": "7.5",
    "rtx2080ti": "7.5",
    "a100": "8.0",
    "a30": "8.0",
    "a2": "8.6",
    "a10": "8.6",
    "a10g": "8.6",
    "a16": "8.6",
    "a40": "8.6",
    "rtxa6000": "8.6",
    "rtx3080": "8.6",
    "rtx3090": "8.6",
    "l4": "8.9",
    "l40": "8.9",
    "l40s": "8.9",
    "rtx4080": "8.9",
    "rtx4090": "8.9",
    "h100": "9.0",
    "h200": "9.0",
    "gh200": "9.0",
    "b200": "10.0",
    "gb200": "10.0",
    "b300": "10.3",
    "rtx5080": "12.0",
    "rtx5090": "12.0",
    "rtxpro6000": "12.0",
    "gb10": "12.1",
}

RTX_CAPABILITIES: tuple[str, ...] = ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")

# Turing under RTX: "FP32 GEMM is not supported. Cannot compile operation ... for Turing".
RTX_CAPABILITIES_WITHOUT_FP32: tuple[str, ...] = ("7.5",)

# TensorRT-RTX's support matrix: 8.0 compiles and is not in it, INT8 is for weights alone and not on Turing.
RTX_DOCUMENTED: tuple[str, ...] = ("7.5", "8.6", "8.9", "12.0", "12.1")
TURING = "7.5"

NATIVE = "native"

# The value of the key hardware_compatible; HardwareCompatibilityLevel::kAMPERE_PLUS of NvInferRuntime.h.
AMPERE_PLUS = "ampere_plus"
AMPERE = "8.0"

_CAPABILITY = re.compile(r"(?:sm_?)?([0-9]{1,2})\.?([0-9])")
_KNOWN_CAPABILITIES = frozenset((*CAPABILITY_BY_GPU.values(), "8.7", "11.0"))


@dataclass(frozen=True)
class Gpu:
    """A GPU as it was asked for, and its compute capability ("7.5")."""

    name: str
    compute_capability: str

    @property
    def sm(self) -> str:
        """The capability as compilers write it: ``sm75``."""
        return "sm" + self.compute_capability.replace(".", "")


def resolve_gpu(name: str, present: Sequence[Gpu] | None = None) -> Gpu:
    """Find the compute capability of a GPU.

    Args:
        name: A name of the table in any case (``t4``, ``RTX 4090``), a capability (``sm75``, ``7.5``), or
            ``native`` for the GPU of this machine.
        present: The GPUs of this machine, for ``native``; looked up where None.

    Raises:
        UnsupportedGpuError: The name means no GPU.
        GpuMissingError: It is ``native``, and there is none.
    """
    plain = re.sub(r"[\s_-]", "", name.lower()).removeprefix("nvidia").removeprefix("tesla")
    if plain == NATIVE:
        return _resolve_native_gpu(find_present_gpus() if present is None else present)
    if plain in CAPABILITY_BY_GPU:
        return Gpu(plain, CAPABILITY_BY_GPU[plain])
    if (match := _CAPABILITY.fullmatch(plain)) and (capability := f"{match[1]}.{match[2]}") in _KNOWN_CAPABILITIES:
        return Gpu("sm" + capability.replace(".", ""), capability)
    nearest = find_nearest(plain, CAPABILITY_BY_GPU, count=3)
    raise UnsupportedGpuError(
        f"unknown GPU '{name}', expected a name such as {', '.join(nearest or ('t4', 'l4', 'a100'))}, "
        "or a compute capability such as sm75",
        hint=f"known GPUs: {', '.join(CAPABILITY_BY_GPU)}",
    )


def order_of_capability(capability: str) -> tuple[int, ...]:
    """Return what compute capabilities are sorted and compared by: 12.0 is newer than 8.9, and no number is oldest."""
    return tuple(int(part) for part in capability.split(".") if part.isdecimal())


def is_ampere_or_newer(capability: str) -> bool:
    """Whether a plan for `AMPERE_PLUS` can be built for a compute capability, and runs on it."""
    return order_of_capability(capability) >= order_of_capability(AMPERE)


def is_runnable(capability: str, *, built_for: str, is_hardware_compatible: bool) -> bool:
    """Whether a TensorRT plan runs on a GPU.

    A plan holds the kernels of one GPU architecture: one for a T4 (7.5) does not run on an L4 (8.9), nor the other
    way round. One that was built hardware compatible runs on Ampere (8.0) and everything later. Source: TensorRT's
    developer guide, "Hardware Compatibility".

    Args:
        capability: The GPU's compute capability ("8.9").
        built_for: The compute capability that the plan was built for.
        is_hardware_compatible: Whether it was built with `AMPERE_PLUS`.
    """
    return capability == built_for or (is_hardware_compatible and is_ampere_or_newer(capability))


def check_rtx_builds(gpu: Gpu, precision: str) -> None:
    """Refuse what TensorRT-RTX cannot build, before any work is done.

    Raises:
        UnsupportedGpuError: TensorRT-RTX has no such target, or no FP32 GEMMs for it.
    """
    if gpu.compute_capability not in RTX_CAPABILITIES:
        supported = [name for name, capability in CAPABILITY_BY_GPU.items() if capability in RTX_CAPABILITIES]
        raise UnsupportedGpuError(
            f"tensorrt-rtx does not build for {_describe(gpu)}, "
            f"only for compute capability {', '.join(RTX_CAPABILITIES)} ({', '.join(supported)})",
            hint=f"build on a machine that has this GPU and the standard TensorRT: --gpu {gpu.name} --builder tensorrt",
        )
    if precision == "fp32" and gpu.compute_capability in RTX_CAPABILITIES_WITHOUT_FP32:
        raise UnsupportedGpuError(
            f"tensorrt-rtx has no FP32 GEMMs for {_describe(gpu)}, expected an fp16 engine",
            hint=f"build it in fp16: --fp16 --gpu {gpu.name}",
        )


def find_rtx_caveat(capability: str, precision: str) -> str | None:
    """Say why a TensorRT-RTX engine is no configuration that NVIDIA documents, or None where it is.

    It compiles all the same. Source: TensorRT-RTX's support matrix ("Hardware and Precision").
    """
    if capability not in RTX_DOCUMENTED:
        return f"TensorRT-RTX documents compute capability {', '.join(RTX_DOCUMENTED)}, not {capability}"
    if precision == "int8":
        where = ", and none on Turing" if capability == TURING else ""
        return f"TensorRT-RTX documents INT8 for weights alone{where}; here it is for activations too"
    return None


def check_gpu_present(gpu: Gpu, present: Sequence[Gpu]) -> None:
    """Refuse a GPU that this machine does not have: the standard builder times kernels on it.

    Raises:
        GpuMissingError: There is no GPU here, or none of that compute capability.
    """
    if gpu.compute_capability not in {other.compute_capability for other in present}:
        here = ", ".join(_describe(other) for other in present) or "none"
        raise GpuMissingError(
            f"the standard TensorRT builds only for a GPU that is present; asked for {_describe(gpu)}, here: {here}",
            hint="run on a machine with that GPU, or build ahead of time: --builder tensorrt-rtx",
        )


def find_present_gpus() -> tuple[Gpu, ...]:
    """Ask nvidia-smi which GPUs this machine has; none where there is no driver."""
    command = ["nvidia-smi", "--query-gpu=name,compute_cap", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()
    return parse_present_gpus(answer.stdout)


def parse_present_gpus(text: str) -> tuple[Gpu, ...]:
    """Parse the lines of ``nvidia-smi --query-gpu=name,compute_cap --format=csv,noheader``."""
    rows = (line.rpartition(",") for line in text.splitlines() if "," in line)
    return tuple(Gpu(name.strip(), capability.strip()) for name, _, capability in rows)


def _resolve_native_gpu(present: Sequence[Gpu]) -> Gpu:
    if not present:
        raise GpuMissingError(
            "'native' means the GPU of this machine, and nvidia-smi shows none",
            hint="name the GPU that will serve the engine, for example --gpu t4",
        )
    return Gpu(NATIVE, present[0].compute_capability)


def _describe(gpu: Gpu) -> str:
    return f"{gpu.name} ({gpu.compute_capability})"
