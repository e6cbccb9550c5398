"""The load of a pipeline file as a step of its run; the load itself is played, see test_bench.py for a real one."""

import json
from pathlib import Path

import pytest
from prep_triton.bench.records import BenchReport, NotMeasured
from prep_triton.cli.documents.rows import cells_from_row
from prep_triton.errors import ServerError, SpecError
from prep_triton.publish.catalog import load_pointer
from prep_triton.publish.uri import open_store
from prep_triton.run import bench_target
from prep_triton.run.bench_request import name_keys, request_from_spec
from prep_triton.run.benching import INTERRUPTED, BenchOutcome, BenchRequest
from prep_triton.run.report import RunReport

from tests.fakes.benched import CLOSED, make_points, make_report
from tests.fakes.played_stages import ONNX, Stages, run, run_spec

ENTRY = "tiny-onnx-fp32"
BENCH = "bench: {concurrency: 4, batch: 2, slo: p99=50ms}"
COMPARED = "bench: {concurrency: 4, baseline: before.json}"


class Load:
    """Plays `prep bench`; `slowdown` and `error` are of the next one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.requests: list[BenchRequest] = []
        self.slowdown = 1.0
        self.error: ServerError | None = None
        self.partial = ""
        monkeypatch.setattr("prep_triton.run.benching.bench", self.bench)

    def report(self, seed: int) -> BenchReport:
        points = make_points((CLOSED,), name=ENTRY, slowdown=self.slowdown, noise=0.01, seed=seed)
        row = NotMeasured(
            entry="tiny-gpu", model="tiny", precision="fp32", runtime="onnxruntime", reason="left out by --entry"
        )
        report = make_report(points).model_copy(update={"not_measured": (row,)})
        return report.model_copy(update={"partial": bool(self.partial), "partial_reason": self.partial})

    def bench(self, request, *, target, progress) -> BenchOutcome:
        self.requests.append(request)
        assert [entry.name for entry in target.served.entries] == [ENTRY]
        return BenchOutcome(self.report(len(self.requests)), self.error)

    def write_baseline(self) -> None:
        Path("before.json").write_text(self.report(99).model_dump_json())


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Stages:
    monkeypatch.chdir(tmp_path)
    return Stages(monkeypatch)


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch, stages: Stages) -> Load:
    return Load(monkeypatch)


def state_of_bench(report: RunReport) -> str:
    (row,) = (row for row in report.rows if row.stage == "bench")
    return row.state


def test_a_load_is_measured_after_verify_and_remembered(load: Load):
    report = run(run_spec(ONNX, more=BENCH))
    assert [row.stage for row in report.rows][-2:] == ["verify", "bench"]
    assert report.outcome == "done"
    (line, left_out) = cells_from_row(report.rows[-1])
    assert line[:3] == ("bench", ENTRY, "measured")
    assert "concurrency 4: " in line[4]
    assert left_out == ("bench", "tiny-gpu", "skipped", "", "left out by entries")
    (request,) = load.requests
    assert (request.inputs.batch, request.plan.loads, request.slo.bound_ms) == (2, (CLOSED,), 50)
    assert request.command == "prep bench build/model_repository --concurrency 4 --batch 2 --slo p99=50ms"
    written = json.loads(Path("build/bench.json").read_text())
    assert written["points"][0]["entry"] == ENTRY
    assert ENTRY in Path("build/report.html").read_text()
    Path("build/bench.json").unlink()
    Path("build/report.html").unlink()
    again = run(run_spec(ONNX, more=BENCH))
    assert again.is_unchanged
    assert json.loads(Path("build/bench.json").read_text()) == written
    assert Path("build/report.html").exists()
    Path("build/report.html").unlink()
    run(run_spec(ONNX, more="bench: {concurrency: 5, report: false}"))
    assert not Path("build/report.html").exists()
    run(run_spec("{runtime: onnxruntime, serving: {max_batch_size: 4}}", more=BENCH))
    assert len(load.requests) == 3


def test_a_price_is_of_what_was_measured_before(load: Load):
    """Another machine's price measures nothing anew."""
    run(run_spec(ONNX, more="bench: {concurrency: 4}"))
    for machine, usd in (("n2-standard-2", 0.055736), ("n2-standard-4", 0.111472)):
        run(run_spec(ONNX, more=f"bench: {{concurrency: 4, machine: {machine}, price: spot}}"))
        costs = json.loads(Path("build/bench.json").read_text())["costs"]
        assert (costs["machine"], costs["usd_per_hour"]) == (machine, usd)
        assert machine in Path("build/report.html").read_text()
    assert len(load.requests) == 1


@pytest.mark.parametrize("more", [{"verify": False}, {"dry_run": True}])
def test_what_is_not_verified_is_not_measured(load: Load, more: dict):
    report = run(run_spec(ONNX, more=BENCH), **more)
    states = [row.state for row in report.rows if row.stage == "bench"]
    assert states == (["planned"] if report.dry_run else [])
    assert load.requests == []


def test_a_slower_release_does_not_become_current(load: Load):
    """Nor by the next run, which measures nothing anew, nor by one that measures nothing at all."""
    load.write_baseline()
    first = run(run_spec(ONNX, more=COMPARED), publish_uri="releases")
    assert first.outcome == "done"
    load.slowdown = 1.5
    slower = run_spec("{runtime: onnxruntime, serving: {max_batch_size: 4}}", more=COMPARED)
    report = run(slower, publish_uri="releases")
    assert report.outcome == "regressed"
    (message,) = report.regressions
    assert message.startswith(f"{ENTRY} at concurrency 4 is slower than before.json: requests/s x0.6")
    assert report.rows[-1].state == "skipped"
    assert "not current" in report.outcome_sentence()
    assert run(slower, publish_uri="releases").regressions == report.regressions
    assert run(slower, publish_uri="releases", verify=False).regressions == report.regressions
    assert len(load.requests) == 2
    assert str(first.release).endswith(load_pointer(open_store("releases")).release)
    without = run_spec("{runtime: onnxruntime, serving: {max_batch_size: 4}}")
    assert run(without, publish_uri="releases").outcome == "done"


