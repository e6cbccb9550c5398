"""What measured inferences cost on a machine that the user names."""

import datetime
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prep_triton.run.benching import STARTED_HERE

if TYPE_CHECKING:
    from prep_triton.bench.prices import MachinePrice, PriceKind
    from prep_triton.bench.records import BenchReport


@dataclass(frozen=True)
class ChosenPrice:
    """A machine's row in the table of prices, and which of its prices is meant."""

    row: "MachinePrice"
    kind: "PriceKind"


def choose_price(machine: str, kind: str, region: str) -> ChosenPrice:
    """Look a machine up, before anything is measured.

    Raises:
        SpecError: There is no such machine, region or price, or the user's table cannot be read.
    """
    from prep_triton.bench.prices import PRICE_KINDS, find_price, load_prices
    from prep_triton.errors import SpecError, suggest

    known: PriceKind | None = next((word for word in PRICE_KINDS if word == kind), None)
    if known is None:
        raise SpecError(
            f"--price {kind} is none of {', '.join(PRICE_KINDS)}",
            hint=suggest(kind, PRICE_KINDS, otherwise="write --price on-demand"),
        )
    return ChosenPrice(find_price(machine, known, region, load_prices()), known)


def add_costs(report: "BenchReport", price: ChosenPrice) -> "BenchReport":
    """Return the report with what its inferences cost."""
    from prep_triton.bench.cost import cost_report

    today = datetime.datetime.now(datetime.UTC).date()
    is_own_machine = report.conditions.server == STARTED_HERE
    costs = cost_report(report, price.row, price.kind, today, is_own_machine=is_own_machine)
    return report.model_copy(update={"costs": costs})
