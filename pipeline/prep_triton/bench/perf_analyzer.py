"""Points as perf_analyzer writes them, for what reads its CSV.

Its columns are those of the wheel tritonclient 2.45; times are in microseconds. What it measures of the client's own
sending and receiving is 0 here: requests are serialised before, and answers are not parsed.
"""

import csv
import io
from collections.abc import Sequence

from prep_triton.bench.records import PartTimes, Point
from prep_triton.errors import SpecError

COLUMNS = (
    "Inferences/Second",
    "Client Send",
    "Network+Server Send/Recv",
    "Server Queue",
    "Server Compute Input",
    "Server Compute Infer",
    "Server Compute Output",
    "Client Recv",
    "p50 latency",
    "p90 latency",
    "p95 latency",
    "p99 latency",
)
_PARTS = ("queue_us", "compute_input_us", "compute_infer_us", "compute_output_us")


def check_csv(entries: Sequence[str], kinds: Sequence[str]) -> None:
    """Raise unless a CSV can hold all points: perf_analyzer's has no column for the entry.

    Raises:
        SpecError: They are of several entries, or of closed and open loops.
    """
    if len(entries) > 1:
        raise SpecError(
            f"--csv has perf_analyzer's columns, which name no entry; there are {len(entries)}: {', '.join(entries)}",
            hint=f"name one: --entry {entries[0]}",
        )
    if len(set(kinds)) > 1:
        raise SpecError("--csv holds either concurrencies or rates", hint="leave --concurrency or --rate out")


def render_csv(points: Sequence[Point]) -> str:
    """Return the CSV of points, which `check_csv` let pass; ordered by throughput, as perf_analyzer's are."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    is_open = any(point.load.kind == "open" for point in points)
    writer.writerow(["Request Rate" if is_open else "Concurrency", *COLUMNS])
    for point in sorted(points, key=lambda point: point.inferences_per_s.value):
        parts = [_sum_of(point.parts, part) for part in _PARTS]
        network = max(0.0, point.mean_ms * 1000 - sum(parts))
        percentiles = (point.p50_ms, point.p90_ms, point.p95_ms, point.p99_ms)
        latencies = [figure.value * 1000 for figure in percentiles]
        times = [0, network, *parts, 0, *latencies]
        writer.writerow([f"{point.load.value:g}", f"{point.inferences_per_s.value:g}", *map(round, times)])
    return stream.getvalue()


def _sum_of(parts: Sequence[PartTimes], name: str) -> float:
    """Return the time of all parts; an ensemble's steps follow each other."""
    return float(sum(getattr(part, name) or 0.0 for part in parts))
