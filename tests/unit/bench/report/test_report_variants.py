"""What a report compares, which point stands for it, and what it is called."""

from datetime import UTC, datetime

import pytest
from prep_triton.bench.records import Slo
from prep_triton.bench.report.runs import ReportedRun
from prep_triton.bench.report.variants import decide, describe_machine, find_facts, list_variants

from tests.fakes.reported import LOADS, make_run, make_served

LATER = datetime(2026, 1, 3, 8, 30, tzinfo=UTC)


def labels(*runs: ReportedRun) -> list[str]:
    return [variant.label for variant in list_variants(runs, {})]


def test_one_run_needs_no_more_than_its_entries_names():
    variants = list_variants([ReportedRun("a.json", make_run())], {})
    assert [variant.label for variant in variants] == ["m-fp32", "m-int8"]
    assert [variant.short for variant in variants] == ["fp32", "int8"]
    assert len({variant.colour for variant in variants}) == 2


def test_runs_of_one_machine_are_told_apart_by_their_time():
    runs = [ReportedRun("a.json", make_run("m")), ReportedRun("b.json", make_run("m", started_at=LATER))]
    assert labels(*runs) == ["m · 2026-01-02 00:00 (A)", "m · 2026-01-03 08:30 (B)"]
    same = [ReportedRun("a.json", make_run("m")), ReportedRun("b.json", make_run("m", seed=3))]
    assert labels(*same) == ["m · 2026-01-02 00:00 (A)", "m · 2026-01-02 00:00 (B)"]


def test_runs_of_two_machines_are_told_apart_by_them():
    runs = [ReportedRun("a.json", make_run("m")), ReportedRun("b.json", make_run("m", cpu="EPYC", started_at=LATER))]
    assert labels(*runs) == ["m · A: Xeon, 2 cores", "m · B: EPYC, 2 cores"]
    assert describe_machine(make_run("m", server="gpu:8001").conditions) == "gpu:8001 from Xeon, 2 cores"


@pytest.mark.parametrize(
    ("slo", "state", "concurrency"),
    [
        (Slo(percent=99, bound_ms=1000), "met", 4),
        (Slo(percent=99, bound_ms=0.001), "none holds", None),
        (Slo(percent=99.999, bound_ms=1000), "not shown", 4),
        (None, "highest", 4),
    ],
)
def test_the_highest_rate_that_holds_the_level_stands_for_a_variant(
    slo: Slo | None, state: str, concurrency: int | None
):
    variant = list_variants([ReportedRun("a.json", make_run("m", slo=slo))], {})[0]
    decision = decide(variant)
    assert decision.state == state
    if concurrency:
        assert decision.point.load == LOADS[-1]
    else:
        assert decision.point.p99_ms.value == min(point.p99_ms.value for point in variant.points)


def test_a_load_that_the_generator_did_not_sustain_does_not_count():
    report = make_run("m")
    points = tuple(point.model_copy(update={"sustained": False}) for point in report.points)
    variant = list_variants([ReportedRun("a.json", report.model_copy(update={"points": points}))], {})[0]
    assert decide(variant).state == "nothing"
    assert decide(variant).point is None


def test_facts_are_of_the_entrys_manifest_and_of_a_text_entry_its_models():
    model = make_served("m")
    text = make_served("m-text", kind="ensemble", runtime="ensemble", composes=("m",), onnx=None, key="k2")
    entries = {"m": model, "m-text": text}
    benched = make_run("m").conditions.entries[0]
    facts = find_facts("m", benched, entries)
    assert (facts.precision, facts.size_bytes, facts.cosine, facts.worst_cosine) == ("int8", 2 * 2**20, 0.99, 0.98)
    assert facts.is_same_build
    assert find_facts("m", benched, {"m": make_served("m", key="other")}).is_same_build is False
    assert find_facts("m-text", None, entries).size_bytes == 4 * 2**20
    assert find_facts("m-text", None, entries).cosine == 0.99
    assert find_facts("other", benched, entries) is None


@pytest.mark.parametrize(
    ("names", "short"),
    [
        (("m-fp32", "m-int8"), ["fp32", "int8"]),
        (("bert-base-onnx-cpu", "distilbert-onnx-cpu"), ["bert-base", "distilbert"]),
        (("m-fp32", "m-fp32-text"), ["fp32", "fp32-text"]),
        (("a", "b-a"), ["a", "b-a"]),
        (("m", "m-text"), ["m", "m-text"]),
        (("only-one",), ["only-one"]),
    ],
)
def test_a_line_is_called_after_what_tells_it_from_others(names: tuple[str, ...], short: list[str]):
    assert [variant.short for variant in list_variants([ReportedRun("a.json", make_run(*names))], {})] == short
