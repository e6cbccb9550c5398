"""From a run of `prep bench` to what a deployment takes of it: the highest loads that hold its service level."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from prep_triton.errors import SpecError
from prep_triton.run.benching import STARTED_HERE

if TYPE_CHECKING:
    from prep_triton.artifact import RepositoryEntry
    from prep_triton.bench.curves import Case
    from prep_triton.bench.records import BenchedEntry, BenchReport, Point
    from prep_triton.deploy.measured import MeasuredEntry, MeasuredServer
    from prep_triton.deploy.request import ServedRelease

log = logging.getLogger(__name__)

_SHORT_KEY = 12


def measured_server_from_run(path: Path, report: "BenchReport", release: "ServedRelease") -> "MeasuredServer":
    """Return what a run says of a server of a release.

    Args:
        path: The run's file, for messages.
        report: The run.
        release: What is to be served.

    Raises:
        SpecError: It is of other entries than the release's, or no load of it holds a service level.
    """
    from prep_triton.triton.server.installation import ON_STAND_IN

    if report.partial:
        log.warning("%s was ended before its end: %s", path, report.partial_reason)
    if ON_STAND_IN in report.conditions.triton_flavour:
        log.warning(
            "%s was measured on another server than the container (%s): there, a server may hold another rate and take "
            "other CPU and memory",
            path,
            report.conditions.triton_flavour,
        )
    names = [entry.name for entry in match_entries(path, report, release)]
    if report.slo is None:
        raise SpecError(
            f"{path} judges no service level, so none of its loads is one to scale by",
            hint=f"measure with one: prep bench {release.uri} --rate 50:400:50 --slo p99=50ms -o run.json",
        )
    cases = find_holding_cases(path, report, names)
    return _describe_server(path, report, cases, release.entries)


def load_run(path: Path) -> "BenchReport":
    """Read what ``prep bench -o`` wrote, of this version of the document.

    Raises:
        SpecError: It cannot be read, or is no run of this version.
    """
    from pydantic import ValidationError

    from prep_triton.bench.records import BENCH_SCHEMA, BenchReport

    hint = "name a file that prep bench -o wrote"
    try:
        report = BenchReport.model_validate_json(path.read_bytes())
    except OSError as err:
        raise SpecError(f"the run {path} cannot be read: {err.strerror}", hint=hint) from err
    except ValidationError as err:
        raise SpecError(f"{path} is not a run of prep bench that this prep reads", hint=hint) from err
    if report.schema_version != BENCH_SCHEMA:
        raise SpecError(f"{path} is of version {report.schema_version}, expected {BENCH_SCHEMA}", hint=hint)
    return report


def match_entries(path: Path, report: "BenchReport", release: "ServedRelease") -> "list[BenchedEntry]":
    """Return the measured entries that the release has.

    Raises:
        SpecError: It has none of them, or one of that name which is another.
    """
    measured = report.conditions.entries
    keys = {entry.name: entry.key for entry in release.entries}
    hint = f"measure the release itself: prep bench {release.uri} --rate 50:400:50 --slo p99=50ms -o run.json"
    matching = [entry for entry in measured if entry.name in keys]
    if not matching:
        raise SpecError(f"{path} measured {_list_names(measured)}, and the release has {', '.join(keys)}", hint=hint)
    for entry in matching:
        if not entry.key:
            log.warning("%s does not say which %s it measured: only the name is the release's", path, entry.name)
        elif entry.key != keys[entry.name]:
            raise SpecError(
                f"{path} measured another {entry.name} than the release has: its key is {entry.key[:_SHORT_KEY]}, "
                f"the release's {keys[entry.name][:_SHORT_KEY]}",
                hint=hint,
            )
    others = [entry for entry in measured if entry not in matching]
    if others and any(point.load.mix for point in report.points):
        raise SpecError(
            f"{path} measured {_list_names(measured)} at once, and the release does not have {_list_names(others)}",
            hint=hint,
        )
    if others:
        log.info("%s: the release does not have %s", path, _list_names(others))
    return matching


def find_holding_cases(path: Path, report: "BenchReport", names: Sequence[str]) -> "list[Case]":
    """Return of each entry, and of each mix of them, the highest load that was shown to hold the service level.

    Raises:
        SpecError: No entry has one.
    """
    from prep_triton.bench.curves import find_holding, list_curves

    assert report.slo is not None
    level = report.slo.describe()
    curves = list_curves([point for point in report.points if point.entry in names])
    holding = [find_holding(curve) for curve in curves]
    if not any(holding):
        raise SpecError(
            f"no load of {path} was shown to hold {level}: {_describe_best(report, names)}",
            hint="measure lower loads, or longer with --duration-s, or judge another level with --slo",
        )
    for curve, case in zip(curves, holding, strict=True):
        entry = curve[0].entry
        if case is None:
            log.warning("%s: no load of %s was shown to hold %s: it is not scaled by", path, entry, level)
        elif all(other.is_holding for other in curve):
            log.warning("%s: every load of %s holds %s: a server may hold more than was measured", path, entry, level)
    return [case for case in holding if case]


def _describe_best(report: "BenchReport", names: Sequence[str]) -> str:
    """Say which point came nearest."""
    points = [point for point in report.points if point.entry in names and point.verdict and point.requests]
    if not points:
        return "it has no point that counts"

    def share_over(point: "Point") -> float:
        return point.verdict.over / max(1, point.verdict.requests) if point.verdict else 1.0

    best = min(points, key=lambda point: (share_over(point), point.p99_ms.value))
    assert best.verdict is not None
    return (
        f"the best seen is {best.entry} at {best.load.describe()}, {best.verdict.describe()}, with p99 "
        f"{best.p99_ms.value:.2f} ms"
    )


def _describe_server(
    path: Path, report: "BenchReport", cases: "Sequence[Case]", entries: "Sequence[RepositoryEntry]"
) -> "MeasuredServer":
    from prep_triton.deploy.measured import MeasuredServer

    assert report.slo is not None
    conditions = report.conditions
    peaks = [use.server_memory_peak_mib for point in report.points if (use := point.resources)]
    peak = max((value for value in peaks if value), default=None)
    loaded = {point.entry for point in report.points} | {part.model for point in report.points for part in point.parts}
    absent = [entry.name for entry in entries if entry.name not in loaded]
    reason = f"the measured server did not serve {', '.join(absent)}" if absent else "the run does not have it"
    gpus = [gpu.name for gpu in conditions.gpus]
    return MeasuredServer(
        run=f"{path.name} of {conditions.started_at:%Y-%m-%d}",
        command=conditions.command,
        slo=report.slo.describe(),
        machine=f"{conditions.cpu}, {conditions.cores} cores{''.join(f', {gpu}' for gpu in gpus)}; "
        f"Triton {conditions.triton_version} ({conditions.triton_flavour})",
        is_machine_known=conditions.server == STARTED_HERE or peak is not None,
        gpu=gpus[0] if gpus else None,
        entries=tuple(entry for case in cases for entry in _describe_case(case)),
        memory_mib=None if absent else peak,
        memory_unknown=reason if absent or peak is None else "",
    )


def _describe_case(case: "Case") -> "Iterator[MeasuredEntry]":
    """Yield each entry of a case; of a mix, an entry may have several streams, and what waited is of all together."""
    from prep_triton.deploy.measured import MeasuredEntry

    for name in dict.fromkeys(point.entry for point in case.points):
        points = [point for point in case.points if point.entry == name]
        alone = points[0].resources if len(case.points) == 1 else None
        yield MeasuredEntry(
            name=name,
            load=f"{case.load}, batch {points[0].batch}",
            verdict=" and ".join(point.verdict.describe() for point in points if point.verdict),
            inferences_per_s=sum(point.inferences_per_s.value for point in points),
            waiting_requests=case.waiting_requests,
            cpu_cores=(alone.server_cpu_cores or None) if alone else None,
        )


def _list_names(entries: "Sequence[BenchedEntry]") -> str:
    return ", ".join(entry.name for entry in entries) or "nothing"
