"""Which model, and how to export it."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from prep_triton.spec.base import NAME_PATTERN, Spec
from prep_triton.tasks import TaskChoice

Weights = Literal["hub", "random"]


class ModelSpec(Spec):
    """Which model to export, and how.

    `weights="random"` builds the architecture with weights drawn from `seed`: for benchmarks and for
    machines that cannot reach a hub. It is never chosen for the user. Such a model has no vocabulary of its own:
    `tokenizer` names a folder that has one (``tokenizer.json`` or ``vocab.txt``), or ``minilm``, whose vocabulary is
    that of bert-base-uncased.
    """

    model: str = Field(min_length=1)
    name: Annotated[str, Field(pattern=NAME_PATTERN)] | None = None
    task: TaskChoice = "auto"
    weights: Weights = "hub"
    seed: int = Field(default=0, ge=0)
    revision: str | None = None
    tokenizer: Annotated[str, Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def check_tokenizer(self) -> Self:
        """Trained weights come with their own vocabulary, and no other fits them."""
        if self.tokenizer is not None and self.weights != "random":
            raise ValueError("tokenizer belongs to weights: random; a checkpoint brings its own")
        return self
