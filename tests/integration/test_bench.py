"""`prep bench` on a real Triton: figures, a comparison, and days on which the server or the user ends it."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean

import pytest
import yaml
from prep_triton.bench.burst_records import BURST_CASES
from prep_triton.bench.requests import join_sentences
from prep_triton.deploy.base import plan_base
from prep_triton.deploy.dashboard import make_dashboard
from prep_triton.deploy.request import DeploymentSpec
from prep_triton.run.benching import read_texts
from prep_triton.spec import QueueSpec, ServingSpec, TextSpec
from prep_triton.triton.entries.text import assemble_text_entries
from prep_triton.triton.server.client import TritonClient
from prep_triton.triton.server.http_client import HttpTritonClient
from prep_triton.triton.server.load import read_served_model
from prep_triton.triton.server.process import RunningTriton, run_triton
from tokenizers import Tokenizer

from scripts.benchmarks.serving_configs import assemble_entry
from scripts.benchmarks.small_artifacts import make_model
from tests.fakes.documents import load_validator
from tests.fakes.perf_analyzer import write_stand_in
from tests.fakes.prep_command import Prep
from tests.fakes.promql import list_metrics
from tests.fakes.reported import Page
from tests.fakes.served_release import make_release

pytestmark = pytest.mark.integration

MODEL, TEXT = "tiny-onnx-fp32", "tiny-onnx-fp32-text"
SHORT = ("--seq-len", "16", "--duration-s", "0.4", "--warmup-s", "0.1", "--repeats", "2")
LONG = ("--entry", MODEL, "--seq-len", "16", "--concurrency", "1,2", "--duration-s", "0.3", "--repeats", "500")


@pytest.fixture(scope="module")
def prep(tmp_path_factory: pytest.TempPathFactory) -> Prep:
    folder = tmp_path_factory.mktemp("benched")
    entry = assemble_entry(make_model(folder / "model"), [], ServingSpec(threads=1, max_batch_size=8), folder / "repo")
    assemble_text_entries(entry.artifact, TextSpec(), folder / "repo")
    return Prep(folder)


@pytest.fixture(scope="module")
def server(prep: Prep) -> Iterator[RunningTriton]:
    """A server that runs already, for the tests that leave it as it is: to start and end one takes four seconds."""
    with run_triton(str(prep.folder / "repo")) as running:
        running.check_loaded()
        yield running


@pytest.fixture
def own_server(prep: Prep) -> Iterator[RunningTriton]:
    with run_triton(str(prep.folder / "repo")) as running:
        running.check_loaded()
        yield running


def test_a_repository_is_measured_and_compared(prep: Prep):
    loads = ("--concurrency", "1,4", "--rate", "40", "--machine", "e2-standard-4")
    run = prep.succeed("bench", "repo", *loads, *SHORT, "--slo", "p99=1000s", "-o", "run.json", "--report", "r.html")
    assert {(point["entry"], point["load"]["kind"], point["load"]["value"]) for point in run["points"]} == {
        (name, kind, value) for name in (MODEL, TEXT) for kind, value in (("closed", 1), ("closed", 4), ("open", 40))
    }
    for point in run["points"]:
        assert_figures(point)
        assert_resources(point)
        assert_tokens(point, prep.folder / "repo")
    assert [(row["entry"], row["at"]) for row in run["costs"]["rows"]] == [
        (name, at) for name in (MODEL, TEXT) for at in ("slo", "full_load", "60_percent")
    ]
    kinds = {entry["name"]: entry["input_kind"] for entry in run["conditions"]["entries"]}
    assert kinds == {MODEL: "ids", TEXT: "text"}
    assert run["conditions"]["command"].startswith("prep bench repo --concurrency 1,4")
    written = json.loads((prep.folder / "run.json").read_text())
    load_validator("bench").validate(written)
    assert written == run
    page = Page((prep.folder / "r.html").read_text(encoding="utf-8"))
    assert {MODEL, TEXT, "run.json", "Cost", "What it used"} <= set(page.words)
    assert "From the manifests of repo" in page.text
    reported = prep.succeed("report", "run.json", "repo")
    assert (prep.folder / "report.html").read_bytes() == (prep.folder / "r.html").read_bytes()
    assert sorted(row["entry"] for row in reported["variants"]) == [MODEL, TEXT]
    assert all(row["inferences_per_s"]["value"] > 0 and row["size_bytes"] > 0 for row in reported["variants"])
    again = ("--entry", MODEL, "--concurrency", "1,4", *SHORT, "--baseline", "run.json", "--csv", "run.csv")
    done = prep.run("bench", "repo", *again, "--json")
    compared = json.loads(done.stdout)
    assert done.returncode == (4 if any(p["verdict"] == "slower" for p in compared["comparison"]["points"]) else 0)
    assert len(compared["comparison"]["points"]) == 2
    # What others did on this machine meanwhile may differ.
    others = ("load before", "share of stolen time")
    assert [line for line in compared["comparison"]["differences"] if not line.startswith(others)] == []
    rows = list(csv.DictReader((prep.folder / "run.csv").read_text().splitlines()))
    assert sorted(row["Concurrency"] for row in rows) == ["1", "4"]


def assert_figures(point: dict):
    assert point["errors"] == 0, point["error_messages"]
    assert point["repeats"] == 2
    assert point["requests"] > 0
    assert point["p50_ms"]["low"] <= point["p50_ms"]["value"] <= point["p99_ms"]["value"]
    assert len(point["parts"]) == (3 if point["entry"] == TEXT else 1)
    for part in point["parts"]:
        rows = sum(int(size) * count for size, count in part["batch_sizes"].items())
        assert rows > 0
        assert part["compute_infer_us"] > 0
    assert point["verdict"]["over"] == 0


def assert_tokens(point: dict, repository: Path):
    """Ids are sent without padding; of text the library says how many tokens it has, and buckets what they become."""
    lengths, padded = [16], [16]
    if point["entry"] == TEXT:
        tokenizer = Tokenizer.from_file(str(repository / f"{MODEL}-tokenizer" / "1" / "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        buckets = json.loads((repository / TEXT / "manifest.json").read_text())["length_buckets"]
        texts = join_sentences(read_texts(None), 0)
        lengths = [min(buckets[-1], len(encoding)) for encoding in tokenizer.encode_batch(texts)]
        padded = [min(bucket for bucket in buckets if bucket >= length) for length in lengths]
    for name, expected in (("tokens_per_s", lengths), ("padded_tokens_per_s", padded)):
        figures = [point[name][key] / point["inferences_per_s"][key] for key in ("value", "low", "high")]
        assert figures == pytest.approx([fmean(expected)] * 3), name


def assert_resources(point: dict):
    """The server of a run is this machine's: its processes are known, and take more CPU than none."""
    use, repeats = point["resources"], point["repeat_resources"]
    assert use["server_cpu_cores"] > 0
    answered = point["inferences_per_s"]["value"]
    assert use["server_cpu_s_per_inference"] == pytest.approx(use["server_cpu_cores"] / answered)
    assert use["generator_cpu_cores"] > 0
    assert use["others_cpu_cores"] >= 0
    assert use["gpu"] or use["unknown"]["gpu"]
    assert use["server_memory_peak_mib"] > 20 or "memory" in use["unknown"]
    assert [repeat["repeat"] for repeat in repeats] == [0, 1]
    cores = sum(repeat["server_cpu_s"] for repeat in repeats) / sum(repeat["seconds"] for repeat in repeats)
    assert cores == pytest.approx(use["server_cpu_cores"])


