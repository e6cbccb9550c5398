"""A release as the documents show it."""

from typing import Any

from pydantic import Field

from prep_triton.publish.record import Release, ReleaseEntry


class ListedEntry(ReleaseEntry):
    """An entry without its manifest, which `prep releases --show` has."""

    manifest: dict[str, Any] = Field(default_factory=dict, exclude=True)


class ListedRelease(Release):
    """A release without the manifests of its entries."""

    entries: tuple[ListedEntry, ...]


def listed_release(release: Release) -> ListedRelease:
    """Return a release without the manifests of its entries."""
    return ListedRelease.model_validate(release.model_dump())
