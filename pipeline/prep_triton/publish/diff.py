"""What changed between two releases: models, precision, accuracy, fidelity, size."""

from dataclasses import dataclass, fields
from typing import Any

from prep_triton.layout import MANIFEST_NAME
from prep_triton.publish.figures import EntryFigures, figures_from_release, files_of_entry
from prep_triton.publish.record import Release


@dataclass(frozen=True)
class EntryChange:
    """An entry in both releases that differs: `changed` names the fields, ``files`` where only bytes do."""

    name: str
    before: EntryFigures
    after: EntryFigures
    changed: tuple[str, ...]


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


def diff_releases(before: Release, after: Release) -> ReleaseDiff:
    """Compare two releases, entry by entry."""
    old, new = (figures_from_release(release, {}) for release in (before, after))
    figures, changes = [field.name for field in fields(EntryFigures)], []
    for name in (name for name in new if name in old):
        changed = [field for field in figures if getattr(old[name], field) != getattr(new[name], field)]
        if not changed and _content_of(before, name) != _content_of(after, name):
            changed = ["files"]
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


def _content_of(release: Release, entry: str) -> dict[str, Any]:
    # A manifest says when it was written: not a change.
    files = files_of_entry(release, entry)
    return {name: file.sha256 for name, file in files.items() if name != f"{entry}/{MANIFEST_NAME}"}
