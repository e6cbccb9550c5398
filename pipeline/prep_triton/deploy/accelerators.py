"""GPUs as GKE names them.

Source: https://cloud.google.com/kubernetes-engine/docs/concepts/gpus (the values of the node label
``cloud.google.com/gke-accelerator``). Compute capabilities are those of `prep_triton.gpus`.
"""

import re

from prep_triton.artifact import Record
from prep_triton.errors import SpecError
from prep_triton.gpus import CAPABILITY_BY_GPU

ACCELERATOR_BY_GPU: dict[str, str] = {
    "t4": "nvidia-tesla-t4",
    "l4": "nvidia-l4",
    "a100": "nvidia-tesla-a100",
    "a100-80gb": "nvidia-a100-80gb",
    "h100": "nvidia-h100-80gb",
    "h200": "nvidia-h200-141gb",
    "b200": "nvidia-b200",
    "rtxpro6000": "nvidia-rtx-pro-6000",
}

# The most that one node has: T4 on N1, L4 on G2, A100 on a2-megagpu-16g and A2 Ultra, H100 on A3, H200 on A3 Ultra,
# B200 on A4, RTX PRO 6000 on G4. Source: https://cloud.google.com/compute/docs/gpus.
MOST_GPUS_BY_NODE: dict[str, int] = {
    "t4": 4,
    "l4": 8,
    "a100": 16,
    "a100-80gb": 8,
    "h100": 8,
    "h200": 8,
    "b200": 8,
    "rtxpro6000": 8,
}

# The GPU for plans of which only the architecture is known.
_USUAL_GPU = {"7.5": "t4", "8.0": "a100", "8.9": "l4", "10.0": "b200", "12.0": "rtxpro6000"}


class Pool(Record):
    """A kind of node: its GPU, GKE's name for it, and the compute capability. All None: nodes without a GPU."""

    gpu: str | None = None
    accelerator: str | None = None
    compute_capability: str | None = None

    @property
    def label(self) -> str:
        """The part of an object's name that distinguishes this pool from others: ``t4``, ``cpu``."""
        return self.gpu or "cpu"


CPU_POOL = Pool()


def pool_from_gpu(name: str) -> Pool:
    """Return the node pool of a GPU's name, in any case: ``t4``, ``nvidia-l4``, ``A100-80GB``.

    Raises:
        SpecError: GKE has no such GPU.
    """
    plain = re.sub(r"[\s_]", "-", name.strip().lower())
    by_label = {label: gpu for gpu, label in ACCELERATOR_BY_GPU.items()}
    joined = plain.removeprefix("nvidia-").removeprefix("tesla-")
    gpu = by_label.get(plain) or (joined if joined in ACCELERATOR_BY_GPU else joined.replace("-", ""))
    if gpu not in ACCELERATOR_BY_GPU:
        raise SpecError(
            f"GKE has no GPU '{name}', it has {', '.join(ACCELERATOR_BY_GPU)}",
            hint="name one of them with --gpu; its architecture must be one that the plans were built for",
        )
    capability = CAPABILITY_BY_GPU[gpu.partition("-")[0]]
    return Pool(gpu=gpu, accelerator=ACCELERATOR_BY_GPU[gpu], compute_capability=capability)


def pool_from_capability(capability: str, built_on: str) -> Pool | None:
    """Return the pool for a plan: of the GPU it was built on, else of its architecture; None where GKE has none.

    Args:
        capability: The plan's compute capability.
        built_on: The name of the GPU in the request that built it.
    """
    if built_on in ACCELERATOR_BY_GPU:
        return pool_from_gpu(built_on)
    usual = _USUAL_GPU.get(capability)
    return pool_from_gpu(usual) if usual else None
