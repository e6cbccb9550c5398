"""Under which conditions each run was measured, and the command that measures it again."""

from collections.abc import Iterator, Sequence

from prep_triton.bench.records import BenchedEntry, BenchReport
from prep_triton.bench.report.content import Cell, Commands, Part, Section, Sentence, Table
from prep_triton.bench.report.runs import ReportedRun
from prep_triton.bench.report.text import clean, format_number, format_share
from prep_triton.bench.report.variants import describe_machine, mark_of

_MOST_FLAGS = 12


def show_conditions(runs: Sequence[ReportedRun]) -> Section:
    """Return a column of conditions for each run, what was sent to each entry, and the commands."""
    titles = [
        f"{mark_of(index)}: {clean(run.name, 60)}" if len(runs) > 1 else clean(run.name, 60)
        for index, run in enumerate(runs)
    ]
    facts = [dict(_list_conditions(run.report)) for run in runs]
    names = dict.fromkeys(name for known in facts for name in known)
    rows = tuple((Cell(name), *(Cell(known.get(name, "–")) for known in facts)) for name in names)
    parts: list[Part] = [Table(("condition", *titles), rows)]
    if len({describe_machine(run.report.conditions) for run in runs}) > 1:
        words = "Each machine has its own clock: the times of different machines are not compared."
        parts.append(Sentence(words, "muted"))
    sent = tuple(
        (Cell(mark_of(index)), *_sent_row(entry))
        for index, run in enumerate(runs)
        for entry in run.report.conditions.entries
    )
    columns = (
        "run",
        "entry",
        "input",
        "#requests",
        "#shortest",
        "#mean",
        "#longest",
        "key",
        "configuration",
        "requests' digest",
    )
    parts.append(Table(columns, sent, "What was sent to each entry", is_folded=True))
    commands = tuple(
        dict.fromkeys(clean(run.report.conditions.command, 2000) for run in runs if run.report.conditions.command)
    )
    if commands:
        parts += [Sentence("Measured with:"), Commands(commands)]
    return Section("Conditions", tuple(parts))


def _list_conditions(report: BenchReport) -> Iterator[tuple[str, str]]:
    conditions = report.conditions
    flags = " ".join(conditions.cpu_flags[:_MOST_FLAGS])
    yield "processor", clean(conditions.cpu)
    yield "cores", str(conditions.cores)
    if flags:
        yield "processor flags", clean(flags)
    yield "load before, after", f"{conditions.load_before:.2f}, {conditions.load_after:.2f}"
    yield (
        "time taken by other guests",
        "unknown" if conditions.steal_share is None else format_share(conditions.steal_share),
    )
    for gpu in conditions.gpus:
        driver = f", driver {gpu.driver}" if gpu.driver else ""
        yield "GPU", clean(f"{gpu.name}{driver}")
    yield from _list_optional(report)
    yield "Triton", clean(f"{conditions.triton_version} ({conditions.triton_flavour}), {conditions.server}")
    yield "prep", clean(conditions.prep_version)
    yield "started", f"{conditions.started_at:%Y-%m-%d %H:%M:%S} UTC"
    duration = f"{conditions.repeats} × {conditions.duration_s:g} s, each after {conditions.warmup_s:g} s of warm-up"
    yield "measured", f"{duration}, interleaved"
    yield "seed", str(conditions.seed)
    yield "service level", report.slo.describe() if report.slo else "none"
    if report.partial:
        yield "partial", clean(report.partial_reason)


def _list_optional(report: BenchReport) -> Iterator[tuple[str, str]]:
    conditions = report.conditions
    optional = {
        "kernel": conditions.kernel,
        "CPU governor": conditions.cpu_governor,
        "container": conditions.container,
        "CPU limit, cores": None if conditions.cpu_limit_cores is None else format_number(conditions.cpu_limit_cores),
        "image": conditions.image,
    }
    yield from ((name, clean(value)) for name, value in optional.items() if value)


def _sent_row(entry: BenchedEntry) -> tuple[Cell, ...]:
    unit = "tokens" if entry.input_kind == "ids" else "characters"
    return (
        Cell(clean(entry.name, 60)),
        Cell(f"{entry.input_kind}, in {unit}"),
        Cell(f"{entry.distinct_requests:,}"),
        Cell(f"{entry.shortest:,}"),
        Cell(format_number(entry.mean_length)),
        Cell(f"{entry.longest:,}"),
        Cell(clean(entry.key, 16) or "unknown"),
        Cell(clean(entry.config_digest, 12)),
        Cell(clean(entry.input_digest, 12)),
    )
