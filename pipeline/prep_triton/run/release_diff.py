"""What changed from one release to another: figures, files, and the keys of every config.pbtxt."""

from dataclasses import replace
from typing import TYPE_CHECKING

from prep_triton.errors import PrepError
from prep_triton.layout import CONFIG_NAME, folder_of_release

if TYPE_CHECKING:
    from prep_triton.publish.diff import ConfigChange, EntryChange, ReleaseDiff
    from prep_triton.publish.record import Release
    from prep_triton.publish.store import Store


def compare_releases(store: "Store", before: "Release", after: "Release") -> "ReleaseDiff":
    """Compare two releases of a store.

    Raises:
        StoreError: The store refused or failed.
    """
    from prep_triton.publish.diff import diff_releases
    from prep_triton.publish.reports import load_report

    diff = diff_releases(before, after, (load_report(store, before.id), load_report(store, after.id)))
    changed = [
        replace(change, config=tuple(_diff_config(store, before, after, change)))
        if "config" in change.changed
        else change
        for change in diff.changed
    ]
    return replace(diff, changed=tuple(changed))


def _diff_config(store: "Store", before: "Release", after: "Release", change: "EntryChange") -> "list[ConfigChange]":
    """Compare an entry's config.pbtxt in two releases; empty where one is gone or damaged, which `--check` tells."""
    from prep_triton.publish.diff import ConfigChange
    from prep_triton.triton.config.compare import diff_configs
    from prep_triton.triton.config.parse import decode_config

    try:
        old, new = (
            decode_config(store.read_bytes(f"{folder_of_release(release.id)}{change.name}/{CONFIG_NAME}"))
            for release in (before, after)
        )
        return [ConfigChange(key=key, before=was, after=now) for key, was, now in diff_configs(old, new)]
    except (PrepError, UnicodeDecodeError):
        return []
