"""`prep` as it runs on a node with a GPU and the standard TensorRT: ``python gpu_node.py GPU ARGUMENTS``.

The plan that it builds is an engine of TensorRT-RTX, which needs no GPU and names itself a plan: everything around the
builder is real, and nothing may be executed.
"""

import sys
from collections.abc import Callable
from typing import Any

from prep_triton.cli.main import main
from prep_triton.engine import build, builders, machine
from prep_triton.engine.child import run_worker
from prep_triton.gpus import Gpu, resolve_gpu

TENSORRT = "10.13.2.6"


def stand_on(gpu: Gpu, replace: Callable[[Any, str, Any], None] = setattr) -> None:
    """Have this process find a GPU, its driver and TensorRT, until `replace` takes it back."""
    find_version = builders._find_version

    def build_plan(request: Any, **options: Any) -> Any:
        return run_worker({**request, "builder": "tensorrt-rtx", "timing_cache_path": None}, **options)

    def find_plan_version(name: builders.BuilderName) -> str | None:
        return TENSORRT if name == "tensorrt" else find_version(name)

    for module, name, replacement in (
        (machine, "find_present_gpus", lambda: (gpu,)),
        (machine, "has_nvidia_driver", lambda: True),
        (machine, "find_builder_problems", lambda: {"tensorrt": None, "tensorrt-rtx": None}),
        (builders, "_find_version", find_plan_version),
        (build, "run_worker", build_plan),
    ):
        replace(module, name, replacement)


if __name__ == "__main__":
    stand_on(resolve_gpu(sys.argv.pop(1)))
    main()
