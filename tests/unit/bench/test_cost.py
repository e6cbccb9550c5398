"""What inferences cost: where on the curve, and what speaks against it."""

import datetime

import pytest
from prep_triton.bench.cost import OLD_DAYS, cost_report
from prep_triton.bench.prices import MachinePrice, PriceSource, load_prices
from prep_triton.bench.records import GpuFacts, Load, Slo

from tests.fakes.benched import OPEN, make_points, make_report

DAY = datetime.date(2026, 9, 1)
SMALL = MachinePrice(
    machine="small", region="r", cores=2, on_demand=0.36, spot=0.1, source=PriceSource(name="a page", date=DAY)
)
LOADS = [Load(kind="closed", value=value) for value in (1, 4, 16)]


def cost(report, price=SMALL, *, today=DAY, is_own_machine=True):
    return cost_report(report, price, "on-demand", today, is_own_machine=is_own_machine)


def test_the_slo_full_load_and_sixty_percent_are_priced():
    """10 ms whatever the load: 100, 400 and 1,600 inferences a second; the level is held up to where it was met."""
    points = make_points(LOADS, noise=0, slo=Slo(percent=99, bound_ms=1000))
    over = points[2].verdict.model_copy(update={"state": "not met"})
    report = make_report((*points[:2], points[2].model_copy(update={"verdict": over})))
    costs = cost(report.model_copy(update={"slo": Slo(percent=99, bound_ms=1000)}))
    rows = {row.at: row for row in costs.rows}
    assert [row.at for row in costs.rows] == ["slo", "full_load", "60_percent"]
    assert rows["slo"].load == "concurrency 4"
    assert rows["slo"].inferences_per_s == pytest.approx(400)
    assert rows["slo"].inferences_per_usd == pytest.approx(400 * 3600 / 0.36)
    assert rows["full_load"].load == "concurrency 16"
    assert rows["full_load"].usd_per_million == pytest.approx(0.36 / 3600 / 1600 * 1e6)
    assert rows["60_percent"].usd_per_million == pytest.approx(rows["full_load"].usd_per_million / 0.6)
    assert (costs.usd_per_hour, costs.price, costs.source_date, costs.notes) == (0.36, "on-demand", DAY, ())


def test_what_holds_no_level_and_what_does_not_count_say_so():
    slo = Slo(percent=99, bound_ms=1)
    report = make_report(make_points(LOADS, slo=slo)).model_copy(update={"slo": slo})
    level, full, _ = cost(report).rows
    assert (level.inferences_per_usd, level.reason) == (None, "no load was shown to hold p99 <= 1 ms")
    assert full.reason == ""
    (late,) = (point.model_copy(update={"sustained": False}) for point in make_points([OPEN]))
    assert [row.reason for row in cost(make_report((late,))).rows] == ["no load counts"] * 2


def test_each_entry_is_priced_and_a_request_of_two_rows_is_two_inferences():
    points = (*make_points(name="a", batch=2, noise=0), *make_points(name="b", noise=0))
    rows = {(row.entry, row.at): row.inferences_per_s for row in cost(make_report(points)).rows}
    assert rows["a", "full_load"] == pytest.approx(2 * rows["b", "full_load"])


def test_an_old_price_is_said_once():
    report = make_report(make_points())
    assert cost(report, today=DAY + datetime.timedelta(days=OLD_DAYS)).notes == ()
    (note,) = cost(report, today=DAY + datetime.timedelta(days=OLD_DAYS + 1)).notes
    assert note.startswith("the price of small is of 2026-09-01, more than 180 days ago")
    assert "PREP_PRICES" in note


@pytest.mark.parametrize(
    ("machine", "gpus", "cores", "notes"),
    [
        ("g2-standard-4", ("NVIDIA L4",), 4, []),
        (
            "g2-standard-4",
            ("NVIDIA L40S",),
            4,
            ["g2-standard-4 has a GPU (l4), the machine that was measured NVIDIA L40S"],
        ),
        ("g2-standard-4", (), 4, ["g2-standard-4 has a GPU (l4), the machine that was measured none"]),
        ("n2-standard-2", ("Tesla T4",), 2, ["n2-standard-2 has no GPU, the machine that was measured Tesla T4"]),
        ("n2-standard-4", (), 2, ["n2-standard-4 has 4 cores, the machine that was measured 2"]),
    ],
)
def test_a_machine_that_was_not_measured_is_said(machine, gpus, cores, notes):
    price = next(price for price in load_prices() if price.machine == machine)
    report = make_report(make_points(), cores=cores, gpus=tuple(GpuFacts(name=name) for name in gpus))
    said = [note for note in cost(report, price).notes if "days ago" not in note]
    assert [note[: len(expected)] for note, expected in zip(said, notes, strict=True)] == notes
    # Of a server elsewhere, nothing is known of its machine.
    assert cost(report, price, is_own_machine=False).notes == ()
