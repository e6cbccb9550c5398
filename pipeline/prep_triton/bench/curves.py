"""What a server was under at once, case by case: an entry alone at one load, or all streams of a mix."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from prep_triton.bench.mix import parse_mix
from prep_triton.bench.records import Point


@dataclass(frozen=True)
class Case:
    """Points that were measured at the same time: one, or those of a mix."""

    points: tuple[Point, ...]

    @property
    def entry(self) -> str:
        """The entry, or those of a mix with commas between them."""
        return ", ".join(dict.fromkeys(point.entry for point in self.points))

    @property
    def load(self) -> str:
        """The load in words; of a mix its whole."""
        first = self.points[0].load
        if first.mix is None:
            return first.describe()
        whole = sum(point.load.value for point in self.points)
        return first.model_copy(update={"value": whole, "priority": 0}).describe()

    @property
    def inferences_per_s(self) -> float:
        """What the server answered, rows a second."""
        return sum(point.inferences_per_s.value for point in self.points)

    @property
    def is_counting(self) -> bool:
        """Whether the generator sent all of it, and something was answered."""
        return all(point.sustained for point in self.points) and self.inferences_per_s > 0

    @property
    def is_holding(self) -> bool:
        """Whether each point was shown to hold the service level."""
        return all(point.verdict is not None and point.verdict.state == "met" for point in self.points)

    @property
    def waiting_requests(self) -> float:
        """How many requests waited on average: by Little's law, how many came to each model and how long each waited.

        Streams of a mix may share models; each counts once.
        """
        seconds = self.points[0].seconds
        parts = {part.model: part for point in self.points for part in point.parts}
        waited_us = sum(part.requests * (part.queue_us or 0.0) for part in parts.values())
        return waited_us / 1e6 / seconds if seconds else 0.0


Curve = tuple[Case, ...]


def list_curves(points: Sequence[Point]) -> tuple[Curve, ...]:
    """Return the cases of each entry that was alone, and those of each mix, in the order of the points."""
    curves: dict[str, list[Case]] = {}
    for entry in dict.fromkeys(point.entry for point in points if point.load.mix is None):
        alone = [point for point in points if point.load.mix is None and point.entry == entry]
        curves[entry] = [Case((point,)) for point in alone]
    for mix in dict.fromkeys(point.load.mix for point in points if point.load.mix):
        curves[mix] = _cases_of_mix([point for point in points if point.load.mix == mix], mix)
    return tuple(tuple(cases) for cases in curves.values() if cases)


def find_holding(curve: Iterable[Case]) -> Case | None:
    """Return the case with the highest throughput of those that were shown to hold the service level; None without."""
    return max((case for case in curve if case.is_holding), key=lambda case: case.inferences_per_s, default=None)


def _cases_of_mix(points: Sequence[Point], mix: str) -> list[Case]:
    """Return the points of a mix load by load: its streams' points at one load stand behind each other.

    A run that was ended in between has a last load without some of them, which is left out.
    """
    streams = [(stream.entry, stream.priority) for stream in parse_mix(mix).streams]
    waiting = list(points)
    cases = []
    while waiting:
        here, waiting = waiting[: len(streams)], waiting[len(streams) :]
        if [(point.entry, point.load.priority) for point in here] == streams:
            cases.append(Case(tuple(here)))
    return cases
