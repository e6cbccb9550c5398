"""`prep bench` for a person, and requests that are wrong before any server starts."""

import json
from pathlib import Path

import pytest
from prep_triton.bench.compare import StoredRun, compare_with_baseline
from prep_triton.bench.compare_turns import compare_turns
from prep_triton.bench.records import Load, Slo
from prep_triton.cli.app import app
from prep_triton.cli.documents.bench import BenchDocument, render_bench
from prep_triton.cli.output import Output
from prep_triton.run.costing import add_costs, choose_price
from typer.testing import CliRunner

from tests.fakes.benched import CLOSED, OPEN, make_points, make_report, make_workload
from tests.fakes.disturbed import make_point
from tests.fakes.documents import load_validator


def render(document: BenchDocument, capsys: pytest.CaptureFixture[str], *, verbose: int = 0) -> str:
    render_bench(Output(as_json=False, verbose=verbose), document)
    return capsys.readouterr().out


def test_a_run_is_told_with_intervals_verdicts_and_conditions(capsys):
    report = make_report(make_points([CLOSED, OPEN], slo=Slo(percent=99, bound_ms=500)))
    text = render(BenchDocument(**dict(report)), capsys, verbose=1)
    lines = text.splitlines()
    assert lines[0] == "Triton 2.51.0 (wheel), started by prep"
    assert lines[1] == "  Xeon (avx2 avx512_vnni), 2 cores, load 1.5, 1.0 % of the time stolen"
    (closed,) = [line.split("\t") for line in lines if line.startswith("tiny\tconcurrency 4\t")]
    assert closed[7:11] == ["0", "1.00", "2.00", "2.0"]
    assert closed[11].startswith("met (99 % confidence, ")
    assert "executions x rows: 1000 x 2" in text
    assert "run again: prep bench" in text


def test_what_does_not_count_or_ended_early_is_said(capsys):
    (point,) = make_points([OPEN])
    late = point.model_copy(update={"sustained": False, "sent_per_s": 71.0, "lateness_p95_ms": 40.0, "requests": 0})
    failed = point.model_copy(update={"errors": 3, "error_messages": {"busy": 3}})
    report = make_report((late, failed)).model_copy(
        update={"partial": True, "partial_reason": "interrupted", "best_seen": "no load holds it"}
        | {"not_loaded": {"tiny-t4": "no GPU\n"}}
    )
    text = render(BenchDocument(**dict(report)), capsys)
    assert (
        "tiny at 100/s poisson: not sustained by the generator, which sent 71/s, 5 % of them 40.0 ms late or more: not "
        "counted" in text
    )
    assert "\t-\t-\t-\t-\t" in text  # nothing was answered, so there is no latency
    assert "tiny at 100/s poisson: 3 x busy" in text
    assert "no load holds it" in text
    assert "not measured: tiny-t4: no GPU" in text
    assert "partial: interrupted" in text


def test_a_comparison_has_each_point_and_what_differs(capsys):
    report = make_report(make_points([CLOSED, Load(kind="closed", value=8)], slowdown=2.0, seed=1), cores=8)
    earlier = StoredRun.model_validate_json(make_report(make_points()).model_dump_json())
    compared = report.model_copy(update={"comparison": compare_with_baseline(report, earlier, "before.json")})
    document = BenchDocument(**dict(compared))
    text = render(document, capsys)
    assert "against before.json" in text
    assert "tiny\tconcurrency 4\tslower\tx0.5" in text
    assert "  differs: number of cores: 8, the baseline's 2" in text
    assert "  not in the baseline: tiny at concurrency 8, batch 1" in text
    load_validator("bench").validate(json.loads(document.model_dump_json()))


def test_what_inferences_cost_is_a_table_with_its_source(capsys):
    slo = Slo(percent=99, bound_ms=1)
    report = make_report(make_points(noise=0, slo=slo)).model_copy(update={"slo": slo})
    document = BenchDocument(**dict(add_costs(report, choose_price("e2-standard-4", "spot", "us-central1"))))
    text = render(document, capsys)
    assert "cost on e2-standard-4, us-central1, spot: $0.0804/h (the Billing Catalog, by " in text
    # 400 a second at $0.080424 an hour.
    assert "tiny\tat full load\tconcurrency 4\t400.0\t0.0804\t17,905,103\t0.0558" in text
    assert "tiny\tat 60 % of it\tconcurrency 4\t240.0\t" in text
    assert "no cost at the SLO of tiny: no load was shown to hold p99 <= 1 ms" in text
    assert "e2-standard-4 has 4 cores, the machine that was measured 2" in text
    load_validator("bench").validate(json.loads(document.model_dump_json()))