FILE = f"""
repository: repo
models:
  - model: tiny
    variants:
      - {{runtime: onnxruntime, name: {MODEL}, text: true}}
      - {{runtime: onnxruntime, precision: fp16}}
"""


def test_of_a_pipeline_file_the_rest_is_a_row(prep: Prep):
    (prep.folder / "tiny.yaml").write_text(FILE)
    arguments = ("tiny.yaml", "--entry", TEXT, "--concurrency", "1", *SHORT)
    done = prep.run("bench", *arguments, "-o", "file.json")
    assert done.returncode == 0, done.stderr
    written = json.loads((prep.folder / "file.json").read_text())
    load_validator("bench").validate(written)
    assert [point["entry"] for point in written["points"]] == [TEXT]
    reason = "not assembled: prep run tiny.yaml"
    row = {"entry": "tiny-onnx-fp16", "model": "tiny", "precision": "fp16", "runtime": "onnxruntime", "reason": reason}
    assert written["not_measured"] == [row]
    assert "tiny-onnx-fp16\t-\t" in done.stdout
    assert f"\tnot measured: {reason}" in done.stdout
    error = prep.fail("bench", "tiny.yaml", "--entry", "tiny-onnx-fp16", code=2)
    assert error["message"] == f"tiny-onnx-fp16 is not measured here: {reason}"


