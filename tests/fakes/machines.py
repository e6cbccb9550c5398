"""Machines as the engine stage sees them: with a GPU or none, and with the builders that are named."""

from collections.abc import Sequence

from prep_triton.artifact import Engine
from prep_triton.engine.builders import BuilderName
from prep_triton.engine.machine import Machine
from prep_triton.gpus import CAPABILITY_BY_GPU, Gpu

BUILDERS: tuple[BuilderName, ...] = ("tensorrt", "tensorrt-rtx")


def make_machine(
    *gpus: str,
    builders: Sequence[BuilderName] = BUILDERS,
    driver: bool | None = None,
    plans: Sequence[Engine] = (),
    remote_names: Sequence[str] = (),
) -> Machine:
    """A machine with these GPUs, and a driver where it has one or is said to have it."""
    return Machine(
        gpus=tuple(Gpu(f"NVIDIA {name.upper()}", CAPABILITY_BY_GPU[name]) for name in gpus),
        has_driver=bool(gpus) if driver is None else driver,
        problems={name: None if name in builders else "it is not installed" for name in BUILDERS},
        plans=tuple(plans),
        remote_names=tuple(remote_names),
    )
