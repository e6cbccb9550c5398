"""A repository in which one entry is served with other choices: what is large is linked, the configurations are new."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prep_triton.artifact import RepositoryEntry
from prep_triton.bench.tuning_records import Choice, Layout
from prep_triton.errors import RepositoryError, RepositoryMissingError, SpecError, suggest
from prep_triton.layout import CONFIG_NAME
from prep_triton.spec import ServingSpec, TextSpec

if TYPE_CHECKING:
    from prep_triton.triton.config import ResolvedServing

# A graph for ONNX Runtime takes any batch; on a CPU nothing is gained beyond these rows.
LARGEST_BATCH = 32


@dataclass(frozen=True)
class TunedEntry:
    """An entry to tune: the model's own, and of a text ensemble the other three, by their kind.

    `serving` are the choices that it is served with now. `is_merged` is False where the server cannot merge requests:
    of OpenVINO.
    """

    name: str
    model: RepositoryEntry
    text: Mapping[str, RepositoryEntry]
    serving: ServingSpec
    is_merged: bool = True
    server_arguments: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """The entries that a server has to load."""
        return [self.model.name, *(entry.name for entry in self.text.values())]


def find_tuned_entry(repository: Path, name: str) -> TunedEntry:
    """Find an entry of a repository, and what is served with it.

    Raises:
        RepositoryMissingError: There is no such repository, or no such entry.
        SpecError: It is a tokenizer or a post-processor.
        RepositoryError: It was not written by `prep assemble`.
    """
    from prep_triton.triton.entries.load import load_repository
    from prep_triton.triton.verify.repository import find_server_arguments

    entries = load_repository(repository)
    by_name = {entry.name: entry for entry in entries}
    entry = by_name.get(name)
    if entry is None:
        otherwise = f"it has {', '.join(by_name)}"
        raise RepositoryMissingError(
            f"{repository} has no entry {name}", hint=suggest(name, by_name, otherwise=otherwise)
        )
    if entry.kind not in ("model", "ensemble"):
        owner = entry.serves or ""
        raise SpecError(
            f"{name} is a {entry.kind}, which is tuned with its model",
            hint=f"name {owner}-text, or {owner} for token ids" if owner else "name a model or a text ensemble",
        )
    model = by_name.get(entry.serves or "") if entry.kind == "ensemble" else entry
    if model is None or model.onnx is None or "serving" not in model.spec:
        raise RepositoryError(
            f"the manifest of {name} does not say how it is served", hint="assemble it again with prep assemble"
        )
    text: dict[str, RepositoryEntry] = {}
    if entry.kind == "ensemble":
        text = {by_name[part].kind: by_name[part] for part in (*entry.composes, name) if part != model.name}
    serving = ServingSpec.model_validate(model.spec["serving"])
    is_merged = model.runtime != "openvino"
    return TunedEntry(name, model, text, serving, is_merged, tuple(find_server_arguments(entries, str(repository))))


def choice_from_entry(entry: TunedEntry) -> Choice:
    """Return the choices by which an entry is served now, as far as they are tuned."""
    serving, queue = entry.serving, entry.serving.dynamic_batching
    return Choice(
        layout=Layout(instances=sum(group.count for group in serving.groups()), threads=serving.threads),
        merges=queue is not None,
        max_batch=entry.model.max_batch_size or largest_batch(entry),
        delay_us=queue.max_queue_delay_us if queue else 0,
        preferred=queue.preferred_batch_sizes if queue else (),
        padding=serving.padding if entry.text else None,
    )


def serving_keys(entry: TunedEntry, choice: Choice) -> dict[str, Any]:
    """Return the keys of ``serving:`` that serve an entry with other choices, the rest of them as they are."""
    kept = entry.serving.model_dump(mode="json", exclude_defaults=True)
    groups = kept.pop("instance_groups", None)
    if groups and (kind := groups[0].get("kind")):
        kept["instance_kind"] = kind
    kept["instance_count"] = choice.layout.instances
    if choice.layout.threads is not None:
        kept["threads"] = choice.layout.threads
    if entry.is_merged:
        kept["max_batch_size"] = choice.max_batch
        queue = kept.get("dynamic_batching") or {}
        queue |= {"max_queue_delay_us": choice.delay_us, "preferred_batch_sizes": list(choice.preferred)}
        kept["dynamic_batching"] = queue if choice.merges else None
    if choice.padding is not None:
        kept["padding"] = choice.padding
    return kept


def largest_batch(entry: TunedEntry) -> int:
    """Return the most rows that an entry may be given at once."""
    if not entry.model.engines:
        return LARGEST_BATCH
    return _resolve(entry, entry.serving.model_copy(update={"max_batch_size": None})).max_batch_size


def write_candidate(entry: TunedEntry, choice: Choice, folder: Path) -> Path:
    """Write a repository that serves an entry with other choices, and return its folder.

    Raises:
        SpecError: The choices do not fit the entry.
    """
    from prep_triton.triton.config import model_config_from_artifact, render_config
    from prep_triton.triton.entries.text_config import TextConfigs

    # What is run before the entry is ready changes nothing of what is measured.
    serving = ServingSpec.model_validate(serving_keys(entry, choice) | {"warmup": False})
    resolved = _resolve(entry, serving)
    config = model_config_from_artifact(entry.model.name, _artifact(entry), resolved)
    _link_entry(entry.model, folder, render_config(config))
    if entry.text:
        served = entry.model.model_copy(
            update={
                "max_batch_size": resolved.max_batch_size,
                "length_buckets": resolved.length_buckets,
                "spec": {**entry.model.spec, "serving": resolved.choices.model_dump(mode="json")},
            }
        )
        text = TextSpec.model_validate(entry.text["ensemble"].spec["text"])
        configs = TextConfigs(served, config, text)
        for kind, part in entry.text.items():
            _link_entry(part, folder, render_config(getattr(configs, kind)()))
    return folder


def _resolve(entry: TunedEntry, serving: ServingSpec) -> "ResolvedServing":
    from prep_triton.triton.config import resolve_serving
    from prep_triton.triton.entries.recipe import spec_of_entry

    model, spec = entry.model.onnx, spec_of_entry(entry.model, serving)
    assert model is not None
    return resolve_serving(_artifact(entry), spec, longest=model.max_sequence_length, usual=model.usual_length)


def _artifact(entry: TunedEntry) -> Any:
    return list(entry.model.engines) or entry.model.onnx


def _link_entry(entry: RepositoryEntry, folder: Path, config: str) -> None:
    """Lay an entry out in a folder: its own files linked, its configuration written."""
    target = folder / entry.name
    target.mkdir(parents=True)
    for path in entry.folder.iterdir():
        if path.name != CONFIG_NAME:
            (target / path.name).symlink_to(path.absolute(), target_is_directory=path.is_dir())
    (target / CONFIG_NAME).write_text(config, encoding="utf-8")
