"""What a benchmark took of the machine, for people."""

from collections.abc import Sequence

from prep_triton.bench.records import BenchReport, GpuUse, Point, ResourceUse
from prep_triton.cli.output import Output

# What others took of the machine is said from this share of its cores on.
_SHOWN_SHARE = 0.1
_COLUMNS = ["=entry", "=load", "#tokens/s", "#with padding", "#server cores", "#CPU ms/inference", "#memory MiB"]
_COLUMNS += ["#generator cores", "#others' cores", "GPU"]


def render_others(out: Output, document: BenchReport) -> None:
    """Say how many cores other programs took meanwhile, where it is more than a little."""
    cores = document.conditions.cores
    taken = [
        point.resources.others_cpu_cores
        for point in document.points
        if point.resources and point.resources.others_cpu_cores is not None
    ]
    if taken and cores and max(taken) > _SHOWN_SHARE * cores:
        out.line(
            f"  other programs took up to {max(taken):.1f} of {cores} cores meanwhile: measure on a quiet machine",
            style="yellow",
        )


def render_resources(out: Output, points: Sequence[Point]) -> None:
    """Print a row for each load, and why what is not known is not."""
    rows = [_row_of(point, point.resources) for point in points if point.resources]
    if not rows:
        return
    out.table("", _COLUMNS, rows)
    unknown = {what: reason for point in points if point.resources for what, reason in point.resources.unknown.items()}
    for what, reason in unknown.items():
        out.line(f"  {what} not known: {reason}")


def _row_of(point: Point, use: ResourceUse) -> tuple[str, ...]:
    tokens = [figure.value if figure else None for figure in (point.tokens_per_s, point.padded_tokens_per_s)]
    per_inference = use.server_cpu_s_per_inference
    return (
        point.entry,
        point.load.describe(),
        *(_cell(value, 0) for value in tokens),
        _cell(use.server_cpu_cores, 2),
        _cell(None if per_inference is None else 1000 * per_inference, 2),
        _cell(use.server_memory_peak_mib, 0),
        _cell(use.generator_cpu_cores, 2),
        _cell(use.others_cpu_cores, 2),
        describe_gpu(use.gpu) if use.gpu else "-",
    )


def describe_gpu(gpu: GpuUse) -> str:
    """Say what a GPU did: ``Tesla T4: 93 %, 66 W, 2,048 MiB, 1,350 MHz``."""
    share = None if gpu.utilisation is None else 100 * gpu.utilisation
    values = ((share, "%"), (gpu.power_w, "W"), (gpu.memory_mib, "MiB"), (gpu.sm_clock_mhz, "MHz"))
    known = ", ".join(f"{value:,.0f} {unit}" for value, unit in values if value is not None)
    return f"{gpu.name}: {known}" if known else gpu.name


def _cell(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"
