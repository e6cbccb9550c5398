"""Whether a release may take the place of the current one: its figures against the current one's.

Compared are the figures that the releases' own manifests and verification reports hold, so that nothing is
measured again.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from prep_triton.artifact import Record
from prep_triton.spec import RegressionSpec

if TYPE_CHECKING:
    from prep_triton.publish.figures import EntryFigures


# The figure of what was slower than a baseline under load; see `prep_triton.run.bench_step`.
LOAD_FIGURE = "bench"


class Regression(Record):
    """One figure that became worse than its threshold allows."""

    entry: str
    figure: str
    before: float | None
    after: float | None
    message: str


def find_regressions(
    before: "Mapping[str, EntryFigures]", after: "Mapping[str, EntryFigures]", limits: RegressionSpec
) -> list[Regression]:
    """Compare the entries that both releases have; an entry that is gone is a regression too.

    Args:
        before: The current release's figures, by entry.
        after: The new one's.
        limits: The thresholds. A figure that one of the two lacks is not compared.
    """
    regressions: list[Regression] = []
    for name, old in before.items():
        if name in after:
            regressions += _compare(name, old, after[name], limits)
        else:
            message = f"{name} is in the current release and not in this one"
            regressions.append(Regression(entry=name, figure="entry", before=None, after=None, message=message))
    return regressions


def _compare(name: str, old: "EntryFigures", new: "EntryFigures", limits: RegressionSpec) -> list[Regression]:
    checks = (
        ("cosine", old.served_cosine, new.served_cosine, _drop, limits.max_cosine_drop, ""),
        ("accuracy", old.accuracy, new.accuracy, _drop, limits.max_accuracy_drop, " points"),
        ("size_bytes", old.size_bytes, new.size_bytes, _rise_percent, limits.max_size_increase_percent, " %"),
    )
    regressions = []
    for figure, before, after, worsening, limit, unit in checks:
        if before is None or after is None or limit is None or (change := worsening(before, after)) <= limit:
            continue
        message = (
            f"{name}: {figure} went from {before:g} to {after:g}, worse by {change:.4g}{unit}, "
            f"expected at most {limit:g}{unit}"
        )
        regressions.append(Regression(entry=name, figure=figure, before=before, after=after, message=message))
    return regressions


def _drop(before: float, after: float) -> float:
    return before - after


def _rise_percent(before: float, after: float) -> float:
    return (after - before) / before * 100 if before else 0.0
