"""Choices as a test writes them, resolved: their config.pbtxt, and the recipe of their entry."""

from collections.abc import Sequence
from typing import Any

from prep_triton.artifact import Engine, OnnxModel
from prep_triton.spec import ServingSpec
from prep_triton.triton.config import model_config_from_artifact, resolve_serving
from prep_triton.triton.entries.recipe import entry_recipe
from prep_triton.workspace import Recipe


def build_config(name: str, artifact: OnnxModel | Sequence[Engine], serving: ServingSpec) -> Any:
    """Return the message; of plans the model is as long as BERT's."""
    longest = artifact.max_sequence_length if isinstance(artifact, OnnxModel) else 512
    return model_config_from_artifact(name, artifact, resolve_serving(artifact, serving, longest=longest))


def recipe_of(model: OnnxModel, engines: Sequence[Engine], serving: ServingSpec) -> Recipe:
    """Return the recipe of an entry without a name of its own."""
    resolved = resolve_serving(engines or model, serving, longest=model.max_sequence_length)
    return entry_recipe(model, engines, resolved)
