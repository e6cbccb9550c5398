"""A report raises for what failed."""

import pytest
from prep_triton.errors import VerifyError
from prep_triton.triton.verify.report import EntryReport, VerifyReport, check_report, report_entry

from scripts.benchmarks.records import make_entry


def test_a_report_with_a_failure_raises_with_what_was_seen():
    good = report_entry(make_entry("a"), "loaded")
    skipped = report_entry(make_entry("b"), "config-accepted-only", detail="no backend")
    report = VerifyReport(repository_uri="r", server_version="2.51.0", server_flavour="x", entries=(good, skipped))
    check_report(report)
    wrong = report_entry(make_entry("c"), "failed", detail="mean cosine 0.5, expected 0.9999")
    bad = report.model_copy(update={"entries": (good, wrong)})
    with pytest.raises(VerifyError, match=r"1 of 2 entries failed on Triton 2\.51\.0: c: mean cosine 0\.5") as caught:
        check_report(bad)
    assert "assemble c again" in caught.value.hint


def test_entries_that_ran_out_of_time_are_not_to_be_made_again():
    slow = EntryReport(
        name="a",
        runtime="onnxruntime",
        precision="fp32",
        status="failed",
        tolerance=0.9999,
        detail="a did not answer a request: no answer within 3 s",
    )
    report = VerifyReport(repository_uri="r", server_version="2.51.0", server_flavour="a wheel", entries=(slow,))
    with pytest.raises(VerifyError) as failed:
        check_report(report)
    assert failed.value.hint.startswith("allow more time with --timeout-s")


@pytest.mark.parametrize(("precision", "is_explained"), [("fp32", True), ("int8", False)])
def test_an_fp32_that_openvino_computes_in_bf16_is_explained(precision, is_explained):
    model = EntryReport(
        name="ov", runtime="openvino", precision=precision, status="loaded", tolerance=0.9999, kind="model"
    )
    text = EntryReport(
        name="ov-text", kind="ensemble", serves="ov", runtime="ensemble", precision=precision, status="failed",
        detail="4 of 56 answers are wrong", tolerance=0.9999,
    )  # fmt: skip
    report = VerifyReport(repository_uri="r", server_version="2.51.0", server_flavour="f", entries=(model, text))
    with pytest.raises(VerifyError) as caught:
        check_report(report)
    assert ("computes FP32 in BF16" in caught.value.hint) == is_explained
