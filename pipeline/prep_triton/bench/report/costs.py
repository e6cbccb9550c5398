"""What inferences cost, where a run names the machine that is paid for."""

from collections.abc import Iterator, Sequence

from prep_triton.bench.cost_records import CostRow, Costs
from prep_triton.bench.report.content import Cell, Figure, Section, Sentence, Table
from prep_triton.bench.report.plots import Bar, class_of, draw_bars
from prep_triton.bench.report.text import clean, format_dollars, format_number
from prep_triton.bench.report.variants import Variant

_PLACES = {"slo": "at the service level", "full_load": "at full load", "60_percent": "at 60 % of it"}


def show_costs(variants: Sequence[Variant]) -> Section | None:
    """Return a row for each variant and place of its curve; None where no run names a machine."""
    priced = [(variant, costs) for variant in variants if (costs := variant.run.report.costs)]
    if not priced:
        return None
    rows = [_row(variant.name_cell(), costs, row) for variant, costs in priced for row in _rows_of(variant, costs)]
    rows += [_row(Cell(clean(row.entry, 80), "at once"), costs, row) for costs, row in _rows_of_mixes(priced)]
    columns = (
        "variant",
        "machine",
        "#$ per hour",
        "place",
        "load",
        "#inferences/s",
        "#inferences per $",
        "#$ per million",
    )
    return Section("Cost", (*_draw(priced), Table(columns, tuple(rows)), *_describe(priced)))


def find_cost(variant: Variant) -> CostRow | None:
    """Return what a variant costs at its service level, or at full load where there is none; None where unknown."""
    costs = variant.run.report.costs
    place = "slo" if variant.run.report.slo else "full_load"
    rows = [row for row in _rows_of(variant, costs) if row.at == place] if costs else []
    return rows[0] if rows else None


def _rows_of(variant: Variant, costs: Costs) -> list[CostRow]:
    return [row for row in costs.rows if row.entry == variant.entry]


def _rows_of_mixes(priced: "Sequence[tuple[Variant, Costs]]") -> Iterator[tuple[Costs, CostRow]]:
    """Yield what several entries cost that shared a server: once for each run, since it is no variant's own."""
    runs = {id(variant.run): costs for variant, costs in priced}
    for costs in runs.values():
        yield from ((costs, row) for row in costs.rows if ", " in row.entry)


def _row(name: Cell, costs: Costs, row: CostRow) -> tuple[Cell, ...]:
    place = (Cell(_PLACES[row.at]), Cell(row.load or "–", clean(row.reason, 80)))
    figures = [
        Cell("–" if value is None else render(value))
        for value, render in (
            (row.inferences_per_s, format_number),
            (row.inferences_per_usd, format_number),
            (row.usd_per_million, format_dollars),
        )
    ]
    machine = Cell(clean(costs.machine, 40), f"{costs.price}, {clean(costs.region, 40)}")
    return (name, machine, Cell(format_dollars(costs.usd_per_hour)), *place, *figures)


def _draw(priced: "Sequence[tuple[Variant, Costs]]") -> Iterator[Figure]:
    bars = []
    for variant, _ in priced:
        row = find_cost(variant)
        if row and row.usd_per_million is not None:
            segments = ((class_of(variant.colour), row.usd_per_million),)
            bars.append(Bar(variant.short, segments, format_dollars(row.usd_per_million)))
    if len(bars) > 1:
        yield Figure((draw_bars("Dollars per million inferences", "$ per million", bars, "cost"),))


def _describe(priced: "Sequence[tuple[Variant, Costs]]") -> Iterator[Sentence]:
    every = {costs.model_dump_json(exclude={"rows"}): costs for _, costs in priced}
    for costs in every.values():
        dated = f", {costs.source_date}" if costs.source_date else ""
        where = f", {clean(costs.source_url)}" if costs.source_url else ""
        words = f"The price of {clean(costs.machine, 40)} ({costs.price}) is of {clean(costs.source)}{where}{dated}."
        yield Sentence(words, "muted")
        yield from (Sentence(f"{clean(note, 400)}.", "warning") for note in costs.notes)
