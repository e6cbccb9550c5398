"""Two entries of a repository as the tiers of one server, with tiers and without."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prep_triton.artifact import RepositoryEntry
from prep_triton.errors import RepositoryMissingError, SpecError, suggest
from prep_triton.layout import CONFIG_NAME, VERSION_DIR
from prep_triton.run.serving import ServedRepository
from prep_triton.spec import ServingSpec, Tier
from prep_triton.target import needs_gpu

TIERS: tuple[Tier, Tier] = (1, 2)
# What a tier decides.
_OF_TIERS = ("tier", "rate_limiter", "stream_priority")
# Files of warm-up are named by paths of the entry, and answers of a cache are no work.
_LEFT_OUT = ("warmup", "response_cache")


def entry_name(tier: Tier) -> str:
    """Return what a tier is called on both servers."""
    return f"tier-{tier}"


def choose_tiers(
    served: ServedRepository, names: tuple[str | None, str | None], *, has_gpu: bool
) -> Mapping[Tier, RepositoryEntry]:
    """Return the entries that play the tiers.

    Those that were named; else those of their tier; else one model twice, or two in their order.

    Args:
        served: The repository.
        names: The names of tier 1 and 2; one of them plays both where it alone was named.
        has_gpu: Whether this machine serves entries that need a GPU.

    Raises:
        RepositoryMissingError: An entry is not there.
        SpecError: One is not a model, there is none, or it is not clear which.
    """
    models = {entry.name: entry for entry in served.entries if entry.kind == "model" and entry.onnx}
    if any(names):
        first, second = names[0] or names[1] or "", names[1] or names[0] or ""
        return {1: _find_named(served, models, first), 2: _find_named(served, models, second)}
    candidates = [entry for entry in models.values() if has_gpu or not needs_gpu(entry)]
    if not candidates:
        raise SpecError(
            f"{served.uri} has no model that this machine serves, and bursts are of models",
            hint="assemble one with `prep assemble`",
        )
    tiered = [[entry for entry in candidates if entry.tier == tier] for tier in TIERS]
    if all(len(own) == 1 for own in tiered):
        return {tier: own[0] for tier, own in zip(TIERS, tiered, strict=True)}
    if len(candidates) > 2:
        listed = ", ".join(entry.name for entry in candidates)
        raise SpecError(
            f"{served.uri} has {len(candidates)} models and not one of each tier: {listed}",
            hint=f"say which: --tier-1 {candidates[0].name} --tier-2 {candidates[1].name}",
        )
    return {1: candidates[0], 2: candidates[-1]}


def _find_named(served: ServedRepository, models: Mapping[str, RepositoryEntry], name: str) -> RepositoryEntry:
    if name in models:
        return models[name]
    others = {entry.name: entry for entry in served.entries}
    if name in others:
        serves = others[name].serves
        raise SpecError(
            f"{name} is not a model, and bursts are of models",
            hint=f"name its model, {serves}" if serves in models else f"name one of {', '.join(models) or 'none'}",
        )
    raise RepositoryMissingError(
        f"{served.uri} has no entry {name}", hint=suggest(name, models, otherwise=f"it has {', '.join(models)}")
    )


def write_tiers(
    folder: Path, repository: Path, entries: Mapping[Tier, RepositoryEntry], *, is_tiered: bool
) -> tuple[str, ...]:
    """Write a repository of both tiers, whose models are links; return what its server must be started with.

    Args:
        folder: The new repository; made here.
        repository: Where the entries are.
        entries: Which entry plays which tier.
        is_tiered: Whether they are served with their tiers.

    Raises:
        SpecError, RepositoryError: An entry's choices do not fit it, as `prep assemble` says.
    """
    from prep_triton.server_arguments import merge_server_arguments
    from prep_triton.triton.config.server_arguments import CACHE_PREFIXES, RATE_LIMIT
    from prep_triton.triton.entries.recipe import spec_of_entry
    from prep_triton.triton.entries.write import preview_entry

    arguments: list[str] = [RATE_LIMIT] if is_tiered else []
    for tier, entry in entries.items():
        if entry.onnx is None:
            raise SpecError(f"{entry.name} is not a model", hint="name one with --tier-1 or --tier-2")
        spec = spec_of_entry(entry, serving_of_tier(entry, tier if is_tiered else None), name=entry_name(tier))
        _, text = preview_entry(entry.onnx, entry.engines, spec)
        version_dir = folder / entry_name(tier) / VERSION_DIR
        version_dir.mkdir(parents=True)
        (version_dir.parent / CONFIG_NAME).write_text(text, encoding="utf-8")
        for path in (repository / entry.name / VERSION_DIR).iterdir():
            (version_dir / path.name).symlink_to(path.resolve())
        arguments += [one for one in entry.server_arguments if not one.startswith(("--rate-limit", *CACHE_PREFIXES))]
    return merge_server_arguments(arguments)


def serving_of_tier(entry: RepositoryEntry, tier: Tier | None) -> ServingSpec:
    """Return an entry's own serving choices: as they are in its own tier, else without what that added to them."""
    stored = ServingSpec.model_validate(entry.spec.get("serving") or {})
    if tier is not None and stored.tier == tier:
        own = _without(stored.model_dump(mode="json"), _LEFT_OUT)
        if stored.dynamic_batching:
            # A dump names a delay that nobody did, and a backend that merges no requests refuses one.
            own["dynamic_batching"] = stored.dynamic_batching.model_dump(mode="json", exclude_defaults=True)
        return ServingSpec.model_validate(own)
    # A tier fills in what was not given, and a stored choice does not say what was.
    choices: dict[str, Any] = stored.model_dump(mode="json", exclude_defaults=True)
    choices = _without(choices, (*_OF_TIERS, *_LEFT_OUT))
    if groups := choices.get("instance_groups"):
        choices["instance_groups"] = [_without(group, ("rate_limiter",)) for group in groups]
    return ServingSpec.model_validate(choices | ({"tier": tier} if tier else {}))


def _without(values: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in keys}
