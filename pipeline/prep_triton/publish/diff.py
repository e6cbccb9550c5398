"""What changed between two releases: models, precision, accuracy, fidelity, size, latency, files."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from prep_triton.artifact import Record
from prep_triton.layout import CONFIG_NAME, MANIFEST_NAME
from prep_triton.publish.figures import EntryFigures, figures_from_release, files_of_entry
from prep_triton.publish.record import Release

# Whatever these say is told by the other fields: that something changed, and what the server was seen to do with it.
_NO_CHANGE = ("key", "status")


class ConfigChange(Record):
    """One key of config.pbtxt, ``dynamic_batching.max_queue_delay_microseconds``; None where a side lacks it."""

    key: str
    before: str | None
    after: str | None


@dataclass(frozen=True)
class EntryChange:
    """An entry in both releases that differs.

    `changed` names the figures, and which files have other bytes: ``config`` (config.pbtxt, whose keys are in
    `config`), ``weights`` (a model's file), ``files`` (any other).
    """

    name: str
    before: EntryFigures
    after: EntryFigures
    changed: tuple[str, ...]
    config: tuple[ConfigChange, ...] = ()


@dataclass(frozen=True)
class ReleaseDiff:
    """What the second release adds, lacks and changes; `size` is the difference in bytes."""

    before: str
    after: str
    added: dict[str, EntryFigures]
    removed: dict[str, EntryFigures]
    changed: tuple[EntryChange, ...]
    unchanged: tuple[str, ...]
    size: int


def diff_releases(
    before: Release,
    after: Release,
    reports: tuple[Mapping[str, Any], Mapping[str, Any]] = ({}, {}),
) -> ReleaseDiff:
    """Compare two releases, entry by entry.

    Args:
        before: The one.
        after: The other.
        reports: What `prep verify` reported of each; see `figures_from_release`.
    """
    old, new = (figures_from_release(release, report) for release, report in zip((before, after), reports, strict=True))
    figures, changes = [field.name for field in fields(EntryFigures) if field.name not in _NO_CHANGE], []
    for name in (name for name in new if name in old):
        changed = [field for field in figures if getattr(old[name], field) != getattr(new[name], field)]
        changed += _changed_files(before, after, name)
        changes.append(EntryChange(name, old[name], new[name], tuple(changed)))
    return ReleaseDiff(
        before=before.id,
        after=after.id,
        added={name: entry for name, entry in new.items() if name not in old},
        removed={name: entry for name, entry in old.items() if name not in new},
        changed=tuple(change for change in changes if change.changed),
        unchanged=tuple(change.name for change in changes if not change.changed),
        size=after.size - before.size,
    )


def _changed_files(before: Release, after: Release, entry: str) -> Iterator[str]:
    """Yield which kinds of an entry's files differ in their bytes."""
    old, new = (files_of_entry(release, entry) for release in (before, after))
    names = {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}
    # A manifest says when it was written: not a change.
    names.discard(f"{entry}/{MANIFEST_NAME}")
    config = f"{entry}/{CONFIG_NAME}"
    if config in names:
        yield "config"
    weights = {name for name in names if name.count("/") == 2 and not name.endswith(".py")}
    if weights:
        yield "weights"
    if names - weights - {config}:
        yield "files"
