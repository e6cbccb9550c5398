"""The figures of a release's entries: what its manifests and its verification report say of each."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from prep_triton.publish.record import Release, ReleaseEntry, ReleaseFile


@dataclass(frozen=True)
class EntryFigures:
    """What two releases are compared by; None where a release does not say.

    `size_bytes` is of all files. `accuracy` is a task's metric in points (0..100) after conversion; `mean_cosine`
    and `min_cosine` are the converted graph's fidelity to FP32. `engines` maps a compute capability to the builder's
    version. `status` (`loaded`, `config-accepted-only` or `failed`), `served_cosine` (the mean, to PyTorch FP32) and
    `latency_ms` (the median of single requests) are what a real Triton inferred.
    """

    key: str
    runtime: str
    precision: str
    size_bytes: int
    model: str | None = None
    metric: str | None = None
    accuracy: float | None = None
    mean_cosine: float | None = None
    min_cosine: float | None = None
    engines: Mapping[str, str] = field(default_factory=dict)
    status: str | None = None
    served_cosine: float | None = None
    latency_ms: float | None = None


def figures_from_release(release: Release, report: Mapping[str, Any]) -> dict[str, EntryFigures]:
    """Gather the figures of every entry, by name.

    Args:
        release: The release.
        report: What `prep verify` reported of it, or nothing: ``entries`` with ``mean_cosine`` and ``p50_ms``.
    """
    reports = {entry.get("name"): entry for entry in report.get("entries", ()) if isinstance(entry, Mapping)}
    return {entry.name: figures_from_entry(entry, release, reports.get(entry.name)) for entry in release.entries}


def figures_from_entry(entry: ReleaseEntry, release: Release, report: Mapping[str, Any] | None = None) -> EntryFigures:
    """Gather the figures of one entry; see `figures_from_release`."""
    onnx = entry.manifest.get("onnx") or {}
    accuracy, fidelity = onnx.get("accuracy") or {}, onnx.get("fidelity") or {}
    engines = entry.manifest.get("engines") or []
    report = report or {}
    return EntryFigures(
        key=entry.key,
        runtime=entry.runtime,
        precision=entry.precision,
        size_bytes=sum(file.size for file in files_of_entry(release, entry.name).values()),
        model=onnx.get("source"),
        metric=accuracy.get("metric"),
        accuracy=accuracy.get("converted"),
        mean_cosine=fidelity.get("mean_cosine"),
        min_cosine=fidelity.get("min_cosine"),
        engines={engine["compute_capability"]: engine["builder_version"] for engine in engines},
        status=status if isinstance(status := report.get("status"), str) else None,
        served_cosine=_number(report.get("mean_cosine")),
        latency_ms=_number(report.get("p50_ms")),
    )


def files_of_entry(release: Release, entry: str) -> dict[str, ReleaseFile]:
    """Return the files of an entry, by their names in the release."""
    return {name: file for name, file in release.files.items() if name.startswith(f"{entry}/")}


def _number(value: Any) -> float | None:
    """Take a figure of a stored report; what is not a number was not measured."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and value == value  # noqa: PLR0124 NaN
    return float(value) if is_number else None
