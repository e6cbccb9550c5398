"""What changed between two releases: models, precision, accuracy, fidelity, size."""

from dataclasses import dataclass
from typing import Any

from prep_triton.layout import MANIFEST_NAME
from prep_triton.publish.record import Release, ReleaseEntry


@dataclass(frozen=True)
class EntryFigures:
    """What is compared of an entry; None where its release does not tell.

    `accuracy` is a task's metric in points (0..100) after conversion; `mean_cosine` and `min_cosine` are the fidelity
    to FP32. `engines` maps a compute capability to the builder's version.
    """

    key: str
    model: str | None
    runtime: str
    precision: str
    size: int
    metric: str | None
    accuracy: float | None
    mean_cosine: float | None
    min_cosine: float | None
    engines: dict[str, str]


@dataclass(frozen=True)
class EntryChange:
    """An entry in both releases that differs: `changed` names the fields, ``files`` where only bytes do."""

    name: str
    before: EntryFigures
    after: EntryFigures
    changed: tuple[str, ...]


@dataclass(frozen=True)
class ReleaseDiff:
    """What the second release has that the first has not, and the other way round; `size` is the change in bytes."""

    before: str
    after: str
    added: dict[str, EntryFigures]
    removed: dict[str, EntryFigures]
    changed: tuple[EntryChange, ...]
    unchanged: tuple[str, ...]
    size: int


def diff_releases(before: Release, after: Release) -> ReleaseDiff:
    """Compare two releases, entry by entry."""
    old, new = ({entry.name: entry for entry in release.entries} for release in (before, after))
    common = [name for name in new if name in old]
    changes = [_compare(name, before, after) for name in common]
    return ReleaseDiff(
        before=before.id,
        after=after.id,
        added={name: figures_from_entry(new[name], after) for name in new if name not in old},
        removed={name: figures_from_entry(old[name], before) for name in old if name not in new},
        changed=tuple(change for change in changes if change.changed),
        unchanged=tuple(change.name for change in changes if not change.changed),
        size=after.size - before.size,
    )


def figures_from_entry(entry: ReleaseEntry, release: Release) -> EntryFigures:
    """Take from an entry's manifest what is compared."""
    onnx = entry.manifest.get("onnx") or {}
    accuracy, fidelity = onnx.get("accuracy") or {}, onnx.get("fidelity") or {}
    engines = entry.manifest.get("engines") or []
    return EntryFigures(
        key=entry.key,
        model=onnx.get("source"),
        runtime=entry.runtime,
        precision=entry.precision,
        size=sum(file.size for file in _files_of(release, entry.name).values()),
        metric=accuracy.get("metric"),
        accuracy=accuracy.get("converted"),
        mean_cosine=fidelity.get("mean_cosine"),
        min_cosine=fidelity.get("min_cosine"),
        engines={engine["compute_capability"]: engine["builder_version"] for engine in engines},
    )


def _compare(name: str, before: Release, after: Release) -> EntryChange:
    old, new = (
        next(figures_from_entry(entry, release) for entry in release.entries if entry.name == name)
        for release in (before, after)
    )
    changed = [field for field in EntryFigures.__dataclass_fields__ if getattr(old, field) != getattr(new, field)]
    if not changed and _content_of(before, name) != _content_of(after, name):
        changed = ["files"]
    return EntryChange(name, old, new, tuple(changed))


def _content_of(release: Release, entry: str) -> dict[str, Any]:
    # A manifest says when it was written: not a change.
    files = _files_of(release, entry)
    return {name: file.sha256 for name, file in files.items() if name != f"{entry}/{MANIFEST_NAME}"}


def _files_of(release: Release, entry: str) -> dict[str, Any]:
    return {name: file for name, file in release.files.items() if name.startswith(f"{entry}/")}
