"""What the server does unexpectedly has the same words in lint as when an entry is written."""

import pytest
from prep_triton.triton.config.traps import DEFAULT_TIMEOUT, ENSEMBLE_PRIORITY, HELD_BATCH
from prep_triton.triton.lint import lint_repository

from tests.fakes.lint_cases import ensemble_config, python_config, step, write_python

LATE = "default_queue_policy { default_timeout_microseconds: 5 }"
RANKED_LATE = (
    "priority_levels: 2 default_priority_level: 1 "
    "priority_queue_policy [{ key: 2 value { default_timeout_microseconds: 5 } }]"
)


@pytest.mark.parametrize(
    ("queue", "count", "fields"),
    [
        (f"max_queue_delay_microseconds: 9 {LATE}", 2, ["dynamic_batching.default_queue_policy"]),
        (f"max_queue_delay_microseconds: 9 {RANKED_LATE}", 2, ["dynamic_batching.priority_queue_policy.2"]),
        (f"max_queue_delay_microseconds: 9 {LATE}", 1, []),
        (LATE, 2, []),
        ("max_queue_delay_microseconds: 9", 2, []),
    ],
)
def test_a_default_timeout_is_reported_where_the_report_says_that_it_hurts(tmp_path, queue, count, fields):
    extra = f"dynamic_batching {{ {queue} }}\ninstance_group [{{ count: {count} kind: KIND_CPU }}]"
    write_python(tmp_path, "a", python_config("a", extra))
    findings = [finding for finding in lint_repository(tmp_path).findings if finding.code == "batching-timeout"]
    assert [finding.field for finding in findings] == fields
    for finding in findings:
        assert finding.message == f"{DEFAULT_TIMEOUT.message} ({DEFAULT_TIMEOUT.name})"
        assert finding.hint == DEFAULT_TIMEOUT.hint


@pytest.mark.parametrize("levels", [1, 2])
def test_a_ranked_step_of_an_ensemble_is_reported(tmp_path, levels):
    ranked = f"dynamic_batching {{ priority_levels: {levels} default_priority_level: 1 }}"
    write_python(tmp_path, "a", python_config("a", ranked))
    (tmp_path / "whole" / "1").mkdir(parents=True)
    (tmp_path / "whole" / "config.pbtxt").write_text(ensemble_config("whole", step("a")))
    findings = [finding for finding in lint_repository(tmp_path).findings if finding.code == "ensemble-priority"]
    assert [finding.hint for finding in findings] == [ENSEMBLE_PRIORITY.hint] * (levels - 1)
    assert all(ENSEMBLE_PRIORITY.message in finding.message for finding in findings)


@pytest.mark.parametrize(("levels", "count", "found"), [(2, 1, 1), (1, 1, 1), (2, 2, 0), (0, 1, 0)])
def test_levels_on_one_instance_are_reported(tmp_path, levels, count, found):
    ranked = f"priority_levels: {levels} default_priority_level: 1" if levels else ""
    extra = f"dynamic_batching {{ {ranked} }}\ninstance_group [{{ count: {count} kind: KIND_CPU }}]"
    write_python(tmp_path, "a", python_config("a", extra))
    findings = [finding for finding in lint_repository(tmp_path).findings if finding.code == "batching-held"]
    assert [(finding.severity, finding.hint) for finding in findings] == [("warning", HELD_BATCH.hint)] * found