def test_entries_are_loaded_at_once_and_over_http(prep: Prep, server: RunningTriton):
    mix = f"{MODEL}=3,{TEXT}=1"
    short = ("--seq-len", "16", "--duration-s", "1", "--warmup-s", "0.1", "--repeats", "1")
    arguments = ("bench", "repo", "--server", server.http_url, "--protocol", "http", *short)
    run = prep.succeed(*arguments, "--mix", mix, "--rate", "80", "--concurrency", "4", "--machine", "e2-standard-4")
    assert run["conditions"]["protocol"] == "http"
    assert [(point["entry"], point["load"]["value"], point["load"]["mix"]) for point in run["points"]] == [
        (name, value, mix) for values in ((3, 1), (60, 20)) for name, value in zip((MODEL, TEXT), values, strict=True)
    ]
    assert [(row["entry"], row["at"]) for row in run["costs"]["rows"]] == [
        (f"{MODEL}, {TEXT}", at) for at in ("full_load", "60_percent")
    ]
    for point in run["points"]:
        assert (point["errors"], point["requests"] > 0) == (0, True), point["error_messages"]
        assert point["padded_tokens_per_s"]["value"] >= point["tokens_per_s"]["value"] > 0
        assert len(point["parts"]) == (3 if point["entry"] == TEXT else 1)
        assert all(part["batch_sizes"] for part in point["parts"])
    with (
        TritonClient(server.grpc_url, timeout_s=30) as over_grpc,
        HttpTritonClient(server.http_url.removeprefix("http://"), timeout_s=30) as over_http,
    ):
        for name in (MODEL, TEXT):
            assert read_served_model(over_http, name) == read_served_model(over_grpc, name)
            assert over_http.read_statistics(name) == over_grpc.read_statistics(name)
        assert over_http.list_loaded() == over_grpc.list_loaded()
        assert over_http.server_version() == over_grpc.server_version()
    error = prep.fail(*arguments, "--mix", f"{MODEL}@1,{MODEL}@2", code=2)
    assert error["message"] == f"{MODEL} has no priority levels, so Triton would take no notice of priority 1"


def test_bursts_are_played_on_the_only_model_as_both_tiers(prep: Prep):
    # WAR(triton 2.51): with the priority levels that a queue of tier 2 gets otherwise, a batch that no request follows
    # may wait for half a second, and the queues of a burst for ten.
    serving = ServingSpec(threads=1, max_batch_size=8, dynamic_batching=QueueSpec(preserve_ordering=True))
    entry = assemble_entry(make_model(prep.folder / "model"), [], serving, prep.folder / "bursts")
    assemble_text_entries(entry.artifact, TextSpec(), prep.folder / "bursts")
    short = ("--seq-len", "16", "--duration-s", "0.2", "--warmup-s", "0", "--repeats", "1")
    run = prep.succeed("bench", "bursts", "--bursts", *short, "-o", "bursts.json")
    assert run == json.loads((prep.folder / "bursts.json").read_text())
    assert [(tier["tier"], tier["entry"]) for tier in run["tiers"]] == [(1, MODEL), (2, MODEL)]
    assert run["server_arguments"] == ["--rate-limit=execution_count"]
    cases = [(case["burst"], case["case"], [side["tier"] for side in case["sides"]]) for case in run["cases"]]
    assert cases == [
        (burst, case, tiers)
        for burst in (1, 2, 3)
        for case, tiers in zip(BURST_CASES, ([1], [2], [1, 2], [1, 2]), strict=True)
    ]
    sides = [side for case in run["cases"] for side in case["sides"]]
    assert sum(side["errors"] for side in sides) == 0
    capacity = run["tiers"][0]["capacity_per_s"]["value"]
    assert sides[0]["offered_per_s"] == pytest.approx(0.4 * capacity, abs=5)  # whole requests in 0.2 s
    error = prep.fail("bench", "bursts", "--bursts", "--tier-1", TEXT, code=2)
    assert error["hint"] == f"name its model, {MODEL}"


def test_what_is_slower_than_its_baseline_ends_with_code_4(prep: Prep):
    """The baseline is one that a billion times faster machine would have measured, however busy this one is."""
    arguments = ("bench", "repo", "--entry", MODEL, "--concurrency", "1", *SHORT)
    run = prep.succeed(*arguments)
    for block in (block for point in run["points"] for block in point["blocks"]):
        block["seconds"] /= 1e9
    run["conditions"]["cpu"] = "a faster one"
    (prep.folder / "fast.json").write_text(json.dumps(run))
    done = prep.run(*arguments, "--baseline", "fast.json")
    assert done.returncode == 4, done.stderr
    assert "\tslower\t" in done.stdout
    assert "differs: processor: " in done.stdout


