"""A release as the documents show it."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from prep_triton.artifact import Record
from prep_triton.publish.figures import figures_from_release
from prep_triton.publish.record import Release, ReleaseEntry
from prep_triton.publish.reports import why_unfit


class ListedEntry(ReleaseEntry):
    """An entry without its manifest, which `prep releases --show` has."""

    manifest: dict[str, Any] = Field(default_factory=dict, exclude=True)


class VerifiedSummary(Record):
    """What a real Triton was seen to do with a release: the worst of its entries' figures.

    `passed` of `entries` answered as their references say. `cosine` is the smallest of the entries' mean cosines to
    PyTorch FP32, `latency_ms` the largest median of single requests, `accuracy` the smallest after conversion, in
    points; None where no entry has one. `problem` says why the release should not be served.
    """

    passed: int = 0
    entries: int = 0
    cosine: float | None = None
    latency_ms: float | None = None
    accuracy: float | None = None
    problem: str | None = None


class ListedRelease(Release):
    """A release without the manifests of its entries; `verified` is None where nobody verified it."""

    entries: tuple[ListedEntry, ...]
    verified: VerifiedSummary | None = None


def listed_release(release: Release, report: Mapping[str, Any] | None = None) -> ListedRelease:
    """Return a release without the manifests of its entries, with what its report says."""
    listed = ListedRelease.model_validate(release.model_dump())
    return listed.model_copy(update={"verified": summarize_report(release, report)}) if report else listed


def summarize_report(release: Release, report: Mapping[str, Any]) -> VerifiedSummary:
    """Return the worst figures of a release's entries."""
    figures = figures_from_release(release, report).values()
    return VerifiedSummary(
        passed=sum(entry.status == "loaded" for entry in figures),
        entries=len(figures),
        cosine=min((entry.served_cosine for entry in figures if entry.served_cosine is not None), default=None),
        latency_ms=max((entry.latency_ms for entry in figures if entry.latency_ms is not None), default=None),
        accuracy=min((entry.accuracy for entry in figures if entry.accuracy is not None), default=None),
        problem=why_unfit(report) or None,
    )