def test_a_mix_and_priorities_are_said(capsys):
    loads = [Load(kind="open", value=75, arrivals="poisson", priority=2, mix="tiny@2=3,other=1")]
    report = make_report(make_points(loads))
    conditions = report.conditions.model_copy(update={"entries": (make_workload().describe(),)})
    document = BenchDocument(**dict(report.model_copy(update={"conditions": conditions, "notes": ("tiny: so",)})))
    text = render(document, capsys)
    assert "  at once: tiny@2=3,other=1\n" in text
    assert "tiny\t75/s poisson, priority 2, mixed\t" in text
    assert "note: tiny: so\n" in text


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["--concurrency", "4:2:1"], "--concurrency 4:2:1 never ends", "write --concurrency 4:24:2"),
        (["--rate", "fast"], "--rate 'fast' is not a list or START:END:STEP", "write --rate 50,100"),
        (["--arrivals", "posson"], "--arrivals posson is neither poisson nor constant", "did you mean 'poisson'?"),
        (["--slo", "50ms"], "--slo '50ms' is not a percentile and a bound", "write --slo p99=50ms"),
        (["--texts", "none.txt"], "--texts none.txt cannot be read: No such file or directory", "name a file with"),
        (["--texts", "empty.txt"], "--texts empty.txt has 0 texts", "write a text a line"),
        (["--baseline", "none.json"], "the baseline none.json cannot be read", "name a file that prep bench -o wrote"),
        (["--report", "nowhere/a.html"], "--report nowhere/a.html cannot be written", "name a file in a folder"),
        (["-o", "nowhere/run.json"], "-o nowhere/run.json cannot be written", "name a file in a folder that is there"),
        (["--csv", "a.csv", "--entry", "a", "--entry", "b"], "there are 2: a, b", "name one: --entry a"),
        (["--bursts", "--rate", "5"], "--bursts and --rate exclude each other: bursts are loads", "remove one of them"),
        (["--bursts", "--entry", "a"], "--bursts and --entry exclude each other", "remove one of them"),
        (["--bursts", "--server", "h:1"], "--bursts and --server exclude each other", "remove one of them"),
        (["--tier-2", "a"], "--tier-2 says what plays a tier in bursts", "write --bursts as well"),
        (["--bursts"], "is not a folder", "make a repository with"),
        (["--protocol", "htp"], "--protocol htp is neither grpc nor http", "did you mean 'http'?"),
        (["--mix", "a=3"], "--mix a=3 has 1 streams, of 2 to 16", "write --mix NAME=3,OTHER=1"),
        (["--mix", "a,b", "--entry", "a"], "--mix and --entry exclude each other", "remove one of them"),
        (["--mix", "a,b", "--csv", "a.csv"], "--mix and --csv exclude each other", "remove one of them"),
        (["--mix", "a,b", "--concurrency", "1"], "is too little for the 2 streams", "write --concurrency 2 or more"),
        (["--csv", "a.csv", "--rate", "5", "--concurrency", "1"], "either concurrencies or rates", "leave"),
        (["--price", "spot"], "--price spot is of no machine", "name it, such as --machine g2-standard-4"),
        (["--machine", "g2-standrd-4"], "no price of a machine 'g2-standrd-4'", "did you mean 'g2-standard-4'?"),
        (["--machine", "e2-standard-4", "--price", "free"], "--price free is none of on-demand, spot", "write --price"),
        ([], "is not a folder", "make a repository with"),
    ],
)
def test_a_wrong_request_is_refused_before_a_server_starts(
    arguments: list[str], message: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.txt").write_text("\n \n")
    answer = CliRunner().invoke(app, ["bench", "nowhere", *arguments, "--json"])
    error = json.loads(answer.stdout)["error"]
    assert answer.exit_code == 2
    assert message in error["message"]
    assert error["hint"].startswith(hint)


def test_a_comparison_in_turns_says_so_and_what_others_took(capsys):
    own, other = (make_report((make_point([0.3] * 12, noise=0.02, seed=seed),)) for seed in (1, 2))
    report = own.model_copy(update={"comparison": compare_turns(own, other, "localhost:9001")})
    text = render(BenchDocument(**dict(report)), capsys)
    assert "against localhost:9001, in turns, 4 rounds" in text
    assert "tiny\tconcurrency 4\tno difference shown\tx" in text
    assert (
        "  tiny at concurrency 4: others took 30% of the cores while it was measured, 30% while the other was" in text
    )
    load_validator("bench").validate(json.loads(report.model_dump_json()))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--against", "localhost:9001", "--baseline", "a.json"], "--against and --baseline are two comparisons"),
        (["--baseline", "a.json", "--baseline", "b.json"], "2 baselines do not show how far runs lie apart"),
        (["--against", "localhost:9001", "--repeats", "3"], "--repeats 3 is too few for --against"),
        (["--against", "build/model_repository"], "--against build/model_repository is what is measured itself"),
        (["--server", "localhost:9001", "--against", "localhost:9001"], "is what is measured itself"),
    ],
)
def test_comparisons_that_are_none_are_refused_at_once(arguments: list[str], message: str):
    done = CliRunner().invoke(app, ["bench", *arguments, "--json"])
    assert done.exit_code == 2
    assert message in done.stdout
