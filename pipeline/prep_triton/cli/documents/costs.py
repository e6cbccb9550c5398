"""What inferences cost, as a table."""

from prep_triton.bench.cost_records import CostPlace, CostRow, Costs
from prep_triton.cli.output import Output

_PLACES: dict[CostPlace, str] = {"slo": "at the SLO", "full_load": "at full load", "60_percent": "at 60 % of it"}


def render_costs(out: Output, costs: Costs) -> None:
    """Print what each entry costs at each place of its curve, and what speaks against the figures."""
    date = f", {costs.source_date.isoformat()}" if costs.source_date else ""
    price = f"{costs.machine}, {costs.region}, {costs.price}: ${costs.usd_per_hour:.4f}/h ({costs.source}{date})"
    out.line(f"cost on {price}", style="bold")
    columns = ("=entry", "=at", "=load", "#inferences/s", "#$/h", "#inferences/$", "#$ per million")
    rows = [_row_of(costs, row) for row in costs.rows if not row.reason]
    out.table("", columns, rows)
    for row in costs.rows:
        if row.reason:
            out.line(f"no cost {_PLACES[row.at]} of {row.entry}: {row.reason}", style="yellow")
    for note in costs.notes:
        out.line(note, style="yellow")


def format_usd(value: float) -> str:
    """Render dollars: cents where there are some, else four digits."""
    return f"{value:,.2f}" if value >= 1 else f"{value:.4f}"


def _row_of(costs: Costs, row: CostRow) -> tuple[str, ...]:
    assert row.inferences_per_s and row.inferences_per_usd and row.usd_per_million
    return (
        row.entry,
        _PLACES[row.at],
        row.load or "",
        f"{row.inferences_per_s:,.1f}",
        f"{costs.usd_per_hour:.4f}",
        f"{row.inferences_per_usd:,.0f}",
        format_usd(row.usd_per_million),
    )
