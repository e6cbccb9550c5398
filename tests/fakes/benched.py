"""Points and runs of `prep bench` as a machine would have measured them, without a server."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np
from prep_triton.bench.intervals import Window
from prep_triton.bench.points import Measured, points_from_measured
from prep_triton.bench.records import BenchConditions, BenchReport, Load, Point, ResourceUse, Slo, Verdict
from prep_triton.bench.requests import Workload
from prep_triton.triton.server.load import ServedModel
from prep_triton.triton.server.statistics import ModelStatistics

VerdictState = Literal["met", "not met", "not shown", "not counted"]
CLOSED = Load(kind="closed", value=4)
LEVEL = Slo(percent=99, bound_ms=50)
OPEN = Load(kind="open", value=100, arrivals="poisson")


def draw_window(repeat: int, rate: float, latency_ms: float, rng: np.random.Generator) -> Window:
    """Draw two seconds of answers whose latencies are lognormal around a median."""
    count = int(2 * rate)
    moments = np.sort(rng.uniform(0, 2, count))
    return Window(
        repeat=repeat,
        seconds=2.0,
        completed_s=moments,
        moment_s=moments,
        latency_s=latency_ms / 1000 * np.exp(rng.normal(0, 0.3, count)),
        error_s=np.array([]),
        lateness_s=np.zeros(count),
        sent=count,
        unsent=0,
        error_messages={},
    )


def make_workload(name: str = "tiny", batch: int = 1) -> Workload:
    """Return requests that nobody reads."""
    model = ServedModel(name, inputs=(), max_batch_size=8, steps=(), task=None, config_digest="c0")
    return Workload(model, "k1", batch, (b"a", b"b"), (16,))


def make_points(
    loads: Sequence[Load] = (CLOSED,),
    *,
    name: str = "tiny",
    slowdown: float = 1.0,
    noise: float = 0.05,
    repeats: int = 5,
    seed: int = 0,
    slo: Slo | None = None,
    batch: int = 1,
) -> tuple[Point, ...]:
    """Return points of 10 ms, whose repeats differ by `noise` as those of a busy machine do."""
    rng = np.random.default_rng(seed)
    workload = make_workload(name, batch)
    statistics = ModelStatistics(
        requests=400, rows=400, executions=200, batch_sizes={2: 200}, queue_ns=400_000_000, compute_infer_ns=800_000_000
    )
    measured = []
    for repeat in range(repeats):
        for load in loads:
            latency_ms = 10 * slowdown * float(np.exp(rng.normal(0, noise)))
            rate = load.value if load.kind == "open" else 1000 * load.value / latency_ms
            measured.append(Measured(workload, load, draw_window(repeat, rate, latency_ms, rng), {name: statistics}))
    return points_from_measured(measured, slo, 0)


def make_report(points: tuple[Point, ...], **changed: Any) -> BenchReport:
    """Return a run of points; `changed` are conditions."""
    conditions = {
        "cpu": "Xeon",
        "cpu_flags": ("avx2", "avx512_vnni"),
        "cores": 2,
        "load_before": 0.5,
        "load_after": 1.5,
        "steal_share": 0.01,
        "server": "started by prep",
        "triton_version": "2.51.0",
        "triton_flavour": "wheel",
        "prep_version": "0.1.0",
        "seed": 0,
        "repeats": 5,
        "warmup_s": 0.5,
        "duration_s": 2.0,
        "started_at": datetime(2026, 1, 2, tzinfo=UTC),
        "command": "prep bench",
        "entries": tuple(make_workload(name).describe() for name in dict.fromkeys(point.entry for point in points)),
    }
    return BenchReport(conditions=BenchConditions(**(conditions | changed)), points=points)


def make_judged_run(
    *,
    name: str = "tiny",
    key: str = "k1",
    states: Sequence[VerdictState] = ("met", "met", "not met"),
    slo: Slo | None = LEVEL,
    **changed: Any,
) -> BenchReport:
    """Return a run at 50, 100 and 200 requests a second with these verdicts, 0.5 to 2.5 cores and 100 to 300 MiB."""
    loads = [Load(kind="open", value=value, arrivals="poisson") for value in (50, 100, 200)]
    points = tuple(
        point.model_copy(
            update={
                "verdict": Verdict(state=state, requests=1000, over=index),
                "resources": ResourceUse(server_cpu_cores=0.5 + index, server_memory_peak_mib=100.0 * (index + 1)),
            }
        )
        for index, (state, point) in enumerate(zip(states, make_points(loads, name=name, noise=0), strict=True))
    )
    report = make_report(points, **changed)
    entries = tuple(entry.model_copy(update={"key": key}) for entry in report.conditions.entries)
    conditions = report.conditions.model_copy(update={"entries": entries})
    return report.model_copy(update={"slo": slo, "conditions": conditions})