def test_without_a_store_slower_is_said_too(load: Load):
    load.write_baseline()
    load.slowdown = 1.5
    report = run(run_spec(ONNX, more=COMPARED))
    assert report.outcome == "regressed"
    assert report.outcome_sentence() == "Everything was made and checked, and is slower than its baseline."
    assert "against the baseline: slower" in cells_from_row(report.rows[-1])[0][4]


def test_a_load_that_fails_takes_nothing_away(load: Load):
    load.error, load.partial = ServerError("Triton died", hint="see its log"), "Triton died"
    report = run(run_spec(ONNX, more=BENCH), publish_uri="releases")
    assert state_of_bench(report) == "failed"
    assert report.outcome == "partial"
    assert report.outcome_sentence() == "The load could not be measured; everything else was made and checked."
    assert report.rows[-1].stage == "promote"
    assert report.rows[-1].state == "made"
    assert json.loads(Path("build/bench.json").read_text())["partial"]
    load.error, load.partial = None, ""
    again = run(run_spec(ONNX, more=BENCH), publish_uri="releases")
    assert again.outcome == "done"
    assert [row.state for row in again.rows if row.stage in ("verify", "bench")] == ["unchanged", "made"]


def test_with_a_baseline_a_failed_load_keeps_the_release_back(load: Load, monkeypatch: pytest.MonkeyPatch):
    load.write_baseline()
    load.error, load.partial = ServerError("Triton died", hint="see its log"), "Triton died"
    report = run(run_spec(ONNX, more=COMPARED), publish_uri="releases")
    assert report.outcome == "regressed"
    assert report.regressions == ("nothing was compared with before.json: Triton died; see its log",)
    monkeypatch.setattr(bench_target, "find_present_gpus", lambda: ())
    gpu = run_spec("{runtime: onnxruntime, serving: {instance_kind: gpu}}", more=COMPARED)
    report = run(gpu)
    assert state_of_bench(report) == "skipped"
    assert "needs an NVIDIA GPU" in report.regressions[0]
    report = run(run_spec("{runtime: onnxruntime, serving: {instance_kind: gpu}}", more=BENCH))
    assert (state_of_bench(report), report.outcome) == ("skipped", "unchanged")


def test_an_interruption_is_one_of_the_run(load: Load):
    load.partial = INTERRUPTED
    with pytest.raises(KeyboardInterrupt):
        run(run_spec(ONNX, more=BENCH))
    assert json.loads(Path("build/bench.json").read_text())["partial_reason"] == INTERRUPTED


@pytest.mark.parametrize(
    ("bench", "message", "hint"),
    [
        ("{concurrency: 4:x}", "bench.concurrency: concurrency: '4:x' is not a list", "write concurrency: 1,4,16"),
        ("{rate: 0}", "bench.rate: rate: 0 is not of rates", "write rate: 50,100"),
        ("{slo: fast}", "bench.slo: slo: 'fast' is not a percentile", "write slo: p99=50ms"),
        ("{entries: [tiny-onnx-fp16]}", "the file makes no entry 'tiny-onnx-fp16'", "did you mean 'tiny-onnx-fp32'?"),
        ("{texts: none.txt}", "bench.texts: texts: none.txt cannot be read", "a text a line"),
        ("{baseline: none.json}", "the baseline none.json cannot be read", "prep bench -o"),
        ("{baseline: build/bench.json}", "is the file that the run writes", "cp build/bench.json baseline.json"),
        ("{baseline: [a.json, b.json]}", "2 baselines do not show how far runs lie apart", "give baseline once, or 3"),
        ("{machine: g2-standrd-4}", "no price of a machine 'g2-standrd-4'", "did you mean 'g2-standard-4'?"),
        ("{price: spot}", "price is of no machine: add 'machine'", ""),
        ("{machine: n1-standard-4, price: free}", "'free' is not a known value", "on-demand, spot, committed"),
        ("{concurrencies: 4}", "concurrencies", "concurrency"),
        ("{repeats: 0}", "bench.repeats", ""),
    ],
)
def test_a_wrong_load_is_refused_before_the_first_stage(stages: Stages, bench: str, message: str, hint: str):
    with pytest.raises(SpecError) as caught:
        run(run_spec(ONNX, more=f"bench: {bench}"))
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert stages.made == []


def test_an_error_is_in_the_words_of_the_file():
    errors = {
        "--batch 16 is more than x takes": "batch: 16 is more than x takes",
        "measure longer with --duration-s": "measure longer with duration_s",
        "--slo 'fast' is no level": "slo: 'fast' is no level",
        "write --slo p99=50ms": "write slo: p99=50ms",
        "--texts my.txt cannot be read": "texts: my.txt cannot be read",
        "or allow more time with --timeout-s": "or allow more time with timeout_s",
        "leave it out of --entry": "leave it out of entries",
    }
    assert {text: name_keys(text) for text in errors} == errors


def test_sweeps_are_numbers_lists_or_text(load: Load):
    for text in ("4", "[4]", "4:5:2", "'4'"):
        spec = run_spec(ONNX, more=f"bench: {{concurrency: {text}}}")
        assert request_from_spec(spec).plan.loads == (CLOSED,)
    spec = run_spec(ONNX, more="bench: {}")
    request = request_from_spec(spec)
    assert [load.value for load in request.plan.loads] == [1, 4, 16]
    assert request.command == "prep bench build/model_repository"
