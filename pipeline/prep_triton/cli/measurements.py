"""How a command ends that measured for a while and keeps what it measured."""

from dataclasses import replace
from typing import Any, Protocol, TypeVar

import typer

from prep_triton.cli import interrupts
from prep_triton.cli.output import Output
from prep_triton.errors import PrepError


class MeasuredOutcome(Protocol):
    """What was measured, and the error that ended it before its end, if one did."""

    @property
    def report(self) -> Any:
        """A record with `partial` and `partial_reason`."""

    @property
    def error(self) -> PrepError | None:
        """None where it came to its end, or was interrupted."""


Outcome = TypeVar("Outcome", bound=MeasuredOutcome)


def settle_interruption(outcome: Outcome) -> Outcome:
    """Return an outcome that says that it was interrupted where its error is only what a library made of Ctrl-C."""
    from prep_triton.run.benching import INTERRUPTED

    if outcome.error is None or not interrupts.was_interrupted():
        return outcome
    report = outcome.report.model_copy(update={"partial": True, "partial_reason": INTERRUPTED})
    return replace(outcome, report=report, error=None)  # type: ignore[type-var]


def end_if_interrupted(out: Output, report: Any, *, kept: str = "what was measured until then", more: str = "") -> None:
    """End a command that was interrupted with its exit code, and say what is kept."""
    from prep_triton.run.benching import INTERRUPTED

    if report.partial_reason == INTERRUPTED:
        interrupts.take_interruption()
        out.note(f"interrupted: {kept} is kept, and marked partial{more}")
        raise typer.Exit(interrupts.EXIT_INTERRUPTED)
