"""The server that a repository is made for."""

from typing import Annotated, Literal

from pydantic import Field

from prep_triton.spec.base import TRITON_PATTERN, GpuName, Spec


class TargetSpec(Spec):
    """A Triton release, and the GPUs it runs on.

    `triton` is the tag of NVIDIA's container, ``25.08``; `gpus` empty means a server without a GPU.
    `triton_releases` names a YAML file that adds to the table of releases, or corrects it: see
    `prep_triton.target`.
    """

    triton: Annotated[str, Field(pattern=TRITON_PATTERN)]
    gpus: tuple[GpuName, ...] = ()
    platform: Literal["linux/amd64", "linux/arm64"] = "linux/amd64"
    triton_releases: str | None = None
