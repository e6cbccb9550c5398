"""Runs as `prep bench -o` wrote them; of another version of the document, what can be read.

A document that does not validate is mended where it does not: what is unknown is left out, a point that cannot be read
is too, and conditions that are missing are unknown. Each of these is said.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from prep_triton.bench.records import BENCH_SCHEMA, BenchReport
from prep_triton.bench.report.text import clean
from prep_triton.errors import SpecError

_HINT = "name files that prep bench -o wrote"
# What stands in place of a condition that a document does not have, or has in a form that cannot be read.
_UNKNOWN: dict[str, Any] = {
    "cpu": "unknown",
    "cpu_flags": [],
    "cores": 0,
    "load_before": 0.0,
    "load_after": 0.0,
    "steal_share": None,
    "server": "unknown",
    "triton_version": "unknown",
    "triton_flavour": "unknown",
    "prep_version": "unknown",
    "seed": 0,
    "repeats": 0,
    "warmup_s": 0.0,
    "duration_s": 1.0,
    "started_at": "1970-01-01T00:00:00Z",
    "command": "",
    "entries": [],
}
_MOST_ROUNDS = 20


@dataclass(frozen=True)
class ReportedRun:
    """A run of the report; `name` is its file's, and `notes` say what of it could not be read."""

    name: str
    report: BenchReport
    notes: tuple[str, ...] = ()


def load_runs(paths: Sequence[Path]) -> tuple[list[ReportedRun], list[str]]:
    """Read runs, in the order of the command line, and return what to say of those that were left out.

    Raises:
        SpecError: One cannot be read or is no run, or no run has a point.
    """
    runs: list[ReportedRun] = []
    notes: list[str] = []
    digests: dict[str, str] = {}
    names = [path.name for path in dict.fromkeys(paths)]
    for path in paths:
        text = _read(path)
        name = path.name if names.count(path.name) == 1 else str(path)
        digest = hashlib.sha256(text).hexdigest()
        if digest in digests:
            same = "was named twice" if name == digests[digest] else f"is the same run as {digests[digest]}"
            notes.append(f"{name} {same}, and is shown once")
            continue
        digests[digest] = name
        run = parse_run(text, name)
        if run.report.points or run.report.not_measured or run.report.not_loaded:
            runs.append(run)
        else:
            notes.append(f"{name} has no points, and is left out")
    if not any(run.report.points for run in runs):
        raise SpecError(
            f"there is nothing to report: {', '.join(map(str, paths))} has no points",
            hint="measure first: prep bench -o run.json",
        )
    return runs, [clean(note) for note in notes]


def parse_run(text: bytes, name: str) -> ReportedRun:
    """Return the run of a document.

    Raises:
        SpecError: It is not a run.
    """
    try:
        document = json.loads(text)
    except ValueError as err:
        raise SpecError(f"{name} is not a run of prep bench: it is not JSON", hint=_HINT) from err
    if not isinstance(document, dict) or not isinstance(document.get("points"), list):
        raise SpecError(f"{name} is not a run of prep bench: it has no points", hint=_HINT)
    notes = []
    version = document.get("schema_version", 0)
    if version != BENCH_SCHEMA:
        notes.append(
            f"its document is of version {version}, and this prep reads {BENCH_SCHEMA}: what is alike was read"
        )
    report, repairs = _read_document(document, name)
    return ReportedRun(name, report, tuple(clean(note) for note in (*notes, *repairs)))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as err:
        raise SpecError(f"{path} cannot be read: {err.strerror}", hint=_HINT) from err


def _read_document(document: dict[str, Any], name: str) -> tuple[BenchReport, list[str]]:
    """Validate a document, and where it does not hold mend it until it does."""
    conditions = document.get("conditions")
    document["conditions"] = {**_UNKNOWN, **(conditions if isinstance(conditions, dict) else {})}
    unknown: set[str] = set()
    damaged: set[str] = set()
    lost = 0
    for _ in range(_MOST_ROUNDS):
        try:
            report = BenchReport.model_validate({**document, "schema_version": BENCH_SCHEMA})
        except ValidationError as err:
            places = [(error["type"] == "extra_forbidden", error["loc"]) for error in err.errors(include_url=False)]
            unknown |= {str(place[-1]) for is_extra, place in places if is_extra}
            damaged |= {_name_of(place) for is_extra, place in places if not is_extra and place[0] != "points"}
            lost += _mend(document, places)
        else:
            return report, _describe_repairs(unknown, damaged, lost)
    raise SpecError(f"{name} is not a run of prep bench that can be read", hint=_HINT)


def _mend(document: dict[str, Any], places: "list[tuple[bool, tuple[int | str, ...]]]") -> int:
    """Take what does not validate out of a document; return how many points went with it."""
    dropped = set()
    for is_extra, place in places:
        if is_extra and _remove(document, place):
            continue
        if place[0] == "points" and len(place) > 1:
            dropped.add(place[1])
        elif place[0] == "conditions" and len(place) > 1:
            document["conditions"][place[1]] = _UNKNOWN.get(str(place[1]))
        else:
            document.pop(str(place[0]), None)
    document["points"] = [point for index, point in enumerate(document["points"]) if index not in dropped]
    return len(dropped)


def _remove(document: Any, place: "tuple[int | str, ...]") -> bool:
    for step in place[:-1]:
        try:
            document = document[step]
        except (KeyError, IndexError, TypeError):
            return False
    return isinstance(document, dict) and document.pop(place[-1], None) is not None


def _name_of(place: "tuple[int | str, ...]") -> str:
    """Return what is called unknown where a value does not hold: a condition, or a part of the document."""
    return str(place[1] if place[0] == "conditions" and len(place) > 1 else place[0])


def _describe_repairs(unknown: set[str], damaged: set[str], lost: int) -> list[str]:
    repairs = []
    if unknown:
        repairs.append(f"unknown here, and left out: {', '.join(sorted(unknown))}")
    if damaged:
        repairs.append(f"could not be read, and count as unknown: {', '.join(sorted(damaged))}")
    if lost:
        repairs.append(f"{lost} point{'s' if lost > 1 else ''} could not be read")
    return repairs
