"""A run on the page of a CI job."""

from markdown_it import MarkdownIt
from prep_triton.cli.documents.summary import render_failure, render_summary
from prep_triton.errors import StoreError
from prep_triton.run.report import RunReport, StageRow
from prep_triton.triton.verify.report import EntryReport, VerifyReport

MADE = StageRow(
    stage="export", artifact="minilm", state="made", seconds=12.34, figures={"size_bytes": 1000, "opset": 20}
)
FOUND = StageRow(stage="engine", artifact="minilm-fp16", state="unchanged", seconds=1.0)
FAILED = StageRow(stage="model", artifact="bert|base", state="failed", note="no\nhub")


def report(*rows: StageRow, **more) -> RunReport:
    return RunReport(rows=rows, repository="model_repository", seconds=1.0, **more)


def test_a_summary_is_a_markdown_table_of_the_steps():
    text = render_summary(report(MADE, FOUND, release="gs://bucket/models/releases/1"), title="prep run nightly.yaml")
    assert text.splitlines() == [
        "## prep run nightly.yaml",
        "",
        "Everything was made and checked.",
        "",
        "",
        "Release: `gs://bucket/models/releases/1`",
        "",
        "| stage | artifact | state | time | numbers |",
        "|---|---|---|---:|---|",
        "| export | minilm | made | 12.3 s | 1000 B |",
        "| engine | minilm-fp16 | – |  |  |",
    ]


def test_failures_and_regressions_stand_above_the_table():
    text = render_summary(report(MADE, FAILED, regressions=("bert: cosine went down",)), title="nightly")
    assert "is worse than its thresholds allow" in text
    assert r"- **failed** bert\|base: no hub" in text
    assert "- **regressed** bert: cosine went down" in text
    assert r"| model | bert\|base | **failed** |  | no hub |" in text


def test_a_run_that_ended_with_an_error_is_told_too():
    error = StoreError("no bucket\nthere", hint="make it")
    assert render_failure(error, [], title="nightly") == "## nightly\n\n**Failed**: no bucket there\n\nHint: make it\n"
    assert "| export | minilm | made | 12.3 s | 1000 B |" in render_failure(error, [MADE], title="nightly")


def test_a_verification_has_a_line_for_each_entry_also_where_one_failed():
    entries = [
        EntryReport(name=name, runtime="onnxruntime", precision="fp32", tolerance=0.9999, status=status, detail=detail)
        for name, status, detail in (("a", "loaded", ""), ("b", "failed", "cosine 0.5"))
    ]
    report_of_server = VerifyReport(
        repository_uri="r", server_version="2.51.0", server_flavour="a wheel", entries=tuple(entries)
    )
    row = StageRow(stage="verify", artifact="a, b", state="failed", figures=report_of_server.model_dump(mode="json"))
    lines = render_failure(StoreError("x", hint="y"), [row], title="nightly").splitlines()
    assert lines[-2:] == ["| verify | a | passed |  | loaded |", "| verify | b | **failed** |  | cosine 0.5 |"]


def test_the_outcome_is_one_word():
    assert report(FOUND).outcome == "unchanged"
    assert report(MADE, FOUND).outcome == "done"
    assert report(MADE, FAILED).outcome == "partial"
    assert report(MADE, FAILED, regressions=("worse",)).outcome == "regressed"
    assert "1 of the models failed" in report(MADE, FAILED).outcome_sentence()


def test_a_name_that_somebody_chose_is_no_markup():
    name = "![x](https://evil.example/p.png) <img src=x> [a](b) `c` *d* |e| &lt; \\ f\n# g"
    row = StageRow(stage="model", artifact=name, state="failed", note=name)
    text = render_summary(report(row), title=name)
    page = MarkdownIt("gfm-like", {"linkify": False}).parse(text)
    kinds = {child.type for token in page for child in token.children or ()}
    assert kinds == {"text", "strong_open", "strong_close"} | {"text_special"} & kinds
    shown = " ".join(name.split())
    assert [token.type for token in page].count("heading_open") == 1
    assert sum("".join(child.content for child in token.children or ()) == shown for token in page) >= 2
