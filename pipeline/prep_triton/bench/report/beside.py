"""What others published of this product in 2021, beside what was measured here."""

from collections.abc import Sequence

from prep_triton.bench.cost import usd_per_million
from prep_triton.bench.published import PublishedRow, load_published
from prep_triton.bench.report.content import Cell, Section, Sentence, Table
from prep_triton.bench.report.costs import find_cost
from prep_triton.bench.report.plots import Line, Spot
from prep_triton.bench.report.text import clean, format_dollars, format_number
from prep_triton.bench.report.variants import Variant, decide


def show_published(variants: Sequence[Variant]) -> Section:
    """Return the published rows under ours, each marked as what it is."""
    rows = [row for variant in variants if (row := _own_row(variant))]
    published = load_published()
    rows += [_published_row(row) for row in published]
    columns = (
        "deployment",
        "source",
        "machine",
        "#tokens",
        "#batch",
        "#inferences/s",
        "#latency ms",
        "#$ per hour",
        "#$ per million",
    )
    source = published[0].source
    words = (
        f"Published on {source.date}: {source.name}, {source.url}. Theirs is the best of a concurrency sweep of "
        "perf_analyzer (4 to 24, batch 2), with the prices of that day, on other machines and servers; ours is the "
        "load of the comparison above, with its p50."
    )
    return Section("Beside the figures published in 2021", (Table(columns, tuple(rows)), Sentence(words, "muted")))


def lines_of_published(variants: Sequence[Variant]) -> tuple[Line, ...]:
    """Return the published rows as points of a plot, where something was measured at their length."""
    lengths = {
        variant.benched.longest for variant in variants if variant.benched and variant.benched.input_kind == "ids"
    }
    return tuple(
        Line(_name_of(row), -1, index, (Spot(row.inferences_per_s, row.latency_ms),))
        for index, row in enumerate(load_published())
        if row.sequence_length in lengths
    )


def _name_of(row: PublishedRow) -> str:
    model = "DistilBERT" if row.model == "distilbert" else "BERT"
    return f"2021 {model} {(row.accelerator or 'cpu').upper()}{' INT8' if row.precision == 'int8' else ''}"


def _own_row(variant: Variant) -> tuple[Cell, ...] | None:
    point = decide(variant).point
    if point is None:
        return None
    benched, costs, cost = variant.benched, variant.run.report.costs, find_cost(variant)
    tokens = f"{benched.longest}" if benched and benched.input_kind == "ids" else "text"
    return (
        variant.name_cell(point.load.describe()),
        Cell("measured"),
        Cell(variant.machine),
        Cell(tokens),
        Cell(str(point.batch)),
        Cell(format_number(point.inferences_per_s.value)),
        Cell(format_number(point.p50_ms.value)),
        Cell(format_dollars(costs.usd_per_hour), clean(costs.machine, 40)) if costs else Cell("–"),
        Cell(format_dollars(cost.usd_per_million)) if cost and cost.usd_per_million else Cell("–"),
    )


def _published_row(row: PublishedRow) -> tuple[Cell, ...]:
    return (
        Cell(row.name),
        Cell("published 2021", tone="muted"),
        Cell(row.machine + (f" + {row.accelerator}" if row.accelerator else "")),
        Cell(str(row.sequence_length)),
        Cell(str(row.batch)),
        Cell(format_number(row.inferences_per_s)),
        Cell(format_number(row.latency_ms)),
        Cell(format_dollars(row.usd_per_hour)),
        Cell(format_dollars(usd_per_million(row.inferences_per_s, row.usd_per_hour))),
    )
