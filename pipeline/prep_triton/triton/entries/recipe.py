"""What decides a model entry's bytes, and what its manifest says."""

import importlib.metadata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prep_triton.artifact import Engine, OnnxModel, RepositoryEntry
from prep_triton.spec import ConversionSpec, EntrySpec, ServingSpec
from prep_triton.triton.config import ResolvedServing
from prep_triton.triton.config.server_arguments import arguments_from_serving
from prep_triton.triton.entries.names import check_entry_name, default_entry_name
from prep_triton.workspace import Recipe

# The smallest cosine of any answer to PyTorch FP32, of what was converted without a gate: FP32 rounds in another
# order.
UNCONVERTED_TOLERANCE = 0.9999


def entry_recipe(
    model: OnnxModel, engines: Sequence[Engine], resolved: ResolvedServing, *, name: str | None = None
) -> Recipe:
    """Return everything that decides an entry's bytes; reads no file and imports no vendor library.

    Raises:
        SpecError: The name cannot be one of an entry.
        RepositoryError: The engines are of several precisions.
    """
    name = name or default_entry_name(model.name, resolved.backend, resolved.precision)
    check_entry_name(name, hint="choose another name with --name")
    return Recipe(
        stage="entry",
        name=name,
        spec={
            # With what the tier adds, and with the buckets: a dump does not say whether a value was given.
            "serving": resolved.choices.model_dump(mode="json"),
            "runtime": resolved.backend,
            "precision": resolved.precision,
            "server_arguments": list(arguments_from_serving(resolved.choices)),
            # What `prep verify` may send: the range that every plan accepts.
            "min_sequence": resolved.shortest,
            "max_sequence": resolved.longest,
            # What `prep verify` judges by; the labelled rows are named by their content elsewhere.
            "gate": model.gate and model.gate.model_dump(mode="json", exclude={"eval_data"}),
        },
        inputs={"model": model.key, **{f"engine {engine.compute_capability}": engine.key for engine in engines}},
        tools={tool: importlib.metadata.version(tool) for tool in ("prep-triton", "tritonclient")},
    )


def spec_of_entry(entry: RepositoryEntry, serving: ServingSpec, *, name: str | None = None) -> EntrySpec:
    """Return the request for a model entry that is there, with other serving choices."""
    return EntrySpec.model_validate(
        {"runtime": entry.runtime, "precision": entry.precision, "serving": serving, "name": name}
    )


def entry_fields(model: OnnxModel, engines: Sequence[Engine], resolved: ResolvedServing) -> dict[str, Any]:
    """Return what the manifest of a model entry says, besides what every artifact's does."""
    nowhere = {"folder": Path()}  # a record within a record has no folder of its own
    return {
        "runtime": resolved.backend,
        "precision": resolved.precision,
        "task": model.task,
        "architecture": model.architecture,
        "weights": model.weights,
        "max_batch_size": resolved.max_batch_size,
        "compute_capabilities": tuple(engine.compute_capability for engine in engines),
        "tolerance": tolerance_of(model, resolved),
        "tier": resolved.choices.tier,
        "length_buckets": resolved.length_buckets,
        "onnx": model.model_copy(update=nowhere),
        "engines": tuple(engine.model_copy(update=nowhere) for engine in engines),
        "server_arguments": arguments_from_serving(resolved.choices),
    }


def tolerance_of(model: OnnxModel, resolved: ResolvedServing) -> float:
    """Return the smallest cosine to PyTorch FP32, of any one answer of what serves a graph, that verify lets pass."""
    gate = model.gate or ConversionSpec(runtime=resolved.backend, precision=resolved.precision).required_gate()
    return UNCONVERTED_TOLERANCE if gate is None else gate.min_row_cosine or 0.0
