"""perf_analyzer as the generator: what it is given, and how its words and its CSV are read."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from prep_triton.bench.analyzer import Analyzer, check_flags, find_analyzer, parse_figures, run_analyzer, write_inputs
from prep_triton.bench.analyzer_points import (
    ALONE_NOTE,
    LATENCY_NOTE,
    AnalyzerRepeat,
    figure_from_repeats,
    points_from_analyzer,
)
from prep_triton.bench.records import Load
from prep_triton.bench.requests import Workload
from prep_triton.errors import GeneratorError, SpecError
from prep_triton.triton.server.load import ServedModel, serialize_request
from prep_triton.triton.server.statistics import ModelStatistics

from tests.fakes.perf_analyzer import VERSION, write_stand_in

CLOSED = Load(kind="closed", value=24)
OPEN = Load(kind="open", value=2500, arrivals="poisson")


@pytest.fixture
def analyzer(tmp_path: Path) -> Analyzer:
    return Analyzer(write_stand_in(tmp_path), VERSION)


def make_workload(arrays: dict, *, name: str = "tiny", batch: int = 2, max_batch_size: int = 8) -> Workload:
    model = ServedModel(name, (), max_batch_size, (), None, "c0")
    return Workload(model, "", batch, (serialize_request(name, arrays),), (3,))


IDS = {"input_ids": np.array([[5, 6, 7], [8, 9, 10]]), "attention_mask": np.ones((2, 3), np.int64)}


def test_it_is_looked_for_where_the_variable_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PREP_PERF_ANALYZER", str(write_stand_in(tmp_path)))
    assert find_analyzer() == Analyzer(tmp_path / "perf_analyzer", VERSION)
    monkeypatch.setenv("PREP_PERF_ANALYZER", "/bin/echo")
    with pytest.raises(GeneratorError, match="does not tell its version as perf_analyzer does"):
        find_analyzer()
    monkeypatch.setenv("PREP_PERF_ANALYZER", str(tmp_path / "none"))
    with pytest.raises(SpecError, match=r"PREP_PERF_ANALYZER=.*none is not a program"):
        find_analyzer()
    monkeypatch.delenv("PREP_PERF_ANALYZER")
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(SpecError, match="perf_analyzer is not on PATH") as caught:
        find_analyzer()
    assert "pip install perf-analyzer" in (caught.value.hint or "")


def test_it_is_given_the_rows_of_our_requests(tmp_path: Path):
    write_inputs(make_workload(IDS), tmp_path / "rows.json")
    assert json.loads((tmp_path / "rows.json").read_text())["data"] == [
        {name: {"content": array[row].tolist(), "shape": [3]} for name, array in IDS.items()} for row in (0, 1)
    ]
    write_inputs(make_workload(IDS, max_batch_size=0), tmp_path / "whole.json")
    (whole,) = json.loads((tmp_path / "whole.json").read_text())["data"]
    assert whole["input_ids"] == {"content": [5, 6, 7, 8, 9, 10], "shape": [2, 3]}
    texts = np.array([[b'eins "zwei"'], ["drei ü".encode()]], dtype=object)
    write_inputs(make_workload({"TEXT": texts}), tmp_path / "texts.json")
    assert [step["TEXT"] for step in json.loads((tmp_path / "texts.json").read_text())["data"]] == [
        {"content": ['eins "zwei"'], "shape": [1]},
        {"content": ["drei ü"], "shape": [1]},
    ]
    with pytest.raises(SpecError, match="UTF-8"):
        write_inputs(make_workload({"TEXT": np.array([[b"\xff"]], dtype=object)}, batch=1), tmp_path / "bad.json")


@pytest.mark.parametrize(
    ("load", "expected"),
    [
        (CLOSED, ["--concurrency-range", "24", "--max-threads", "24", "--sync"]),
        (OPEN, ["--request-rate-range", "2500.0", "--request-distribution", "poisson", "--async"]),
    ],
)
def test_a_run_is_of_one_load_and_three_windows(tmp_path: Path, analyzer: Analyzer, load: Load, expected: list[str]):
    run_analyzer(analyzer, make_workload(IDS), load, ("host:8001", tmp_path / "in.json"), (1.5, 5.0))
    arguments = (tmp_path / "arguments.txt").read_text().splitlines()
    assert arguments[-len(expected) :] == expected
    pairs = dict(pairwise(arguments))
    assert {flag: pairs[flag] for flag in ("-m", "-i", "-u", "-b", "-p", "-r")} == {
        "-m": "tiny",
        "-i": "grpc",
        "-u": "host:8001",
        "-b": "2",
        "-p": "1500",
        "-r": "3",
    }


def test_its_figures_are_those_of_the_load(tmp_path: Path, analyzer: Analyzer):
    place, limits = ("host:8001", tmp_path / "in.json"), (1.0, 5.0)
    closed = run_analyzer(analyzer, make_workload(IDS), CLOSED, place, limits)
    assert closed.inferences_per_s == 22.1606
    assert closed.latency_us == {0: 334428, 50: 352223, 90: 400583, 95: 407583, 99: 634888}
    assert (closed.requests, closed.is_stable, closed.is_late, closed.notes) == (28, True, False, ())
    behind = run_analyzer(analyzer, make_workload(IDS), OPEN, place, limits)
    assert (behind.requests, behind.is_stable, behind.is_late, behind.sent_per_s) == (122, False, True, 2969.98)
    assert "67.21% of the requests were delayed" in behind.notes[0]


def test_its_failure_is_in_its_own_words(tmp_path: Path, analyzer: Analyzer):
    place, limits = ("host:8001", tmp_path / "in.json"), (1.0, 5.0)
    with pytest.raises(GeneratorError, match="Request for unknown model: 'nothing' is not found"):
        run_analyzer(analyzer, make_workload(IDS, name="nothing"), CLOSED, place, limits)
    with pytest.raises(GeneratorError, match="No valid requests recorded") as caught:
        run_analyzer(analyzer, make_workload(IDS, name="slow"), CLOSED, place, limits)
    assert caught.value.hint == "measure longer with --duration-s"


@pytest.mark.parametrize("table", ["", "Concurrency,Inferences/Second\n24,5\n", "Concurrency,p50 latency\n23,5\n"])
def test_a_csv_of_another_form_is_an_error(table: str):
    with pytest.raises(GeneratorError, match="does not have concurrency 24 in the columns of version"):
        parse_figures(table, "", CLOSED)


def test_a_point_is_the_mean_of_its_repeats(tmp_path: Path, analyzer: Analyzer):
    workload, place = make_workload(IDS), ("host:8001", tmp_path / "in.json")
    statistics = {"tiny": ModelStatistics(requests=4, rows=8, executions=2, batch_sizes={4: 2}, queue_ns=4000)}
    repeats = [
        AnalyzerRepeat(workload, load, run_analyzer(analyzer, workload, load, place, (1.0, 5.0)), statistics)
        for load in (CLOSED, OPEN, CLOSED)
    ]
    closed, behind = points_from_analyzer(repeats)
    assert closed.load == CLOSED
    assert closed.requests_per_s.value == pytest.approx(22.1606 / 2)
    assert closed.inferences_per_s.low == closed.inferences_per_s.high == pytest.approx(22.1606)
    assert (closed.repeats, closed.requests, closed.p50_ms.value) == (2, 56, 352.223)
    assert closed.seconds == pytest.approx(2 * 28 * 2 / 22.1606)
    assert (closed.sustained, closed.notes, closed.blocks) == (True, (), ())
    assert closed.parts[0].batch_sizes == {4: 4}
    assert not behind.sustained
    unstable, late, alone, said = behind.notes
    assert unstable == "unstable by perf_analyzer's own rule in 1 of 1 repeats"
    assert (late, alone) == (LATENCY_NOTE, ALONE_NOTE)
    assert said.startswith("perf_analyzer: Perf Analyzer was not able to keep up")


def test_the_interval_of_repeats_is_students():
    figure = figure_from_repeats([9.0, 10.0, 11.0])
    assert figure.value == 10.0
    assert figure.high - 10.0 == pytest.approx(4.303 / 3**0.5, rel=1e-3)
    assert 10.0 - figure.low == pytest.approx(figure.high - 10.0)


def test_what_it_cannot_do_is_refused():
    check_flags(["--csv"])
    for flag in ("--slo", "--baseline", "--processes", "--mix", "--priority", "--protocol"):
        with pytest.raises(SpecError, match=f"{flag} is not for --load-generator perf-analyzer"):
            check_flags([flag])
