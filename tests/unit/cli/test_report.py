"""`prep report` for a person, for a program, for a CI page, and requests that are wrong."""

import json
from pathlib import Path

import pytest
from prep_triton.bench.records import Slo
from prep_triton.cli.app import app
from prep_triton.cli.output import Output
from prep_triton.cli.report_files import write_report_of_run
from prep_triton.run.benching import BenchOutcome
from typer.testing import CliRunner

from scripts.benchmarks.records import save_entry
from tests.fakes.documents import load_validator
from tests.fakes.reported import Page, make_run, make_served, save_run


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a run, and a repository of the entries that it measured."""
    monkeypatch.chdir(tmp_path)
    save_run(tmp_path / "run.json", make_run(slo=Slo(percent=99, bound_ms=1000)))
    (tmp_path / "empty").mkdir()
    for name in ("m-fp32", "m-int8"):
        (tmp_path / "repo" / name).mkdir(parents=True)
        (tmp_path / "repo" / name / "config.pbtxt").write_text("")
        save_entry(tmp_path / "repo" / name, key="k1", onnx=make_served(name).onnx)
    return tmp_path


def test_a_report_is_written_and_summed_up(folder: Path):
    done = CliRunner().invoke(app, ["report", "run.json", "repo", "--json"])
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    load_validator("report").validate(document)
    page = Page((folder / "report.html").read_text(encoding="utf-8"))
    assert document["html"] == "report.html"
    assert document["html_bytes"] == (folder / "report.html").stat().st_size
    assert [(row["entry"], row["state"], row["cosine"]) for row in document["variants"]] == [
        ("m-fp32", "met", 0.99),
        ("m-int8", "met", 0.99),
    ]
    assert document["summary"][0].startswith("m-fp32 holds p99 <= 1000 ms at ")
    assert document["summary"][0] in page.words
    assert "From the manifests of repo" in page.text
    shown = CliRunner().invoke(app, ["report", "run.json", "-o", "other.html"]).stdout
    assert document["summary"][0] in shown
    assert "other.html: " in shown


def test_markdown_is_appended_to_a_file_or_printed(folder: Path):
    (folder / "summary.md").write_text("before\n")
    assert CliRunner().invoke(app, ["report", "run.json", "--markdown", "summary.md"]).exit_code == 0
    printed = CliRunner().invoke(app, ["report", "run.json", "--markdown", "-"]).stdout
    assert (folder / "summary.md").read_text() == f"before\n{printed}"
    assert printed.startswith("## Benchmark report\n")
    assert not (folder / "report.html").exists()


def test_a_repository_without_the_entries_says_so(folder: Path):
    save_run(folder / "other.json", make_run("x", "y"))
    done = CliRunner().invoke(app, ["report", "other.json", "repo"])
    assert done.exit_code == 0, done.stderr
    page = Page((folder / "report.html").read_text(encoding="utf-8"))
    assert "repo has none of the entries that were measured." in page.words


def test_a_run_that_was_just_measured_is_reported(folder: Path):
    out = Output(as_json=False, verbose=0)
    outcome = BenchOutcome(make_run(), entries=(make_served("m-int8"),))
    write_report_of_run(out, outcome, Path("a.html"), Path("run.json"), "repo")
    page = Page((folder / "a.html").read_text(encoding="utf-8"))
    assert "repo does not have m-fp32." in page.words
    assert "run.json" in page.words
    empty = BenchOutcome(make_run().model_copy(update={"points": ()}))
    write_report_of_run(out, empty, Path("b.html"), None, None)
    assert not (folder / "b.html").exists()


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["none.json"], "none.json cannot be read: No such file or directory", "name files that prep bench -o wrote"),
        (["repo"], "there is no run to report", "measure first: prep bench -o run.json"),
        (["run.json", "repo", "empty"], "repo and empty are 2", "name one of them"),
        (["run.json", "empty"], "empty holds no entry", "make one with"),
        (["run.json", "gs://"], "gs://", ""),
        (["run.json", "--release", "current"], "says which release, but of no store", "name the store after the runs"),
        (["run.json", "-o", "nowhere/a.html"], "-o nowhere/a.html cannot be written", "name a file in a folder"),
        (["run.json", "--markdown", "-"], "both print on stdout", "name a file: --markdown report.md"),
        (["run.json", "--markdown", "nowhere/a.md"], "nowhere/a.md cannot be written", "name a"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_a_wrong_request_is_a_sentence(arguments: list[str], message: str, hint: str):
    done = CliRunner().invoke(app, ["report", *arguments, "--json"])
    error = json.loads(done.stdout)["error"]
    assert done.exit_code in (1, 2)
    assert message in error["message"]
    assert error["hint"].startswith(hint)
