"""What this machine builds and runs: looked up once at the start of a command, and passed on."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from prep_triton.artifact import Engine
from prep_triton.engine.builders import BuilderName, find_builder_problems, has_nvidia_driver
from prep_triton.gpus import Gpu, find_present_gpus
from prep_triton.workspace import Workspace


@dataclass(frozen=True)
class Machine:
    """A machine as the engine stage sees it.

    `gpus` are those that nvidia-smi shows, `problems` says of each builder why it cannot be used here (None where it
    can), and `plans` are the workspace's current plans for Triton's TensorRT backend, whichever machine built them.
    `remote_names` are those of the engines in its remote cache.
    """

    gpus: tuple[Gpu, ...] = ()
    has_driver: bool = False
    problems: Mapping[BuilderName, str | None] = field(default_factory=dict)
    plans: tuple[Engine, ...] = ()
    remote_names: tuple[str, ...] = ()

    def has_capability(self, compute_capability: str) -> bool:
        """Whether a GPU of a compute capability is here."""
        return any(gpu.compute_capability == compute_capability for gpu in self.gpus)


def detect_machine(workspace: Workspace | None = None) -> Machine:
    """Look this machine over: starts nvidia-smi, and reads the manifest of each current engine of a workspace."""
    engines = workspace.list_current("engine", Engine) if workspace else []
    return Machine(
        gpus=find_present_gpus(),
        has_driver=has_nvidia_driver(),
        problems=find_builder_problems(),
        plans=tuple(engine for engine in engines if engine.builder == "tensorrt"),
        remote_names=tuple(workspace.list_remote_names("engine")) if workspace else (),
    )
