"""What a run tells: one row for each step, and who listens."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, Protocol

from pydantic import Field

from prep_triton.artifact import Record
from prep_triton.progress import Progress, ignore_progress
from prep_triton.workspace import Produced

RowState = Literal["made", "unchanged", "planned", "left out", "failed"]

Outcome = Literal["done", "unchanged", "partial", "regressed"]


class StageRow(Record):
    """What became of one step: its artifact, the seconds it took, and its numbers."""

    stage: str
    artifact: str
    state: RowState
    seconds: float = 0.0
    figures: dict[str, Any] = Field(default_factory=dict)
    path: str = ""
    note: str = ""


class RunReport(Record):
    """Everything one run did.

    `repository` is None where only engines were built. `regressions` say why the release did not become current.
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
        return all(row.state in ("unchanged", "left out") for row in self.rows)

    @property
    def outcome(self) -> Outcome:
        """The run in one word; a regression weighs more than a model that failed."""
        if self.regressions:
            return "regressed"
        if any(row.state == "failed" for row in self.rows):
            return "partial"
        return "unchanged" if self.is_unchanged else "done"

    def outcome_sentence(self) -> str:
        """The run in one sentence."""
        failed = sum(row.state == "failed" for row in self.rows)
        message = {
            "regressed": "The release is there, and is not the current one: it is worse than its thresholds allow.",
            "partial": f"{failed} of the models failed; what was made of the others stands.",
            "unchanged": "Nothing changed, nothing was done.",
            "done": "Everything was made and checked.",
        }
        return message[self.outcome]


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
        """Keep a row and tell the listener."""
        self.rows.append(row)
        self.listener.finished(row)

    def step(
        self,
        stage: str,
        label: str,
        make: Callable[[Progress], Produced[Any]],
        figures: Callable[[Any], dict[str, Any]],
        *,
        artifact: str | None = None,
    ) -> Any:
        """Run one step that produces an artifact; its row has the artifact's name unless it is given another."""
        began = time.monotonic()
        with self.listener.stage(f"{stage} {label}") as progress:
            produced = make(progress)
        made = produced.artifact
        self.add(
            StageRow(
                stage=stage,
                artifact=artifact or made.name,
                state="unchanged" if produced.reused else "made",
                seconds=round(time.monotonic() - began, 3),
                figures=figures(made),
                path=str(made.folder),
            )
        )
        return made
