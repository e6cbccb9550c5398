"""The serving choices that are looked at: layouts of the cores, batches, delays, paddings, preferred sizes."""

from collections.abc import Sequence
from dataclasses import dataclass

from prep_triton.bench.tuning_records import Choice, Layout
from prep_triton.spec import Padding

BATCHES = (2, 4, 8, 16, 32)
DELAYS_US = (500, 1000, 2000, 5000)
# A layout's batch times take one measurement or two of the budget.
_MEASUREMENTS_PER_LAYOUT = 5


@dataclass(frozen=True)
class Space:
    """What may be chosen: layouts, the largest batch that the artifact takes, the rows of a request, the paddings.

    `unmerged_batch` is what a request may have where none are merged; `largest_batch` where None.
    """

    layouts: tuple[Layout, ...]
    largest_batch: int
    rows: int = 1
    paddings: tuple[Padding | None, ...] = (None,)
    unmerged_batch: int | None = None


def list_layouts(cores: int, budget: int, *, has_threads: bool) -> tuple[Layout, ...]:
    """Return ways to share out the cores, the most different first, as many as a budget of measurements allows.

    Args:
        cores: Of the machine.
        budget: Measurements in all.
        has_threads: Whether the backend's threads are a choice; else instances alone are (on a GPU).
    """
    if not has_threads:
        layouts = [Layout(instances=count) for count in (1, 2, 3)]
    else:
        counts = sorted({1, min(2, cores), cores, max(1, cores // 2), max(1, cores // 4)})
        layouts = [Layout(instances=count, threads=max(1, cores // count)) for count in counts]
        layouts.sort(key=lambda layout: (layout.instances not in (1, cores), layout.instances))
    return tuple(layouts[: max(1, budget // _MEASUREMENTS_PER_LAYOUT)])


def list_candidates(space: Space) -> list[Choice]:
    """Return the choices to simulate first: without a delay, which is tried on the best of them."""
    sizes = [size for size in BATCHES if space.rows < size <= space.largest_batch]
    if space.largest_batch not in sizes and space.largest_batch > space.rows:
        sizes.append(space.largest_batch)
    candidates = []
    for layout in space.layouts:
        for padding in space.paddings:
            unmerged = space.unmerged_batch or space.largest_batch
            alone = Choice(layout=layout, merges=False, max_batch=unmerged, padding=padding)
            candidates.append(alone)
            candidates += [Choice(layout=layout, max_batch=size, padding=padding) for size in sizes]
    return candidates


def with_delays(choice: Choice, bound_ms: float) -> list[Choice]:
    """Return a choice with each delay that leaves three quarters of the level's bound for the rest."""
    if not choice.merges:
        return []
    delays = [delay for delay in DELAYS_US if delay / 1000 <= bound_ms / 4]
    return [choice.model_copy(update={"delay_us": delay}) for delay in delays]


def with_preferred(choice: Choice) -> list[Choice]:
    """Return a choice with preferred sizes: half of the largest batch, a quarter and half, the largest alone."""
    if not choice.merges or choice.max_batch < 4:
        return []
    largest = choice.max_batch
    wishes: Sequence[tuple[int, ...]] = ((largest // 2,), (largest // 4, largest // 2), (largest,))
    return [
        choice.model_copy(update={"preferred": sizes, "delay_us": choice.delay_us or DELAYS_US[0]}) for sizes in wishes
    ]
