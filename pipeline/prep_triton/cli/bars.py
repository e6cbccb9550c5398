"""How a stage's progress is shown: a bar on a terminal, a few lines elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from prep_triton.cli.units import format_seconds, format_size
from prep_triton.progress import Progress, SizedPhase
from prep_triton.quoting import clean_message

if TYPE_CHECKING:
    from rich.console import Console

# Of a phase that takes long, a log gets a line this often.
LINE_INTERVAL_S = 30.0
# Before that, nobody can tell how long it takes.
_FIRST_ESTIMATE_S = 1.0
_BAR_WIDTH = 16
# A line's spinner, bar and clock, and what is between them.
_REST_WIDTH = 1 + _BAR_WIDTH + len("0:00:00") + 4


@contextmanager
def draw_bar(console: "Console", label: str) -> Iterator[Progress]:
    """Draw a bar while the block runs."""
    from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars
    from rich.table import Column

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")),
        BarColumn(bar_width=_BAR_WIDTH),
        TextColumn("{task.fields[amount]}", markup=False, table_column=Column(no_wrap=True)),
        TimeElapsedColumn(),
    )
    with Bars(*columns, console=console, transient=True) as bars:
        task = bars.add_task(clean_message(label), total=None, amount="")
        clock = PhaseClock()

        def report(phase: str, fraction: float | None = None) -> None:
            amount = clock.describe(phase, fraction)
            bars.update(
                task,
                description=_fit(clean_message(label), clean_message(phase), console.width - _REST_WIDTH - len(amount)),
                total=None if fraction is None else 1.0,
                completed=fraction or 0.0,
                amount=amount,
            )

        yield report


def _fit(label: str, phase: str, width: int) -> str:
    """Return a label and a phase in a width; the label, which the command line has as well, is what is cut."""
    room = width - len(phase) - len(": ")
    return f"{label if len(label) <= room else label[: max(room - 1, 0)] + '…'}: {phase}"


class PhaseClock:
    """Says how far a phase has come, and how long the rest of it takes."""

    def __init__(self) -> None:
        self.phase, self.began, self.at = "", 0.0, 0.0

    def describe(self, phase: str, fraction: float | None) -> str:
        """Return the percent, the bytes where the phase has some, and the time left."""
        now = time.monotonic()
        if phase != self.phase:
            self.phase, self.began, self.at = str(phase), now, fraction or 0.0
        size = phase.size if isinstance(phase, SizedPhase) else None
        return describe_amount(fraction, size, now - self.began, began_at=self.at)


def describe_amount(fraction: float | None, size: int | None, elapsed_s: float, *, began_at: float = 0.0) -> str:
    """Say how far something has come: ``45%``, of bytes ``45% of 90.4 MiB, 12.0 MiB/s, 4.1 s left``.

    Args:
        fraction: How much is done, 0..1; None where nobody knows.
        size: The bytes of all of it, where it moves bytes.
        elapsed_s: For how long it has been running.
        began_at: The fraction at its beginning.
    """
    if fraction is None:
        return ""
    parts = [f"{fraction:.0%}" + ("" if size is None else f" of {format_size(size)}")]
    done = fraction - began_at
    if size is not None and elapsed_s >= _FIRST_ESTIMATE_S and done > 0:
        parts.append(f"{format_size(done * size / elapsed_s)}/s")
        parts.append(f"{format_seconds(elapsed_s * (1 - fraction) / done)} left")
    return ", ".join(parts)


class PhaseLines:
    """Progress for a log: a line when another kind of phase begins, and one now and then while it lasts.

    Phases whose first words are the same ("loading a", "loading b") are of one kind.
    """

    def __init__(self, note: Callable[[str], None], label: str) -> None:
        self.note, self.label = note, label
        self.kind, self.noted_at, self.clock = "", 0.0, PhaseClock()

    def __call__(self, phase: str, fraction: float | None = None) -> None:
        """Note a phase, if there is something new to say."""
        amount = self.clock.describe(phase, fraction)
        kind, now = phase.partition(" ")[0], time.monotonic()
        if kind != self.kind:
            whole = f" ({amount.partition(' of ')[2]})" if isinstance(phase, SizedPhase) and " of " in amount else ""
            self.note(f"  {self.label}: {phase}{whole}")
        elif amount and now - self.noted_at >= LINE_INTERVAL_S:
            self.note(f"  {self.label}: {phase}: {amount}")
        else:
            return
        self.kind, self.noted_at = kind, now
