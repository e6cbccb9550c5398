"""Entries against the server that they are for."""

import pytest
from onnx import TensorProto
from prep_triton.triton.lint import CODES, lint_repository

from tests.fakes.lint_cases import (
    TARGET_CASES,
    graph_config,
    quantized_graph,
    write_graph,
    write_python,
)
from tests.fakes.lint_helpers import codes, only, save_manifest_again, target_for


def test_a_target_of_another_tensorrt_gpu_or_without_a_gpu_is_found(plan_entry, repository):
    assert codes(lint_repository(repository, target_for("l4"))) == {"target-gpu"}
    assert codes(lint_repository(repository, target_for("t4", triton="25.10"))) == {"target-tensorrt"}
    assert codes(lint_repository(repository, target_for("t4", triton="25.08-trtllm"))) == {"target-unknown"}
    assert codes(lint_repository(repository, target_for("t4", triton="26.10"))) == {"target-unknown", "target-unproven"}
    assert codes(lint_repository(repository, target_for())) == {"target-gpu"}


def test_a_foreign_plan_that_no_gpu_of_the_target_picks_is_found(repository):
    folder = repository / "plan"
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "t4.plan").write_bytes(b"a plan")
    text = graph_config("plan", 'cc_model_filenames { key: "7.5" value: "t4.plan" }')
    text = text.replace("onnxruntime_onnx", "tensorrt_plan")
    (folder / "config.pbtxt").write_text(text)
    assert lint_repository(repository, target_for("t4")).errors == ()
    assert "none for the target's l4 (8.9)" in only(lint_repository(repository, target_for("l4")), "target-gpu").message


def test_a_gpu_instance_on_a_target_without_a_gpu_is_found(repository):
    write_graph(repository, "one", graph_config("one", "instance_group [{ kind: KIND_GPU }]"))
    assert codes(lint_repository(repository, target_for()), "error") == {"target-gpu"}
    assert lint_repository(repository, target_for("t4")).errors == ()


def target_of(case_target):
    given = dict(case_target)
    gpu = given.pop("gpu", None)
    return target_for(*([gpu] if gpu else []), **given)


@pytest.mark.parametrize("case", TARGET_CASES, ids=lambda case: f"{case.code}-{case.name}-{case.target['triton']}")
def test_what_a_target_serves_otherwise_has_its_code_there_and_nowhere_else(repository, case):
    write_python(repository, "ok")
    case.write(repository)
    finding = only(lint_repository(repository, target_of(case.target)), case.code)
    assert finding.path.split("/")[0] == case.name
    assert finding.severity == CODES[case.code][0]
    assert case.target["triton"] in finding.message
    assert case.code not in codes(lint_repository(repository, target_of(case.other)))
    assert case.code not in codes(lint_repository(repository))


def test_scales_in_fp32_are_right_in_every_onnxruntime(repository):
    quantized_graph("single", TensorProto.FLOAT)(repository)
    assert "target-onnxruntime" not in codes(lint_repository(repository, target_for(triton="26.05")))


def test_a_plan_that_tensorrt_11_built_for_a_t4_proves_itself(plan_entry, repository):
    assert plan_entry.engines[0].compute_capability == "7.5"
    report = lint_repository(repository, target_for("t4", triton="26.07"))
    assert codes(report) == {"target-tensorrt", "target-unproven"}
    assert "--target 26.05" in only(report, "target-unproven").hint
    newer = plan_entry.engines[0].model_copy(update={"builder_version": "11.1.0.106"})
    save_manifest_again(plan_entry, repository / "plan", engines=(newer,))
    assert lint_repository(repository, target_for("t4", triton="26.07")).findings == ()


def test_an_old_driver_is_told_for_entries_on_a_gpu_alone(plan_entry, onnx_entry, repository):
    report = lint_repository(repository, target_for("t4", driver="535.104"))
    finding = only(report, "target-driver")
    assert finding.path == "plan"
    assert finding.message == "the driver 535.104 is older than R580, which the CUDA of Triton 25.08 needs"
    assert "25.07" in finding.hint
    assert report.errors == ()
