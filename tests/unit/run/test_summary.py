"""A run on the page of a CI job."""

from markdown_it import MarkdownIt
from prep_triton.errors import StoreError
from prep_triton.run.report import RunReport, StageRow
from prep_triton.run.summary import render_failure, render_summary

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
        "| stage | artifact | state | seconds | numbers |",
        "|---|---|---|---:|---|",
        "| export | minilm | made | 12.3 | size_bytes 1000; opset 20 |",
        "| engine | minilm-fp16 | – |  |  |",
    ]


def test_failures_and_regressions_stand_above_the_table():
    text = render_summary(report(MADE, FAILED, regressions=("bert: cosine went down",)), title="nightly")
    assert "is worse than its thresholds allow" in text
    assert r"- **failed** bert\|base: no hub" in text
    assert "- **regressed** bert: cosine went down" in text
    assert r"| model | bert\|base | **failed** |  | no hub |" in text


def test_a_run_that_ended_with_an_error_is_told_too():
    text = render_failure(StoreError("no bucket\nthere", hint="make it"), title="nightly")
    assert text == "## nightly\n\n**Failed**: no bucket there\n\nHint: make it\n"


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
