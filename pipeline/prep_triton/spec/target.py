"""The server that a repository is made for."""

from typing import Annotated, Literal

from pydantic import Field

from prep_triton.spec.base import GpuName, Spec
from prep_triton.spec.wording import DRIVER_PATTERN, TRITON_PATTERN


class TargetSpec(Spec):
    """A Triton release, and the GPUs it runs on."""

    triton: Annotated[
        str,
        Field(
            pattern=TRITON_PATTERN,
            description="Triton release: the tag of its container, in quotes: "
            '"25.08"; "25.08-trtllm" for the image with TensorRT-LLM.',
        ),
    ]
    gpus: tuple[GpuName, ...] = Field(default=(), description="The server's GPUs, such as [t4]; none where empty.")
    platform: Literal["linux/amd64", "linux/arm64"] = Field(default="linux/amd64", description="The server's platform.")
    driver: Annotated[str, Field(pattern=DRIVER_PATTERN)] | None = Field(
        default=None, description='The NVIDIA driver of the servers, such as "580.95.05"; not checked where empty.'
    )
    triton_releases: str | None = Field(
        default=None, description="YAML file that adds to the table of Triton releases, or corrects it."
    )
