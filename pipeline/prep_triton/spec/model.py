"""Which model, and how to export it."""

from typing import Annotated, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from prep_triton.spec.base import Spec, describe_rule, refuse_all
from prep_triton.spec.wording import NAME_PATTERN
from prep_triton.tasks import TaskChoice

Weights = Literal["hub", "random"]


class ModelSpec(Spec):
    """Which model to export, and how."""

    model: str = Field(
        min_length=1,
        description="An alias (bert-base, bert-large, distilbert, minilm), a hub id (organization/name), a folder, "
        "gs://BUCKET/FOLDER, an MLflow model (its folder, or models:/NAME/VERSION), or a .onnx file.",
    )
    checkpoint: Annotated[
        str | None,
        Field(
            min_length=1,
            description="For a .onnx file: the folder (or gs:// URI) of the checkpoint that it was exported from, with "
            "config.json and the tokenizer; with its weights the graph is compared with PyTorch. null takes what lies "
            "beside the file.",
        ),
    ] = None
    name: Annotated[
        str | None,
        Field(pattern=NAME_PATTERN, description="What it is called here; null takes the last part of `model`."),
    ] = None
    task: TaskChoice = Field(
        default="auto", description="The task to export; auto is the one that the checkpoint was saved with."
    )
    weights: Weights = Field(
        default="hub",
        description="hub: the checkpoint's own, from a hub or a folder. random: drawn from `seed`, for benchmarks and "
        "machines that cannot reach a hub; never chosen for you.",
    )
    seed: int = Field(default=0, ge=0, description="Seed of random weights.")
    revision: str | None = Field(default=None, description="Branch, tag or commit of a hub model.")
    tokenizer: Annotated[
        str | None,
        Field(
            min_length=1,
            description="Vocabulary for random weights, which have none: a folder with tokenizer.json or vocab.txt, or "
            "minilm, whose vocabulary is that of bert-base-uncased.",
        ),
    ] = None

    @field_validator("tokenizer")
    @classmethod
    def check_tokenizer(cls, value: str | None, info: ValidationInfo) -> str | None:
        """Trained weights come with their own vocabulary, and no other fits them."""
        if value is not None and info.data.get("weights", "random") != "random":
            raise ValueError("tokenizer belongs to weights: random; a checkpoint brings its own")
        return value

    @model_validator(mode="after")
    def check_seed(self) -> Self:
        """Trained weights are drawn from no seed."""
        if self.seed and self.weights == "hub":
            refuse_all([describe_rule("seed belongs to weights: random", "add weights: random, or remove seed")])
        return self
