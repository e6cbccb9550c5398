"""A configuration against its TensorRT plans, and the plans against a target."""

import pytest
from prep_triton.triton.lint import lint_repository

from scripts.benchmarks.small_artifacts import make_engine
from tests.fakes.lint_cases import (
    graph_config,
    write_graph,
)
from tests.fakes.lint_helpers import codes, edit_config, only, save_manifest_again


def test_a_plan_is_checked_by_its_engine(plan_entry, repository):
    edit_config(repository / "plan", "max_batch_size: 8", "max_batch_size: 9")
    edit_config(repository / "plan", 'key: "7.5"', 'key: "8.9"')
    edit_config(repository / "plan", "count: 1", 'count: 1 profile: ["1"]')
    edit_config(repository / "plan", "KIND_GPU", "KIND_CPU")
    report = lint_repository(repository)
    assert "exceeds the batch of the t4 engine's profile, 8" in only(report, "model-batch-axis").message
    assert "7.5 (t4), filed under 8.9" in only(report, "plan-architecture").message
    assert (
        only(report, "instance-profile").message
        == "the t4 engine does not have the profile 1: it has 1, numbered from 0"
    )
    assert "runs on a GPU" in only(report, "instance-kind").message


def test_a_plan_for_other_tensors_a_missing_and_an_empty_one_are_errors(plan_entry, repository):
    edit_config(repository / "plan", "TYPE_INT64", "TYPE_INT32")
    plan = repository / "plan" / "1" / "model_sm75.plan"
    plan.write_bytes(b"")
    assert {"model-tensor", "model-damaged", "manifest-file"} <= codes(lint_repository(repository), "error")
    plan.unlink()
    assert {"model-tensor", "file-missing", "manifest-file"} <= codes(lint_repository(repository), "error")


def test_an_rtx_engine_is_never_a_plan(plan_entry, repository, tmp_path):
    rtx = make_engine(tmp_path / "rtx", builder="tensorrt-rtx")
    save_manifest_again(plan_entry, repository / "plan", engines=(rtx,))
    finding = only(lint_repository(repository), "plan-rtx")
    assert "no Triton backend loads it" in finding.message
    assert "--builder tensorrt" in finding.hint


@pytest.mark.parametrize(
    ("begin", "code"),
    [(b"vtrt", "plan-suspect"), (b"graph", "plan-onnx"), (b"ptrt", None), (b"\x08", None), (b"\x08\x09\x00", None)],
)
def test_a_plan_that_nothing_vouches_for_is_known_by_how_it_begins(repository, begin, code):
    text = graph_config("plan", "instance_group [{ kind: KIND_GPU }]").replace("onnxruntime_onnx", "tensorrt_plan")
    graph = write_graph(repository, "plan", text) / "1" / "model.onnx"
    plan = graph.rename(graph.with_name("model.plan"))
    if begin != b"graph":
        plan.write_bytes(begin + bytes(99))
    findings = lint_repository(repository).findings
    assert [finding.code for finding in findings if finding.path == "plan/1/model.plan"] == ([code] if code else [])
