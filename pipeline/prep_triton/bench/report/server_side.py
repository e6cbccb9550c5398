"""Where the time went, by the server's own statistics: queue and compute, and the batches that formed."""

from collections.abc import Sequence

from prep_triton.bench.records import PartTimes, Point
from prep_triton.bench.report.content import Cell, Figure, LegendItem, Plot, Section, Sentence, Table
from prep_triton.bench.report.plots import Bar, draw_bars, draw_histogram
from prep_triton.bench.report.text import clean, format_number
from prep_triton.bench.report.variants import Variant

_MOST_BARS = 12
# Plots whose longest bars differ by more have scales of their own.
_MOST_SPREAD = 5.0
# Of a model alone the steps of one request; of an ensemble its queues, and the time of each part.
_STEPS = (("queue", "queue"), ("input", "input"), ("infer", "infer"), ("output", "output"))
_PARTS = (("queue", "queue"), ("tokenizer", "part1"), ("model", "infer"), ("post-processor", "part2"))


def show_times(variants: Sequence[Variant], most_plots: int) -> Section | None:
    """Return bars of queue and compute for each variant; None where no server told its times."""
    told = [variant for variant in variants if any(point.parts for point in variant.counted)]
    if not told:
        return None
    bars = [_bars_of(variant) for variant in told[:most_plots]]
    longest = _common_length(bars)
    plots = tuple(
        draw_bars(variant.label, "ms", own, f"times-{index}", longest)
        for index, (variant, own) in enumerate(zip(told, bars, strict=False))
    )
    is_text = any(len(point.parts) > 1 for variant in told for point in variant.points)
    is_model = any(len(point.parts) == 1 for variant in told for point in variant.points)
    legend = dict.fromkeys((*(_STEPS if is_model else ()), *(_PARTS if is_text else ())))
    both = "infer (of a text entry: its model)" if is_text and is_model else None
    items = tuple(LegendItem(both if both and css == "infer" else label, css) for label, css in _merge(legend))
    words = [
        "Means of a request, in milliseconds, as the server counts them; the network and the client are not in it."
    ]
    if len(told) > most_plots:
        words.append(f"{len(told) - most_plots} more variants are in the table alone.")
    parts = (Figure(plots, items), Sentence(" ".join(words), "muted"), _times_table(told))
    return Section("Where the time goes", parts if plots else parts[1:])


def show_batches(variants: Sequence[Variant], most_plots: int) -> Section | None:
    """Return histograms of the batches that formed; None where the server told none."""
    chosen = [(variant, point) for variant in variants if (point := _fullest(variant)) is not None]
    if not chosen:
        return None
    plots: list[Plot] = []
    for index, (variant, point) in enumerate(chosen[:most_plots]):
        title = f"{variant.label}, {point.load.describe()}"
        sizes = _model_part(point).batch_sizes
        total = sum(sizes.values())
        shares = {size: count / total for size, count in sizes.items()}
        plots.append(draw_histogram(title, "rows of an execution", shares, variant.colour, f"batch-{index}"))
    rows = tuple(
        (
            variant.name_cell(),
            Cell(point.load.describe()),
            Cell("–" if part.mean_batch is None else format_number(part.mean_batch)),
            Cell(f"{part.executions:,}"),
            Cell(", ".join(f"{count:,} × {size}" for size, count in sorted(part.batch_sizes.items()))),
        )
        for variant, point in chosen
        for part in [_model_part(point)]
    )
    table = Table(
        ("variant", "load", "#mean batch", "#executions", "executions × rows"),
        rows,
        "The same in figures",
        is_folded=True,
    )
    note = Sentence("How many rows each execution of the model had, at the load with the largest mean batch.", "muted")
    return Section("Batches that formed", (Figure(tuple(plots)), note, table) if plots else (note, table))


def _merge(legend: "dict[tuple[str, str], None]") -> list[tuple[str, str]]:
    """Return the legend's items, each colour once."""
    by_colour: dict[str, str] = {}
    for label, css in legend:
        by_colour.setdefault(css, label)
    return [(label, css) for css, label in by_colour.items()]


def _bars_of(variant: Variant) -> list[Bar]:
    points = [point for point in variant.counted if point.parts]
    if len(points) > _MOST_BARS:  # spread over the sweep, with its end
        points = [points[round(place * (len(points) - 1) / (_MOST_BARS - 1))] for place in range(_MOST_BARS)]
    bars = []
    for point in points:
        segments = _segments(point)
        bars.append(Bar(_bar_label(point), segments, format_number(sum(value for _, value in segments))))
    return bars


def _common_length(bars: "Sequence[Sequence[Bar]]") -> float | None:
    """Return the value that all plots reach to, so that their bars compare; None where a plot would be empty then."""
    longest = [max(bar.length for bar in own) for own in bars]
    return max(longest) if longest and min(longest) * _MOST_SPREAD >= max(longest) else None


def _bar_label(point: Point) -> str:
    return f"concurrency {point.load.value:g}" if point.load.kind == "closed" else f"{point.load.value:g}/s"


def _segments(point: Point) -> tuple[tuple[str, float], ...]:
    """Return what a request spent its time with, as colours and milliseconds."""
    queue = sum(part.queue_us or 0.0 for part in point.parts) / 1000
    if len(point.parts) == 1:
        part = point.parts[0]
        steps = (part.compute_input_us, part.compute_infer_us, part.compute_output_us)
        return (
            ("queue", queue),
            *zip(("input", "infer", "output"), ((step or 0.0) / 1000 for step in steps), strict=True),
        )
    model = _model_part(point)
    place = point.parts.index(model)
    before = sum(_compute_ms(part) for part in point.parts[:place])
    after = sum(_compute_ms(part) for part in point.parts[place + 1 :])
    return (("queue", queue), ("part1", before), ("infer", _compute_ms(model)), ("part2", after))


def _compute_ms(part: PartTimes) -> float:
    steps = (part.compute_input_us, part.compute_infer_us, part.compute_output_us)
    return sum(step or 0.0 for step in steps) / 1000


def _model_part(point: Point) -> PartTimes:
    """Return the model among the parts of an ensemble: what is neither its tokenizer nor its post-processor."""
    ends = ("-tokenizer", "-postprocessor")
    return next((part for part in point.parts if not part.model.endswith(ends)), point.parts[0])


def _fullest(variant: Variant) -> Point | None:
    told = [point for point in variant.counted if point.parts and _model_part(point).batch_sizes]
    return max(told, key=lambda point: (_model_part(point).mean_batch or 0.0, point.load.value), default=None)


def _times_table(variants: Sequence[Variant]) -> Table:
    columns = ("variant", "load", "part", "#queue ms", "#input ms", "#infer ms", "#output ms", "#mean batch", "#cached")
    rows = []
    for variant in variants:
        for point in variant.points:
            for part in point.parts:
                times = (part.queue_us, part.compute_input_us, part.compute_infer_us, part.compute_output_us)
                cells = [Cell("–" if time is None else format_number(time / 1000)) for time in times]
                batch = Cell("–" if part.mean_batch is None else format_number(part.mean_batch))
                where = (variant.name_cell(), Cell(point.load.describe()), Cell(clean(part.model, 60)))
                rows.append((*where, *cells, batch, Cell(f"{part.cache_hits:,}")))
    return Table(columns, tuple(rows), "The same in figures, each part of a text entry apart", is_folded=True)
