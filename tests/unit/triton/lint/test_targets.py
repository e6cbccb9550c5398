"""Entries against the server that they are for."""

from prep_triton.triton.lint import lint_repository

from tests.fakes.lint_cases import (
    graph_config,
    write_graph,
)
from tests.fakes.lint_helpers import codes, only, target_for


def test_a_target_of_another_tensorrt_gpu_or_without_a_gpu_is_found(plan_entry, repository):
    assert codes(lint_repository(repository, target_for("l4"))) == {"target-gpu"}
    assert codes(lint_repository(repository, target_for("t4", triton="25.10"))) == {"target-tensorrt"}
    assert codes(lint_repository(repository, target_for("t4", triton="25.05"))) == {"target-unknown"}
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
