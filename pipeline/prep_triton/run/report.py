"""What a run reports: one row for each step, and who listens."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, Protocol, TypeVar

from pydantic import Field

from prep_triton.artifact import Artifact, Record
from prep_triton.progress import Progress, ignore_progress
from prep_triton.workspace import Produced

RowState = Literal["made", "fetched", "unchanged", "planned", "skipped", "failed"]

Outcome = Literal["done", "unchanged", "partial", "regressed"]

_SENTENCES: Mapping[Outcome, str] = {
    "regressed": "The release is published but not current: it is worse than its thresholds allow.",
    "partial": "{failed} of the models failed; what was made of the others stands.",
    "unchanged": "Nothing changed, nothing was done.",
    "done": "Everything was made and checked.",
}

A = TypeVar("A", bound=Artifact)


class StageRow(Record):
    """What became of one step: its artifact, the seconds it took, its numbers; `hint` is what to do if it failed."""

    stage: str
    artifact: str
    state: RowState
    seconds: float = 0.0
    figures: dict[str, Any] = Field(default_factory=dict)
    path: str = ""
    note: str = ""
    hint: str = ""


class RunReport(Record):
    """Everything one run did.

    `repository` is None where only engines were built. `regressions` say why the release did not become current, or
    what is slower than the baseline of the file's load.
    """

    rows: tuple[StageRow, ...]
    repository: str | None
    release: str | None = None
    regressions: tuple[str, ...] = ()
    seconds: float
    dry_run: bool = False

    @property
    def is_unchanged(self) -> bool:
        """True where every step found its artifact."""
        return all(row.state in ("unchanged", "skipped") for row in self.rows)

    @property
    def outcome(self) -> Outcome:
        """The run in one word; a regression weighs more than a model that failed."""
        if self.regressions:
            return "regressed"
        if self._failed_models or self._failed_loads:
            return "partial"
        return "unchanged" if self.is_unchanged else "done"

    @property
    def _failed_models(self) -> int:
        return sum(row.stage == "model" and row.state == "failed" for row in self.rows)

    @property
    def _failed_loads(self) -> int:
        return sum(row.stage == "bench" and row.state == "failed" for row in self.rows)

    def outcome_sentence(self) -> str:
        """The run in one sentence."""
        if self.outcome == "partial" and not self._failed_models:
            return "The load could not be measured; everything else was made and checked."
        stages = {row.stage for row in self.rows if row.stage != "promote" or row.state == "skipped"}
        if self.regressions and "bench" in stages and "promote" not in stages:  # there is no release to keep back
            return "Everything was made and checked, and is slower than its baseline."
        return _SENTENCES[self.outcome].format(failed=self._failed_models)


def state_of(produced: Produced[A]) -> RowState:
    """Say whether an artifact was made, fetched from the remote cache, or here already."""
    if produced.fetched:
        return "fetched"
    return "unchanged" if produced.reused else "made"


class Listener(Protocol):
    """Hears about each step while it runs."""

    def stage(self, label: str) -> AbstractContextManager[Progress]:
        """Return the progress of a step that begins."""

    def finished(self, row: StageRow) -> None:
        """Take the row of a step that ended."""


class Silent:
    """A listener that says nothing."""

    def stage(self, label: str) -> AbstractContextManager[Progress]:  # noqa: ARG002 silent
        """Report to nobody."""
        return nullcontext(ignore_progress)

    def finished(self, row: StageRow) -> None:
        """Keep nothing."""


class RowCollector:
    """Times the steps and collects their rows."""

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.rows: list[StageRow] = []
        self.began = time.monotonic()

    def add(self, row: StageRow) -> None:
        """Keep a row and hand it to the listener."""
        self.rows.append(row)
        self.listener.finished(row)

    def step(
        self,
        stage: str,
        label: str,
        make: Callable[[Progress], Produced[A]],
        figures: Callable[[A], dict[str, Any]],
        *,
        artifact: str | None = None,
    ) -> A:
        """Run one step that produces an artifact; its row has the artifact's name unless it is given another."""
        (produced,) = self.steps(stage, label, lambda progress: [make(progress)], figures, artifact=artifact)
        return produced

    def steps(
        self,
        stage: str,
        label: str,
        make: Callable[[Progress], Sequence[Produced[A]]],
        figures: Callable[[A], dict[str, Any]],
        *,
        artifact: str | None = None,
    ) -> list[A]:
        """Run one step that produces several artifacts: a row for each, of which the first has the time."""
        began = time.monotonic()
        with self.listener.stage(f"{stage} {label}") as progress:
            produced = make(progress)
        seconds = round(time.monotonic() - began, 3)
        for index, result in enumerate(produced):
            self.add(
                StageRow(
                    stage=stage,
                    artifact=artifact or result.artifact.name,
                    state=state_of(result),
                    seconds=seconds if index == 0 else 0.0,
                    figures=figures(result.artifact),
                    path=str(result.artifact.folder),
                )
            )
        return [result.artifact for result in produced]
