"""The HTML of a report: whole, closed to the network, small, the same each time, and safe from names."""

import re
from typing import Any
from xml.etree import ElementTree

import pytest
from prep_triton.bench.compare import StoredRun, compare_with_baseline
from prep_triton.bench.cost import cost_report
from prep_triton.bench.prices import find_price, load_prices
from prep_triton.bench.records import BenchReport, GpuUse, Load, NotMeasured, ResourceUse, Slo
from prep_triton.bench.report.document import MOST_BYTES, render_report
from prep_triton.bench.report.runs import ReportedRun

from tests.fakes.reported import SLO, Page, make_run, make_served

HOSTILE = "</title></svg><script src='http://x/a.js'>alert(1)</script>&\"\u202e\x00\ud800"
SVG = re.compile(r"<svg.*?</svg>", re.DOTALL)


def render(*reports: BenchReport, **more: Any) -> str:
    return render_report([ReportedRun(f"run{index}.json", report) for index, report in enumerate(reports)], **more)


def test_a_report_has_everything_and_asks_for_nothing():
    closed = (Load(kind="closed", value=value) for value in (1, 4, 32))
    loads = (*closed, Load(kind="open", value=50, arrivals="poisson"))
    html = render(make_run(loads=loads), entries=[make_served("m-fp32")], place="build/model_repository")
    page = Page(html)
    for title in ("Comparison", "Latency against load", "Latency against throughput", "Where the time goes",
                  "Batches that formed", "Fidelity, accuracy and size", "Beside the figures published in 2021",
                  "Conditions"):  # fmt: skip
        assert title in page.words
    assert page.words.index("Comparison") < page.words.index("Latency against load")
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in html
    assert [name for name, _ in page.elements if name in ("script", "img", "iframe", "object", "embed", "base")] == []
    places = [attributes[key] for _, attributes in page.elements for key in ("src", "href") if key in attributes]
    assert places == ["data:,"]
    assert "url(" not in html
    assert "@import" not in html
    assert "prefers-color-scheme:dark" in html
    assert "@media print" in html


def test_every_plot_is_well_formed_and_has_a_text_alternative():
    drawings = [ElementTree.fromstring(svg) for svg in SVG.findall(render(make_run()))]
    plots = [drawing for drawing in drawings if drawing.get("role") == "img"]
    assert len(plots) == 2 + 2 + 2 + 2  # latency, throughput, times and batches, of two variants
    assert all(drawing.get("aria-hidden") == "true" for drawing in drawings if drawing not in plots)
    names = [name for plot in plots for name in (plot.get("aria-labelledby") or "").split()]
    assert len(set(names)) == 2 * len(plots)
    for plot in plots:
        title, description = plot[0], plot[1]
        assert [title.tag, description.tag] == ["title", "desc"]
        assert [title.get("id"), description.get("id")] == (plot.get("aria-labelledby") or "").split()
        assert title.text
        assert re.search(r"\d", description.text or "")


def test_what_users_named_is_text_alone():
    html = render(make_run(HOSTILE, "m-int8", cpu=HOSTILE, command=f"prep bench {HOSTILE}", triton_flavour=HOSTILE))
    page = Page(html)
    assert page.count("script") == 0
    assert page.words.count("Benchmark report") == 2  # the title and the heading
    assert "<script src='http://x/a.js'>" in page.text
    assert not {"\x00", "\u202e", "\ud800"} & set(html)
    for svg in SVG.findall(html):
        ElementTree.fromstring(svg)


def test_the_same_runs_give_the_same_bytes():
    assert render(make_run(), make_run("m-fp32")) == render(make_run(), make_run("m-fp32"))


@pytest.mark.parametrize(("entries", "loads"), [(40, 6), (8, 60)])
def test_a_report_of_much_is_cut_to_300_kb_and_says_so(entries: int, loads: int):
    report = make_run("m")
    points = tuple(
        report.points[0].model_copy(update={"entry": f"entry-{entry}", "load": Load(kind="closed", value=load + 1)})
        for entry in range(entries)
        for load in range(loads)
    )
    html = render(report.model_copy(update={"points": points}))
    assert 100_000 < len(html.encode()) <= MOST_BYTES
    assert re.search(r"more rows do not fit|more variants are in the table alone", html)


def test_what_was_not_measured_is_a_row_with_its_reason():
    row = NotMeasured(entry="bert-trt", model="bert", precision="int8", runtime="tensorrt", reason="it needs a t4")
    report = make_run().model_copy(update={"not_measured": (row,), "not_loaded": {"m-fp16": "no backend"}})
    page = Page(render(report))
    assert {"bert-trt", "it needs a t4", "m-fp16", "no backend"} <= set(page.words)
    assert page.words.count("not measured") == 2


def test_what_another_run_measured_is_no_row_and_the_same_is_named_once():
    gpu = NotMeasured(entry="bert-gpu", model="bert", precision="fp32", runtime="onnxruntime", reason="needs a GPU")
    left = NotMeasured(entry="m-fp32", model="m", precision="fp32", runtime="onnxruntime", reason="left out by --entry")
    runs = [make_run().model_copy(update={"not_measured": (gpu, left)}) for _ in range(2)]
    page = Page(render(*runs))
    assert page.words.count("bert-gpu") == 1
    assert "left out by --entry" not in page.text