def test_two_servers_are_measured_in_turns(prep: Prep, server: RunningTriton):
    """One is started anew for each round, the other one runs."""
    arguments = ("repo", "--entry", MODEL, "--concurrency", "1", "--seq-len", "16", "--repeats", "6")
    short = ("--duration-s", "0.3", "--warmup-s", "0.1")
    done = prep.run("bench", *arguments, *short, "--against", server.grpc_url, "--json")
    document = json.loads(done.stdout)
    load_validator("bench").validate(document)
    comparison = document["comparison"]
    assert (comparison["method"], comparison["rounds"], comparison["unmatched"]) == ("turns", 2, [])
    (point,) = comparison["points"]
    assert done.returncode == (4 if point["verdict"] == "slower" else 0), done.stderr
    assert point["decided_by"]["low"] <= point["decided_by"]["ratio"] <= point["decided_by"]["high"]
    (own,), (other,) = document["points"], comparison["other_points"]
    for side in (own, other):
        assert (side["repeats"], side["errors"], len(side["repeat_resources"])) == (6, 0, 6)
    assert f"server: started by prep, the baseline's {server.grpc_url}" in comparison["differences"]


# Not exported without a GPU, or not Triton's: docs/user_guide/metrics.md of triton-inference-server/server, "GPU
# Metrics"; and Prometheus' own, of every target that it scrapes.
NOT_EXPORTED_HERE = {
    *("nv_gpu_utilization", "nv_gpu_memory_used_bytes", "nv_gpu_memory_total_bytes", "nv_gpu_power_usage", "up"),
}


def test_alerts_and_dashboard_are_of_metrics_that_the_server_exports(server: RunningTriton):
    with urllib.request.urlopen(server.metrics_url) as answer:
        exported = set(re.findall(r"^# TYPE (\w+) ", answer.read().decode(), re.MULTILINE))
    spec = DeploymentSpec(replicas=(2, 4))
    (group,) = yaml.safe_load(plan_base(make_release(), spec).files["rules.yaml"])["spec"]["groups"]
    named = {rule["alert"]: list_metrics(rule["expr"]) for rule in group["rules"]}
    dashboard = make_dashboard(spec)
    named |= {
        panel["title"]: {metric for target in panel["targets"] for metric in list_metrics(target["expr"])}
        for panel in dashboard["panels"]
    }
    queries = [variable["query"] for variable in dashboard["templating"]["list"] if variable["type"] == "query"]
    named |= {query["refId"]: set(re.findall(r"nv_\w+", query["query"])) for query in queries}
    assert all(named.values())
    assert {name: metrics - exported - NOT_EXPORTED_HERE for name, metrics in named.items()} == {
        name: set() for name in named
    }
    assert set().union(*named.values()) >= NOT_EXPORTED_HERE  # no allowance that nothing needs
    assert NOT_EXPORTED_HERE & exported == set()


def test_an_entry_that_is_not_there_names_the_nearest(prep: Prep, server: RunningTriton):
    error = prep.fail("bench", "repo", "--entry", "tiny-onx-fp32", code=2)
    assert error["hint"] == f"did you mean '{MODEL}'?"
    error = prep.fail("bench", "--server", server.grpc_url, "--entry", "tiny-onx-fp32", code=2)
    assert error["hint"] == f"did you mean '{MODEL}'?"


def test_a_server_that_refuses_every_request_is_an_error(prep: Prep, server: RunningTriton):
    """Without the repository, ids may be beyond the vocabulary, which here has 64 words."""
    error = prep.fail("bench", "--server", server.grpc_url, "--entry", MODEL, *SHORT, code=1)
    assert f"{MODEL} answered no request: " in error["message"]


def start_and_wait(prep: Prep, server: RunningTriton, run_file: str, *more: str) -> "subprocess.Popen[str]":
    """Start a long run, and wait until it measured something."""
    arguments = ("repo", "--server", server.grpc_url, *LONG, "-o", run_file, "--log-file", f"{run_file}.log", *more)
    started = prep.start("bench", *arguments, "-v")
    log = prep.folder / f"{run_file}.log"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and started.poll() is None:
        if log.exists() and "repeat 2: " in log.read_text():
            return started
        time.sleep(0.05)
    os.killpg(started.pid, signal.SIGKILL)
    raise AssertionError(started.communicate())


