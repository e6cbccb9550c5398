"""What a report compares: an entry in a run, with what its manifest says of it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from prep_triton.artifact import RepositoryEntry
from prep_triton.bench.records import BenchConditions, BenchedEntry, Point
from prep_triton.bench.report.content import Cell
from prep_triton.bench.report.runs import ReportedRun
from prep_triton.bench.report.text import clean

STARTED_HERE = "started by prep"
_MOST_LABEL = 60
_MOST_SHORT = 16
_SEPARATOR = " · "


@dataclass(frozen=True)
class VariantFacts:
    """What the manifest of an entry says; `size_bytes` is of all its files, and of a text entry of its parts too.

    `cosine` and `worst_cosine` are to PyTorch FP32, and `compared` says over what. `is_same_build` is None where the
    run does not name the key of what it measured.
    """

    precision: str
    runtime: str
    size_bytes: int
    cosine: float | None = None
    worst_cosine: float | None = None
    compared: str = ""
    metric: str = ""
    accuracy: float | None = None
    accuracy_before: float | None = None
    has_random_weights: bool = False
    is_same_build: bool | None = None


@dataclass(frozen=True)
class Variant:
    """An entry in one run. `label` is unique in the report, `short` stands beside a line of a plot."""

    run: ReportedRun
    entry: str
    label: str
    short: str
    machine: str
    colour: int
    shape: int
    points: tuple[Point, ...]
    benched: BenchedEntry | None
    facts: VariantFacts | None

    def name_cell(self, detail: str = "") -> Cell:
        """Return what a table calls it, with what tells it from others of the report below."""
        extra = self.label.removeprefix(clean(self.entry, _MOST_LABEL)).removeprefix(_SEPARATOR)
        return Cell(clean(self.entry, _MOST_LABEL), "; ".join(filter(None, (extra, detail))))

    @property
    def counted(self) -> tuple[Point, ...]:
        """The points that were answered, and whose load the generator sustained."""
        return tuple(point for point in self.points if point.sustained and point.requests)


@dataclass(frozen=True)
class Decision:
    """The point that stands for a variant, and why it does.

    ``met``: the highest throughput that holds the service level; ``not shown``: it may, but more requests would be
    needed; ``none holds``: the one with the least p99; ``highest``: no level was set; ``nothing``: no point counts.
    """

    state: Literal["met", "not shown", "none holds", "highest", "nothing"]
    point: Point | None


def list_variants(runs: Sequence[ReportedRun], entries: Mapping[str, RepositoryEntry]) -> tuple[Variant, ...]:
    """Return the variants in the order of the runs, and of the points of each."""
    machines = [describe_machine(run.report.conditions) for run in runs]
    stamps = _stamps(runs, machines)
    pairs = [(index, name) for index, run in enumerate(runs) for name in _entries_of(run)]
    names = list(dict.fromkeys(name for _, name in pairs))
    short = _shorten(names)
    variants = []
    for index, name in pairs:
        run = runs[index]
        benched = next((entry for entry in run.report.conditions.entries if entry.name == name), None)
        extra = [f"{mark_of(index)}: {machines[index]}"] if len(set(machines)) > 1 else []
        extra += [stamps[index]] if stamps[index] else []
        is_mixed = len(runs) > 1
        variants.append(
            Variant(
                run=run,
                entry=name,
                label=clean(_SEPARATOR.join([clean(name, _MOST_LABEL), *extra]), 2 * _MOST_LABEL),
                short=clean(short[name], _MOST_SHORT) + (f" {mark_of(index)}" if is_mixed else ""),
                machine=machines[index],
                colour=names.index(name) if len(names) > 1 else index,
                shape=index,
                points=tuple(point for point in run.report.points if point.entry == name),
                benched=benched,
                facts=find_facts(name, benched, entries),
            )
        )
    return tuple(variants)


def mark_of(index: int) -> str:
    """Return the letter of a run: A, B, …; numbers after Z."""
    return chr(ord("A") + index) if index < 26 else str(index + 1)


def describe_machine(conditions: BenchConditions) -> str:
    """Name the machine of a run: its GPU or processor and cores, or the server that was named."""
    gpu = f"{conditions.gpus[0].name}, " if conditions.gpus else ""
    cpu = clean(conditions.cpu, 48).replace("(R)", "").replace("(TM)", "").replace(" CPU", "")
    machine = f"{gpu}{' '.join(cpu.split())}, {conditions.cores} cores"
    return machine if conditions.server == STARTED_HERE else f"{clean(conditions.server, 40)} from {machine}"


def find_facts(name: str, benched: BenchedEntry | None, entries: Mapping[str, RepositoryEntry]) -> VariantFacts | None:
    """Return what the manifests say of an entry; None where there is no such entry."""
    entry = entries.get(name)
    if entry is None:
        return None
    parts = [entries[part] for part in entry.composes if part in entries]
    served = entry if entry.onnx else next((part for part in parts if part.onnx), entry)
    model = served.onnx
    fidelity, parity = (model.fidelity, model.parity) if model else (None, None)
    accuracy = model.accuracy if model else None
    cosine = fidelity.mean_cosine if fidelity else parity.mean_cosine if parity else None
    return VariantFacts(
        precision=served.precision,
        runtime=served.runtime,
        size_bytes=sum(file.size for part in (entry, *parts) for file in part.files.values()),
        cosine=cosine,
        worst_cosine=fidelity.min_cosine if fidelity else None,
        compared=f"{fidelity.rows} rows" if fidelity else f"{len(parity.shapes)} shapes" if parity else "",
        metric=accuracy.metric if accuracy else "",
        accuracy=accuracy.converted if accuracy else None,
        accuracy_before=accuracy.reference if accuracy else None,
        has_random_weights=served.weights == "random",
        is_same_build=entry.key == benched.key if benched and benched.key else None,
    )


def decide(variant: Variant) -> Decision:
    """Return the point that stands for a variant."""
    points = variant.counted
    if not points:
        return Decision("nothing", None)
    if variant.run.report.slo is None:
        return Decision("highest", max(points, key=_rate))
    met = [point for point in points if point.verdict and point.verdict.state == "met"]
    if met:
        return Decision("met", max(met, key=_rate))
    allowed = 1 - variant.run.report.slo.percent / 100
    doubtful = [point for point in points if point.verdict and point.verdict.state == "not shown"]
    in_time = [point for point in doubtful if point.verdict and point.verdict.over <= allowed * point.verdict.requests]
    if in_time:
        return Decision("not shown", max(in_time, key=_rate))
    if doubtful:
        return Decision("not shown", min(doubtful, key=lambda point: point.p99_ms.value))
    return Decision("none holds", min(points, key=lambda point: point.p99_ms.value))


def _rate(point: Point) -> float:
    return point.inferences_per_s.value


def _entries_of(run: ReportedRun) -> Iterable[str]:
    return dict.fromkeys(point.entry for point in run.report.points)


def _shorten(names: Sequence[str]) -> dict[str, str]:
    """Return names without the words between dashes that all begin and end with; at least one word stays of each."""
    words = {name: name.split("-") for name in names}
    if len(words) < 2:
        return {name: name for name in names}
    start = _count_alike([parts[:-1] for parts in words.values()])
    end = _count_alike([parts[start + 1 :][::-1] for parts in words.values()])
    return {name: "-".join(parts[start : len(parts) - end]) for name, parts in words.items()}


def _count_alike(lists: Sequence[Sequence[str]]) -> int:
    """Return how many of the first words all lists share."""
    alike = [len(set(words)) == 1 for words in zip(*lists, strict=False)]
    return next((index for index, is_alike in enumerate(alike) if not is_alike), len(alike))


def _stamps(runs: Sequence[ReportedRun], machines: Sequence[str]) -> list[str]:
    """Say when each run was started where another of the same entry and machine is in the report, else nothing.

    A machine's own clock tells its runs apart. Where it does not, the number of the run does.
    """
    stamps = []
    for index, run in enumerate(runs):
        others = [
            other
            for place, other in enumerate(runs)
            if place != index and machines[place] == machines[index] and set(_entries_of(other)) & set(_entries_of(run))
        ]
        moment = f"{run.report.conditions.started_at:%Y-%m-%d %H:%M}"
        alike = any(f"{other.report.conditions.started_at:%Y-%m-%d %H:%M}" == moment for other in others)
        is_marked = alike or len(set(machines)) == 1
        stamps.append((f"{moment} ({mark_of(index)})" if is_marked else moment) if others else "")
    return stamps
