"""Whether a release may take the place of the current one: its figures against the current one's.

Compared are the figures that the releases' own manifests and verification reports hold, so that nothing is
measured again.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from prep_triton.artifact import Record, RepositoryEntry
from prep_triton.spec import RegressionSpec


class EntryFigures(Record):
    """What is compared of one entry; None where it was not measured.

    `cosine` is the mean cosine of its answers to PyTorch FP32, `accuracy` the task's metric in points,
    `size_bytes` that of all its files, `latency_ms` the median of single requests.
    """

    name: str
    cosine: float | None = None
    accuracy: float | None = None
    size_bytes: int | None = None
    latency_ms: float | None = None


class Regression(Record):
    """One figure that became worse than its threshold allows."""

    entry: str
    figure: str
    before: float | None
    after: float | None
    message: str


def figures_from_entry(entry: RepositoryEntry, answers: Mapping[str, Any] | None) -> EntryFigures:
    """Gather an entry's figures.

    Args:
        entry: Its manifest.
        answers: What `prep verify` reported of it, if it was verified: ``mean_cosine``, ``p50_ms``.
    """
    accuracy = entry.onnx.accuracy if entry.onnx else None
    answers = answers or {}
    return EntryFigures(
        name=entry.name,
        cosine=_number(answers.get("mean_cosine")),
        accuracy=accuracy.converted if accuracy else None,
        size_bytes=sum(file.size for file in entry.files.values()),
        latency_ms=_number(answers.get("p50_ms")),
    )


def find_regressions(
    before: Iterable[EntryFigures], after: Iterable[EntryFigures], limits: RegressionSpec
) -> list[Regression]:
    """Compare the entries that both releases have; an entry that is gone is a regression too.

    Args:
        before: The current release's figures.
        after: The new one's.
        limits: The thresholds. A figure that one of the two lacks is not compared.
    """
    new = {figures.name: figures for figures in after}
    found: list[Regression] = []
    for old in before:
        if old.name not in new:
            message = f"{old.name} is in the current release and not in this one"
            found.append(Regression(entry=old.name, figure="entry", before=None, after=None, message=message))
        else:
            found += _compare(old, new[old.name], limits)
    return found


def _compare(old: EntryFigures, new: EntryFigures, limits: RegressionSpec) -> list[Regression]:
    checks = (
        ("cosine", _drop(old.cosine, new.cosine), limits.max_cosine_drop, ""),
        ("accuracy", _drop(old.accuracy, new.accuracy), limits.max_accuracy_drop, " points"),
        ("size_bytes", _rise_percent(old.size_bytes, new.size_bytes), limits.max_size_increase_percent, " %"),
        ("latency_ms", _rise_percent(old.latency_ms, new.latency_ms), limits.max_latency_increase_percent, " %"),
    )
    found = []
    for figure, change, limit, unit in checks:
        if change is not None and limit is not None and change > limit:
            before, after = getattr(old, figure), getattr(new, figure)
            message = (
                f"{old.name}: {figure} went from {before:g} to {after:g}, worse by {change:.4g}{unit}, "
                f"expected at most {limit:g}{unit}"
            )
            found.append(Regression(entry=old.name, figure=figure, before=before, after=after, message=message))
    return found


def _number(value: Any) -> float | None:
    """Take a figure of a stored report; what is no number was not measured."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and value == value  # noqa: PLR0124 NaN
    return float(value) if is_number else None


def _drop(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else before - after


def _rise_percent(before: float | None, after: float | None) -> float | None:
    return None if not before or after is None else (after - before) / before * 100
