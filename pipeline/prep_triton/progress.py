"""How a stage tells what it is doing, without knowing who listens.

A stage calls ``report("building sm75", 0.4)``; the command line draws a bar, a library user may
pass nothing at all.
"""

from typing import Protocol, Self


class SizedPhase(str):
    """A phase that moves bytes: `size` is how many there are, so that a fraction of them is an amount."""

    size: int

    def __new__(cls, phase: str, size: int) -> Self:
        """Name a phase, and say how many bytes it moves."""
        named = super().__new__(cls, phase)
        named.size = size
        return named


class Progress(Protocol):
    """Receives the phase that a stage is in."""

    def __call__(self, phase: str, fraction: float | None = None) -> None:
        """Report one step.

        Args:
            phase: What is being done now, in a few words ("checking parity").
            fraction: How much of the stage is done, 0..1, or None where that is not known.
        """


def ignore_progress(phase: str, fraction: float | None = None) -> None:
    """Report to nobody: the default of every stage."""
