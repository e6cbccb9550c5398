"""Builder options: which of them a builder and a GPU can honour. None is ever ignored."""

import logging
from typing import Any

from prep_triton.errors import SpecError
from prep_triton.gpus import AMPERE, AMPERE_PLUS, Gpu, is_ampere_or_newer
from prep_triton.spec import EngineSpec

log = logging.getLogger(__name__)

# Why TensorRT-RTX 1.7.1 cannot honour an option, as seen on a machine without a GPU.
_RTX_REASONS = {
    "optimization_level": "it writes the same engine at every level",
    "version_compatible": "it has no lean runtime to put beside an engine",
    "hardware_compatible": "it compiles for the compute capability that --gpu names",
    "refit": "it makes refittable engines only on the GPU itself",
    "strip_weights": "it makes refittable engines only on the GPU itself",
}


def plan_options(spec: EngineSpec) -> dict[str, Any]:
    """Return what a builder gets beside shapes and target, as JSON values."""
    return {
        "optimization_level": spec.optimization_level,
        "workspace_limit_mib": spec.workspace_limit_mib,
        "version_compatible": spec.version_compatible,
        "hardware_compatible": spec.hardware_compatible,
        "refit": spec.refit,
        "strip_weights": spec.strip_weights,
    }


def check_options(spec: EngineSpec, gpu: Gpu, builder: str) -> None:
    """Refuse options that mean nothing to the builder or to the GPU, and log what the others cost.

    Raises:
        SpecError: An option cannot be honoured.
    """
    if builder == "tensorrt-rtx":
        for key, reason in _RTX_REASONS.items():
            if getattr(spec, key) != EngineSpec.model_fields[key].default:
                raise SpecError(
                    f"{key} means nothing to the tensorrt-rtx builder: {reason}",
                    hint=f"leave {key} out, or build on a machine that has the GPU: --builder tensorrt",
                )
        return
    if spec.hardware_compatible == AMPERE_PLUS and not is_ampere_or_newer(gpu.compute_capability):
        raise SpecError(
            f"hardware_compatible {AMPERE_PLUS} needs compute capability {AMPERE} or newer, "
            f"{gpu.name} has {gpu.compute_capability}",
            hint="leave hardware_compatible out: a Turing GPU needs a plan of its own",
        )
    if spec.version_compatible:
        log.info("a version-compatible plan needs tritonserver --backend-config=tensorrt,version-compatible=true")
    if spec.strip_weights:
        log.warning("a plan without its weights cannot be served before it is refitted: Triton does not do that")
