"""What inferences cost: dollars an hour over inferences a second."""

import datetime
import re
from collections.abc import Iterator

from prep_triton.bench.cost_records import CostPlace, CostRow, Costs
from prep_triton.bench.curves import Case, Curve, find_holding, list_curves
from prep_triton.bench.prices import PRICES_VARIABLE, MachinePrice, PriceKind
from prep_triton.bench.records import BenchConditions, BenchReport, Slo

# Of a price, after which it is said.
OLD_DAYS = 180
UTILISATION = 0.6
_SECONDS_PER_HOUR = 3600
_MILLION = 1_000_000


def inferences_per_usd(inferences_per_s: float, usd_per_hour: float) -> float:
    """Return how many inferences a dollar buys on a machine that makes so many a second, all the time."""
    return inferences_per_s * _SECONDS_PER_HOUR / usd_per_hour


def usd_per_million(inferences_per_s: float, usd_per_hour: float) -> float:
    """Return the dollars that a million inferences cost; `inferences_per_s` is above 0."""
    return _MILLION / inferences_per_usd(inferences_per_s, usd_per_hour)


def cost_report(
    report: BenchReport, price: MachinePrice, kind: PriceKind, today: datetime.date, *, is_own_machine: bool
) -> Costs:
    """Return what the measured entries cost on a machine.

    Args:
        report: What was measured.
        price: The machine's; it has a price of that kind.
        kind: Which of its prices.
        today: For the age of the price.
        is_own_machine: Whether the server ran on the machine whose conditions the report has.
    """
    usd = price.usd_per_hour(kind)
    assert usd is not None
    notes = [*_list_doubts_of_price(price, today)]
    if is_own_machine:
        notes += _list_doubts_of_machine(price, report.conditions)
    return Costs(
        machine=price.machine,
        accelerator=price.accelerator,
        region=price.region,
        price=kind,
        usd_per_hour=usd,
        source=price.source.name,
        source_url=price.source.url,
        source_date=price.source.date,
        notes=tuple(notes),
        rows=tuple(row for curve in list_curves(report.points) for row in _cost_curve(curve, report.slo, usd)),
    )


def _cost_curve(curve: Curve, slo: Slo | None, usd: float) -> Iterator[CostRow]:
    """Yield what inferences cost at each place of a curve: at the service level where there is one, and in general."""
    entry = curve[0].entry
    counting = [case for case in curve if case.is_counting]
    if slo is not None:
        holding = find_holding(counting)
        reason = f"no load was shown to hold {slo.describe()}"
        yield _cost_case("slo", holding, usd) if holding else CostRow(entry=entry, at="slo", reason=reason)
    fastest = max(counting, key=lambda case: case.inferences_per_s, default=None)
    places: tuple[tuple[CostPlace, float], ...] = (("full_load", 1.0), ("60_percent", UTILISATION))
    for place, share in places:
        without = CostRow(entry=entry, at=place, reason="no load counts")
        yield _cost_case(place, fastest, usd, share) if fastest else without


def _cost_case(place: CostPlace, case: Case, usd: float, share: float = 1.0) -> CostRow:
    """Return what a share of a case's throughput costs."""
    rate = case.inferences_per_s * share
    return CostRow(
        entry=case.entry,
        at=place,
        load=case.load,
        inferences_per_s=rate,
        inferences_per_usd=inferences_per_usd(rate, usd),
        usd_per_million=usd_per_million(rate, usd),
    )


def _list_doubts_of_price(price: MachinePrice, today: datetime.date) -> Iterator[str]:
    date = price.source.date
    if date is not None and (today - date).days > OLD_DAYS:
        where = f" at {price.source.url}" if price.source.url else ""
        yield (
            f"the price of {price.machine} is of {date.isoformat()}, more than {OLD_DAYS} days ago: look it up{where}, "
            f"and correct it in a file that {PRICES_VARIABLE} names"
        )


def _list_doubts_of_machine(price: MachinePrice, conditions: BenchConditions) -> Iterator[str]:
    """Yield how the machine that was measured differs from the one that is paid for."""
    if conditions.cores != price.cores:
        yield (
            f"{price.machine} has {price.cores} cores, the machine that was measured {conditions.cores}: "
            "measured there, inferences may cost something else"
        )
    gpus = " and ".join(gpu.name for gpu in conditions.gpus)
    if price.accelerator and price.accelerator not in re.split(r"[\s-]", gpus.lower()):  # "Tesla T4", "NVIDIA L4"
        yield f"{price.machine} has a GPU ({price.accelerator}), the machine that was measured {gpus or 'none'}"
    elif gpus and not price.accelerator:
        yield f"{price.machine} has no GPU, the machine that was measured {gpus}"