def test_a_partial_run_is_marked():
    page = Page(render(make_run().model_copy(update={"partial": True, "partial_reason": "interrupted"})))
    assert "run0.json: partial, ended before its end: interrupted." in page.words
    assert "m-fp32 (partial)" in page.words
    assert page.words.count("partial") >= 2


def test_runs_of_two_machines_stand_in_one_plot_and_their_clocks_are_not_compared():
    html = render(make_run(), make_run(cpu="EPYC", cores=8))
    page = Page(html)
    assert "m-fp32 · A: Xeon, 2 cores" in page.words
    assert "m-fp32 · B: EPYC, 8 cores" in page.words
    assert "the times of different machines are not compared" in page.text
    throughput = next(svg for svg in SVG.findall(html) if "p99 against throughput" in svg)
    assert throughput.count('class="line') == 4


def test_published_figures_are_marked_and_drawn_only_beside_their_length():
    assert "published 2021" in Page(render(make_run())).words
    assert "(published)" not in render(make_run())
    report = make_run()
    entries = [entry.model_copy(update={"input_kind": "ids", "longest": 384}) for entry in report.conditions.entries]
    conditions = report.conditions.model_copy(update={"entries": tuple(entries)})
    page = Page(render(report.model_copy(update={"conditions": conditions})))
    assert "2021 BERT CPU (published)" in page.words
    assert page.words.count("2021 BERT CPU") == 1  # beside the medians, and not beside a p99


def test_costs_are_a_column_and_a_section_where_a_machine_was_named():
    assert "Cost" not in Page(render(make_run())).words
    report = make_run()
    price = find_price("g2-standard-4", "on-demand", "us-central1", load_prices())
    costs = cost_report(report, price, "on-demand", report.conditions.started_at.date(), is_own_machine=False)
    page = Page(render(report.model_copy(update={"costs": costs})))
    row = next(row for row in costs.rows if row.entry == "m-fp32" and row.at == "slo")
    assert "Cost" in page.words
    assert page.words.count("$ per million") >= 2
    assert f"${row.usd_per_million:.3f}" in page.words
    assert report.slo == SLO


def test_what_entries_cost_that_shared_a_server_is_one_row():
    report = make_run()
    price = find_price("n2-standard-2", "on-demand", "us-central1", load_prices())
    costs = cost_report(report, price, "on-demand", report.conditions.started_at.date(), is_own_machine=False)
    shared = tuple(row.model_copy(update={"entry": "m-fp32, m-int8"}) for row in costs.rows if row.entry == "m-fp32")
    words = Page(render(report.model_copy(update={"costs": costs.model_copy(update={"rows": shared})}))).words
    assert len([word for word in words if word.startswith("m-fp32, m-int8")]) == len(shared)


def test_what_a_point_used_and_how_it_compares_are_shown_where_they_are_known():
    plain = Page(render(make_run())).words
    assert "What it used" not in plain
    assert "Against the baseline" not in plain
    report = make_run()
    gpu = GpuUse(utilisation=0.4)
    use = ResourceUse(server_cpu_cores=1.5, server_memory_peak_mib=512, gpu=gpu, unknown={"power": "no"})
    points = tuple(point.model_copy(update={"resources": use}) for point in report.points)
    compared = compare_with_baseline(report, StoredRun.model_validate(report.model_dump()), "before.json")
    changed = {"points": points, "comparison": compared, "notes": ("priorities end at the tokenizer",)}
    page = Page(render(report.model_copy(update=changed)))
    assert "What it used" in page.words
    assert "40.0 %" in page.words
    assert "Not known: power: no." in page.text
    assert "Against the baseline" in page.words
    assert page.words.count("no difference shown") == len(points)
    assert "run0.json: priorities end at the tokenizer." in page.words


def test_a_comparison_in_turns_says_its_rounds_and_what_others_took():
    report = make_run()
    compared = compare_with_baseline(report, StoredRun.model_validate(report.model_dump()), "localhost:9001")
    points = tuple(point.model_copy(update={"reason": "others took 30% of the cores"}) for point in compared.points)
    turns = compared.model_copy(update={"method": "turns", "rounds": 10, "points": points})
    text = Page(render(report.model_copy(update={"comparison": turns}))).text
    assert "over localhost:9001, measured in turns, 10 rounds, with the intervals of the ratios:" in text
    assert text.count("others took 30% of the cores") == 1


def test_sweeps_of_one_variant_that_differ_by_priority_are_lines_of_their_own():
    loads = tuple(Load(kind="closed", value=value, priority=rank) for rank in (1, 2) for value in (1, 4))
    html = render(make_run("m", loads=loads))
    throughput = next(svg for svg in SVG.findall(html) if "p99 against throughput" in svg)
    assert throughput.count('class="line') == 2
    assert ">m p1<" in throughput
    assert ">m p2<" in throughput


def test_what_holds_for_several_runs_is_said_once_and_levels_that_differ_are():
    flavour = "wheel, ONNX Runtime entries on a stand-in"
    first, second = (
        make_run(triton_flavour=flavour),
        make_run("m-fp16", slo=Slo(percent=95, bound_ms=20), triton_flavour=flavour),
    )
    page = Page(render(first, second))
    assert (
        len([word for word in page.words if word.startswith("run0.json, run1.json: wheel, ONNX Runtime entries")]) == 1
    )
    assert "The runs have different service levels: each rate is that at its own run's." in page.words
    assert {"service level", "p99 <= 50 ms", "p95 <= 20 ms"} <= set(page.words)
    assert page.words.count("service level") == 1 + Page(render(make_run())).words.count("service level")
