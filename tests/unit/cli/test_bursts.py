"""`prep bench --bursts` for a person."""

import json

import pytest
from prep_triton.bench.burst_figures import cases_from_rounds
from prep_triton.bench.burst_records import BurstReport, BurstTier
from prep_triton.bench.bursts import BURSTS
from prep_triton.bench.records import Figure
from prep_triton.cli.documents.bursts import BurstDocument, render_bursts
from prep_triton.cli.output import Output

from tests.fakes.benched import make_points, make_report
from tests.fakes.documents import load_validator
from tests.unit.bench.test_bursts import RATES, play


@pytest.fixture
def document() -> BurstDocument:
    capacity = Figure(value=100, low=90, high=110)
    cases = cases_from_rounds(play(RATES), 0)
    late = (
        cases[1]
        .sides[0]
        .model_copy(update={"sustained": False, "errors": 2, "error_messages": {"busy": 2}, "requests": 0})
    )
    report = BurstReport(
        conditions=make_report(make_points()).conditions,
        server_arguments=("--rate-limit=execution_count",),
        most_unanswered=128,
        disturbed_share=0.15,
        played_again=2,
        partial=True,
        partial_reason="interrupted",
        tiers=(
            BurstTier(tier=1, entry="a", capacity_per_s=capacity),
            BurstTier(tier=2, entry="b", capacity_per_s=capacity),
        ),
        bursts=BURSTS,
        cases=(cases[0], cases[1].model_copy(update={"sides": (late,), "others_cores": None}), *cases[2:]),
    )
    return BurstDocument(**dict(report))


def test_bursts_are_told_by_tier_and_case(document: BurstDocument, capsys: pytest.CaptureFixture[str]):
    render_bursts(Output(as_json=False, verbose=1), document)
    text = capsys.readouterr().out
    assert "  tier 2: b, alone 100.0 (90.0-110.0) requests/s with 128 under way\n" in text
    assert "  with tiers: --rate-limit=execution_count\n" in text
    assert "  burst 3: tier 1 at 40 % of that, tier 2 at 300 %\n" in text
    rows = [line.split("\t") for line in text.splitlines() if line.startswith("2\t")]
    assert [(row[1], row[2]) for row in rows] == [
        ("tier 1 alone", "1"),
        ("tier 2 alone", "2"),
        *((case, tier) for case in ("without tiers", "with tiers") for tier in ("1", "2")),
    ]
    assert rows[0][5] == ""
    assert rows[1][6:12] == ["-", "-", "120", "2", "-", "not sustained by the generator"]
    assert rows[4][5].startswith("98 % (")
    assert rows[5][4:8] == ["0.0 (0.0-0.0)", "0 % (0-0)", "-", "-"]
    assert "burst 2, tier 2 alone: 2 x busy\n" in text
    assert "2 rounds were played again, since other programs took over 15 % of the cores\n" in text
    assert "partial: interrupted\n" in text


def test_the_document_fits_the_schema_of_the_command(document: BurstDocument):
    load_validator("bench").validate(json.loads(document.model_dump_json()))
