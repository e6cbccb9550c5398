"""What a measured point used of the machine, and how many tokens it made."""

from collections.abc import Sequence

from prep_triton.bench.records import Figure, Point, ResourceUse
from prep_triton.bench.report.content import Cell, Section, Sentence, Table
from prep_triton.bench.report.text import clean, format_interval, format_number, format_share
from prep_triton.bench.report.variants import Variant, decide

_NO_USE = ResourceUse()


def show_usage(variants: Sequence[Variant]) -> Section | None:
    """Return a row for each variant at the load that stands for it; None where nothing is known of any."""
    chosen = [(variant, point) for variant in variants if (point := decide(variant).point) and _is_known(point)]
    if not chosen:
        return None
    has_gpu = any(point.resources and point.resources.gpu for _, point in chosen)
    columns = ["variant", "load", "#tokens/s", "#padded tokens/s", "#server's cores", "#CPU ms per inference"]
    columns += ["#memory MiB", "#generator's cores", "#others' cores"]
    columns += ["#GPU busy", "#GPU W", "#GPU MiB"] if has_gpu else []
    rows = tuple((variant.name_cell(), *_cells(point, has_gpu=has_gpu)) for variant, point in chosen)
    words = ["At the load of the comparison. Cores are busy ones, as means; memory is the most that the server held."]
    unknown = {f"{what}: {why}" for _, point in chosen for what, why in (point.resources or _NO_USE).unknown.items()}
    words += [f"Not known: {clean('; '.join(sorted(unknown)), 400)}."] if unknown else []
    return Section("What it used", (Table(tuple(columns), rows), Sentence(" ".join(words), "muted")))


def _is_known(point: Point) -> bool:
    use = point.resources
    told = (use.server_cpu_cores, use.generator_cpu_cores, use.gpu) if use else ()
    return point.tokens_per_s is not None or any(value is not None for value in told)


def _cells(point: Point, *, has_gpu: bool) -> list[Cell]:
    use = point.resources or _NO_USE
    seconds = use.server_cpu_s_per_inference
    numbers = [
        use.server_cpu_cores,
        None if seconds is None else 1000 * seconds,
        use.server_memory_peak_mib,
        use.generator_cpu_cores,
        use.others_cpu_cores,
    ]
    cells = [Cell(point.load.describe()), _figure(point.tokens_per_s), _figure(point.padded_tokens_per_s)]
    cells += map(_number, numbers)
    if has_gpu:
        gpu = use.gpu
        busy = "–" if gpu is None or gpu.utilisation is None else format_share(gpu.utilisation)
        cells += [Cell(busy), _number(gpu.power_w if gpu else None), _number(gpu.memory_mib if gpu else None)]
    return cells


def _figure(figure: Figure | None) -> Cell:
    return Cell(format_number(figure.value), format_interval(figure)) if figure else Cell("–")


def _number(value: float | None) -> Cell:
    return Cell("–" if value is None else format_number(value))