def read_partial(prep: Prep, run_file: str) -> dict:
    document = json.loads((prep.folder / run_file).read_text())
    load_validator("bench").validate(document)
    assert document["partial"]
    assert all(point["repeats"] >= 1 for point in document["points"])
    assert document["points"]
    return document


def test_ctrl_c_keeps_what_was_measured(prep: Prep, server: RunningTriton):
    started = start_and_wait(prep, server, "ended.json")
    os.killpg(started.pid, signal.SIGINT)
    shown, errors = started.communicate(timeout=60)
    assert started.returncode == 130, errors
    assert "Traceback" not in errors
    assert "interrupted: what was measured until then is kept, and marked partial" in errors
    assert "partial: interrupted" in shown
    document = read_partial(prep, "ended.json")
    assert document["partial_reason"] == "interrupted"
    use = document["points"][0]["resources"]  # of a server that somebody else started, on this machine
    assert use["server_cpu_cores"] is not None
    assert use["server_memory_peak_mib"] or "memory" in use["unknown"]


def test_a_server_that_dies_midway_keeps_what_was_measured(prep: Prep, own_server: RunningTriton):
    started = start_and_wait(prep, own_server, "died.json")
    os.kill(own_server.pid, signal.SIGKILL)
    _, errors = started.communicate(timeout=60)
    assert started.returncode == 1, errors
    assert "Traceback" not in errors
    assert "error: " in errors
    assert own_server.grpc_url in read_partial(prep, "died.json")["partial_reason"]


def test_a_server_that_hangs_midway_keeps_what_was_measured(prep: Prep, own_server: RunningTriton):
    started = start_and_wait(prep, own_server, "hung.json", "--timeout-s", "2")
    os.kill(own_server.pid, signal.SIGSTOP)
    try:
        _, errors = started.communicate(timeout=60)
    finally:
        os.kill(own_server.pid, signal.SIGCONT)
    assert started.returncode == 1, errors
    assert "Traceback" not in errors
    read_partial(prep, "hung.json")


def test_several_processes_send_and_so_does_perf_analyzer(
    prep: Prep, server: RunningTriton, monkeypatch: pytest.MonkeyPatch
):
    place = ("bench", "--server", server.grpc_url, "--entry", MODEL)
    run = prep.succeed(*place[:1], "repo", *place[1:], "--concurrency", "3", "--rate", "40", "--processes", "2", *SHORT)
    assert run["conditions"]["processes"] == 2
    for point in run["points"]:
        assert point["errors"] == 0, point["error_messages"]
        assert point["requests"] > 0
        assert len(point["blocks"]) == 20
    # The stand-in has the words and the CSV of a real one, and sends nothing.
    monkeypatch.setenv("PREP_PERF_ANALYZER", str(write_stand_in(prep.folder)))
    theirs = ("--load-generator", "perf-analyzer", "--concurrency", "4", "--csv", "theirs.csv")
    run = prep.succeed(*place, *theirs, *SHORT, "-o", "theirs.json")
    load_validator("bench").validate(run)
    (point,) = run["points"]
    assert run["conditions"]["generator"].startswith("perf_analyzer 2.45.0")
    assert (point["inferences_per_s"]["value"], point["blocks"]) == (pytest.approx(22.1606), [])
    error = prep.fail("bench", "repo", "--baseline", "theirs.json", code=2)
    assert "has no points that can be compared" in error["message"]
    error = prep.fail("bench", "repo", "--load-generator", "perf-analyzer", "--slo", "p99=5ms", code=2)
    assert error["message"].startswith("--slo is not for --load-generator perf-analyzer")


@pytest.mark.skipif(
    not shutil.which(os.environ.get("PREP_PERF_ANALYZER", "perf_analyzer")),
    reason="perf_analyzer is not on PATH, and PREP_PERF_ANALYZER names none",
)
def test_the_real_perf_analyzer_measures(prep: Prep, server: RunningTriton):
    loads = ("--concurrency", "2", "--rate", "30", "--load-generator", "perf-analyzer")
    run = prep.succeed("bench", "repo", "--server", server.grpc_url, *loads, *SHORT)
    assert len(run["points"]) == 4
    for point in run["points"]:
        assert point["requests"] > 0
        assert 0 < point["p50_ms"]["value"] <= point["p99_ms"]["value"]
        assert all(sum(part["batch_sizes"].values()) for part in point["parts"])
