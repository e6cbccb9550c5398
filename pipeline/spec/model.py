"""Which model, and how to export it."""

from typing import Annotated, Literal, get_args

from pydantic import Field

from pipeline.spec.base import NAME_PATTERN, Spec

Task = Literal[
    "auto",
    "fill-mask",
    "question-answering",
    "text-classification",
    "token-classification",
    "feature-extraction",
]
Weights = Literal["hub", "random"]

TASKS: tuple[str, ...] = get_args(Task)


class ModelSpec(Spec):
    """Which model to export, and how.

    `weights="random"` builds the architecture with weights drawn from `seed`: for benchmarks and for
    machines that cannot reach a hub. It is never chosen for the user.
    """

    model: str = Field(min_length=1)
    name: Annotated[str, Field(pattern=NAME_PATTERN)] | None = None
    task: Task = "auto"
    weights: Weights = "hub"
    seed: int = Field(default=0, ge=0)
    revision: str | None = None
