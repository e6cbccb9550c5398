"""Choices as a test writes them: resolved, as config.pbtxt, as the recipe of their entry, and assembled."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prep_triton.artifact import Engine, OnnxModel, RepositoryEntry
from prep_triton.spec import EntrySpec, Precision, Runtime, ServingSpec
from prep_triton.triton.config import ResolvedServing, model_config_from_artifact, resolve_serving
from prep_triton.triton.entries import write
from prep_triton.triton.entries.recipe import entry_recipe
from prep_triton.workspace import Produced, Recipe

Served = OnnxModel | Sequence[Engine]


def entry_spec(artifact: Served, serving: ServingSpec, *, name: str | None = None) -> EntrySpec:
    """Return the request for an entry of a graph for ONNX Runtime, or of plans."""
    runtime: Runtime = "onnxruntime" if isinstance(artifact, OnnxModel) else "tensorrt"
    precision: Precision = artifact.precision if isinstance(artifact, OnnxModel) else "fp16"
    # Refused here is nothing, whatever it is: that is the tested code's to do.
    return EntrySpec.model_construct(runtime=runtime, precision=precision, serving=serving, name=name)


def assemble_entry(
    model: OnnxModel, engines: Sequence[Engine], serving: ServingSpec, repository: Path, *, name: str | None = None
) -> Produced[RepositoryEntry]:
    """Write an entry as `prep_triton.triton.entries.write.assemble_entry` does."""
    return write.assemble_entry(model, engines, entry_spec(engines or model, serving, name=name), repository)


def resolve(artifact: Served, serving: ServingSpec) -> ResolvedServing:
    """Return the choices resolved; of plans the model is as long as BERT's."""
    longest = artifact.max_sequence_length if isinstance(artifact, OnnxModel) else 512
    return resolve_serving(artifact, entry_spec(artifact, serving), longest=longest)


def build_config(name: str, artifact: Served, serving: ServingSpec) -> Any:
    """Return the message."""
    return model_config_from_artifact(name, artifact, resolve(artifact, serving))


def recipe_of(model: OnnxModel, engines: Sequence[Engine], serving: ServingSpec) -> Recipe:
    """Return the recipe of an entry without a name of its own."""
    spec = entry_spec(engines or model, serving)
    resolved = resolve_serving(engines or model, spec, longest=model.max_sequence_length)
    return entry_recipe(model, engines, resolved)
