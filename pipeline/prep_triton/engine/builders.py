"""Which builder this machine can use, looked up without importing either."""

import functools
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal, assert_never

from prep_triton.errors import EngineError
from prep_triton.extras import hint_to_install, is_installed, module_of
from prep_triton.spec import Builder

log = logging.getLogger(__name__)

BuilderName = Literal["tensorrt", "tensorrt-rtx"]

# One builder, several wheels: the plain name is a stub that depends on one of the others.
_DISTRIBUTIONS: dict[BuilderName, tuple[str, ...]] = {
    "tensorrt": ("tensorrt", "tensorrt-cu13", "tensorrt-cu12"),
    "tensorrt-rtx": ("tensorrt-rtx", "tensorrt-rtx-cu13", "tensorrt-rtx-cu12"),
}
# The kernel module's control device; WSL has its own.
_DRIVER_PATHS = (Path("/dev/nvidiactl"), Path("/proc/driver/nvidia/version"), Path("/dev/dxg"))


@dataclass(frozen=True)
class ResolvedBuilder:
    """The builder to use, its version, and why it was taken."""

    name: BuilderName
    version: str
    reason: str

    @property
    def module(self) -> str:
        """The Python module that holds it."""
        return module_of(self.name)


def resolve_builder(requested: Builder, problems: Mapping[BuilderName, str | None]) -> ResolvedBuilder:
    """Choose the builder.

    ``auto`` takes the standard TensorRT where it is installed and an NVIDIA driver runs, else
    TensorRT-RTX; which one, and what that means, is logged.

    Args:
        requested: A builder, or ``auto``.
        problems: Why each builder cannot be used here; see `find_builder_problems`.

    Raises:
        EngineError: The requested builder, or every builder, is unusable here.
    """
    match requested:
        case "tensorrt" | "tensorrt-rtx":
            return _resolve_named(requested, problems[requested])
        case "auto":
            return _resolve_auto(problems)
    assert_never(requested)


def find_builder_problems() -> dict[BuilderName, str | None]:
    """Say of each builder why it cannot be used on this machine, None where it can."""
    return {name: find_builder_problem(name) for name in _DISTRIBUTIONS}


def find_builder_problem(name: BuilderName) -> str | None:
    """Say why a builder cannot be used on this machine, or None where it can."""
    for package in (name, "polygraphy"):
        if not is_installed(package):
            return f"the Python package {package} is not installed"
    if _find_version(name) is None:
        return f"the Python package {name} is not installed"
    if name == "tensorrt" and not has_nvidia_driver():
        return "there is no NVIDIA driver, and the standard TensorRT builds only for a GPU that is present"
    return None


def has_nvidia_driver() -> bool:
    """Whether an NVIDIA kernel driver is loaded; looks at files only."""
    return any(path.exists() for path in _DRIVER_PATHS)


def _resolve_named(name: BuilderName, problem: str | None) -> ResolvedBuilder:
    if problem is None:
        return _resolved(name, "requested")
    if name == "tensorrt":
        hint = f"on a machine with the GPU: {hint_to_install('tensorrt')}; or use --builder tensorrt-rtx"
    else:
        hint = f"{hint_to_install('engine')} (Linux, x86-64)"
    raise EngineError(f"builder {name} cannot be used here: {problem}", hint=hint)


def _resolve_auto(problems: Mapping[BuilderName, str | None]) -> ResolvedBuilder:
    problem = problems["tensorrt"]
    if problem is None:
        return _resolved("tensorrt", "TensorRT is installed and an NVIDIA driver is running")
    rtx_problem = problems["tensorrt-rtx"]
    if rtx_problem is not None:
        raise EngineError(
            f"no builder can be used here: for tensorrt, {problem}; for tensorrt-rtx, {rtx_problem}",
            hint=f"{hint_to_install('engine')} (Linux, x86-64), which needs no GPU",
        )
    return _resolved("tensorrt-rtx", problem)


def _resolved(name: BuilderName, reason: str) -> ResolvedBuilder:
    builder = ResolvedBuilder(name, _find_version(name) or "", reason)
    log_choice(builder)
    return builder


@functools.cache  # once, not for every GPU of a run
def log_choice(builder: ResolvedBuilder) -> None:
    """Log which builder is used and what its engines are good for."""
    meaning = (
        "the engine is a plan for Triton's TensorRT backend of the same TensorRT version"
        if builder.name == "tensorrt"
        else "an RTX engine is built ahead of time; Triton's TensorRT backend does not load it"
    )
    log.info("builder %s %s (%s): %s", builder.name, builder.version, builder.reason, meaning)


def _find_version(name: BuilderName) -> str | None:
    for distribution in _DISTRIBUTIONS[name]:
        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    return None
