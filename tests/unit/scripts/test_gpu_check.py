"""`scripts/gpu-check` where there is no GPU: its steps, what it compares, reports and sends back."""

import json
import re
import shlex
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prep_triton.artifact import PrecisionProof
from prep_triton.cli.app import app
from prep_triton.errors import PrepError
from typer.core import TyperGroup
from typer.main import get_command

from scripts.benchmarks.records import make_graph, make_plan
from scripts.gpu_check import command, engines, machine, serving
from scripts.gpu_check.request import MODELS, Request
from scripts.gpu_check.steps import CannotError, Row, Step, choose_exit_code, render_rows, take_steps
from scripts.gpu_check.summary import (
    FIGURES_NAME,
    REHEARSAL,
    Outcome,
    clear_folder,
    render_summary,
    save_archive,
    save_summary,
)

GPU_STEPS = {"latency"}
REHEARSED = {"build", "parity", "assemble", "verify", "sweep", "bursts"}


def checked(*, precision="fp16", cosine=0.99999, weights="hub"):
    proof = PrecisionProof(
        method="engine inspector", gemm_flops_share={precision: 1.0}, layers={}, fused_attention=True
    )
    engine = make_plan("l4", name=f"minilm-{precision}-trt-sm89", precision=precision, proof=proof)
    return engines.Checked(engine, make_graph("minilm", weights=weights), cosine, cosine, (0.5, 1.25, 2.0))


def make_request(folder: Path, *, rehearse: bool = False, models: tuple[str, ...] = tuple(MODELS)) -> Request:
    return Request(models, folder / "out", folder / "build", rehearse=rehearse)


def make_step(name: str, error: Exception | None = None, **fields: Any) -> Step:
    def take() -> str:
        if error:
            raise error
        return f"{name} took place"

    return Step(name, f"what {name} does", take, **fields)


def test_without_a_gpu_it_says_why_prints_the_docker_line_and_does_not_pass(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(machine, "has_nvidia_driver", lambda: False)
    assert command.main(["--folder", str(tmp_path / "out")]) == 3
    words = capsys.readouterr().err
    assert "cannot run here: there is no NVIDIA GPU with a running driver. This is not a pass." in words
    assert "docker run --rm --gpus all" in words
    assert "scripts/gpu-check --rehearse" in words
    assert not (tmp_path / "out").exists()


def test_the_line_for_docker_is_that_of_the_readme():
    readme = (Path(command.ROOT) / "scripts" / "README.md").read_text()
    (line,) = re.findall(r"^ {4}(docker run (?:.*\\\n)*.*)\n", readme, re.MULTILINE)
    assert shlex.split(line.replace("\\\n", " ").replace("$PWD", "/prep")) == shlex.split(
        machine.render_docker_line(Path("/prep"))
    )


def test_every_step_is_named_and_ends_somehow(tmp_path):
    steps = [
        make_step("first"),
        make_step("cannot", CannotError("no server")),
        make_step("after", needs=("cannot", "first")),
        make_step("broken", PrepError("it broke", hint="mend it")),
        make_step("bug", KeyError("name")),
        make_step("last", needs=("first",)),
    ]
    rows = take_steps(steps, tmp_path, rehearse=False)
    assert [(row.name, row.status, row.note) for row in rows] == [
        ("first", "done", "first took place"),
        ("cannot", "skipped", "no server"),
        ("after", "skipped", "cannot skipped"),
        ("broken", "failed", "it broke; mend it"),
        ("bug", "failed", "KeyError: 'name'"),
        ("last", "done", "last took place"),
    ]
    assert "KeyError" in (tmp_path / "bug-traceback.txt").read_text()
    assert "| after | what after does | skipped | cannot skipped |" in render_rows(rows)


def test_a_rehearsal_says_what_stands_in_and_takes_no_step_that_needs_a_gpu(tmp_path):
    steps = [make_step("build", rehearsal="RTX in its place"), make_step("time", needs_gpu=True), make_step("report")]
    rows = take_steps(steps, tmp_path, rehearse=True)
    assert [(row.status, row.note) for row in rows] == [
        ("rehearsed", "RTX in its place; build took place"),
        ("skipped", "it needs a GPU"),
        ("done", "report took place"),
    ]
    assert [row.status for row in take_steps(steps, tmp_path, rehearse=False)] == ["done"] * 3


@pytest.mark.parametrize(
    ("statuses", "rehearse", "code"),
    [
        (("done", "done"), False, 0),
        (("done", "skipped"), False, 3),
        (("skipped", "failed"), False, 1),
        (("rehearsed", "skipped"), True, 0),
        (("rehearsed", "failed"), True, 1),
    ],
)
def test_the_exit_code_is_that_of_the_worst_step(statuses, rehearse, code):
    rows = [Row("step", "", status, "") for status in statuses]
    assert choose_exit_code(rows, rehearse=rehearse) == code


def test_a_rehearsal_leaves_out_the_steps_of_the_gpu_alone(tmp_path):
    steps = command.list_steps(command.Check(make_request(tmp_path, rehearse=True)))
    assert {step.name for step in steps if step.needs_gpu} == GPU_STEPS
    assert {step.name for step in steps if step.rehearsal} == REHEARSED
    names = [step.name for step in steps]
    assert all(names.index(need) < names.index(step.name) for step in steps for need in step.needs)


def test_without_a_server_of_its_own_a_real_check_does_not_serve(monkeypatch, tmp_path):
    monkeypatch.setattr(serving, "find_tritonserver", lambda: None)
    with pytest.raises(CannotError, match="no tritonserver on PATH"):
        serving.check_server(make_request(tmp_path))
    serving.check_server(make_request(tmp_path, rehearse=True))


def test_the_server_of_the_image_is_found_off_the_path(monkeypatch, tmp_path):
    monkeypatch.delenv("PREP_TRITONSERVER", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(machine, "IMAGE_SERVER", tmp_path / "tritonserver")
    assert machine.find_tritonserver() is None
    (tmp_path / "tritonserver").touch()
    assert machine.find_tritonserver() == tmp_path / "tritonserver"


@pytest.mark.parametrize("rehearse", [False, True])
def test_each_command_is_one_that_the_command_line_takes(monkeypatch, tmp_path, rehearse):
    """Those of a real check run for the first time where they cannot be corrected."""
    commands: list[list[str]] = []
    answers: dict[str, dict[str, Any]] = {
        "verify": {"entries": [], "server_version": "", "server_flavour": ""},
        "bench": {"points": []},
    }

    def note(_: serving.Prep, __: str, *arguments: object) -> dict[str, Any]:
        commands.append([str(argument) for argument in arguments])
        return answers.get(commands[-1][0], {})

    monkeypatch.setattr(serving.Prep, "run", note)
    monkeypatch.setattr(serving, "find_tritonserver", lambda: Path("/opt/tritonserver/bin/tritonserver"))
    request = make_request(tmp_path, rehearse=rehearse)
    prep, entries = serving.Prep(request), serving.list_entries(request, {name: name for name in MODELS})
    serving.assemble(prep, entries)
    serving.verify(prep)
    serving.sweep(prep)
    serving.bursts(prep, entries)
    serving.report(prep)
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    for name, *arguments in commands:
        group.commands[name].make_context(name, [*arguments, "--json"])
    assert [name for name, *_ in commands] == ["assemble"] * 4 + ["verify", "bench", "bench", "report"]
    assert not any("minilm" in argument for arguments in commands for argument in arguments)
    assert ("--runtime tensorrt" in " ".join(commands[0])) is not rehearse


def test_minilm_alone_serves_nothing_and_says_what_to_add(tmp_path):
    request = make_request(tmp_path, rehearse=True, models=("minilm",))
    with pytest.raises(CannotError, match=r"minilm shows .* not served: add --model bert-base"):
        serving.assemble(serving.Prep(request), serving.list_entries(request, {"minilm": "minilm"}))


def test_padding_does_not_count_in_a_cosine():
    mask = np.array([[1, 1, 0], [1, 1, 1]])
    expected = {"hidden": np.ones((2, 3, 4)), "pooled": np.ones((2, 5))}
    answered = {"hidden": np.ones((2, 3, 4)), "pooled": np.ones((2, 5))}
    answered["hidden"][0, 2] = -9.0
    answered["hidden"][1, 2] = -1.0
    cosines = engines.compare_rows(expected, answered, mask)
    assert cosines == pytest.approx([1.0, (17 - 8) / 17])


def test_the_summary_tells_figures_and_failures(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "find_present_gpus", lambda: ())
    good, bad = checked(), checked(precision="int8", cosine=0.5)
    rows = (Row("build", "engines", "done", ""), Row("latency", "timed", "skipped", "build failed | twice"))
    outcome = Outcome(make_request(tmp_path), rows, (good, bad))
    words = render_summary(outcome)
    assert words.startswith("# GPU check: no GPU\n\n1 of 2 steps taken: 1 done, 1 skipped.\n")
    assert "| latency | timed | skipped | build failed \\| twice |" in words
    assert "| 100.0% fp16 (engine inspector) | yes | 0.99999 | 0.99999 | 0.500 | 1.250 | 2.000 |" in words
    assert "- minilm-int8-trt-sm89: smallest cosine 0.50000, expected 0.97" in words
    assert "rehearsal" not in words.lower()
    assert "Failed:" not in render_summary(replace(outcome, checked=(good,)))


def test_a_rehearsal_says_so_before_anything_else(tmp_path):
    outcome = Outcome(make_request(tmp_path, rehearse=True), (Row("build", "engines", "rehearsed", "RTX"),), ())
    words = render_summary(outcome)
    assert words.startswith("# Rehearsal of the GPU check: ")
    assert words.split("\n\n")[1] == REHEARSAL
    save_summary(outcome)
    assert json.loads((outcome.request.folder / FIGURES_NAME).read_text())["rehearsal"] is True


def test_a_model_of_seeded_weights_must_only_be_finite():
    assert not checked(precision="int8", cosine=0.9, weights="random").failure
    assert checked(precision="int8", cosine=float("nan"), weights="random").failure
    assert not replace(checked(), min_cosine=None, mean_cosine=None).failure


def test_neither_weights_nor_engines_nor_an_earlier_check_are_sent_back(tmp_path):
    entry = tmp_path / "model_repository" / "bert"
    (entry / "1").mkdir(parents=True)
    (tmp_path / "logs").mkdir()
    for name in ("sweep.json", "report.html", "logs/sweep.txt", "summary.md"):
        (tmp_path / name).write_text(name)
    (entry / "config.pbtxt").touch()
    (entry / "1" / "model.plan").touch()
    with tarfile.open(save_archive(tmp_path)) as archive:
        names = archive.getnames()
    assert names == [
        *(f"gpu-check/{name}" for name in ("logs/sweep.txt", "model_repository/bert/config.pbtxt", "report.html")),
        *("gpu-check/summary.md", "gpu-check/sweep.json"),
    ]
    clear_folder(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["logs"]
    assert list((tmp_path / "logs").iterdir()) == []


@pytest.mark.parametrize(("said", "version"), [("", "10.16.1.11"), ("10.16.1.11+cuda13.2", "10.16.1.11")])
def test_the_tensorrt_of_the_server_is_taken(monkeypatch, said, version):
    monkeypatch.setenv(machine.TENSORRT_VARIABLE, said)
    machine.check_tensorrt(version)


def test_a_tensorrt_whose_plans_the_server_would_not_load_is_refused(monkeypatch):
    monkeypatch.setenv(machine.TENSORRT_VARIABLE, "10.16.1.12")
    with pytest.raises(PrepError, match=r"tensorrt is 10\.16\.1\.11, the server of this container has 10\.16\.1\.12"):
        machine.check_tensorrt("10.16.1.11")


def test_a_command_that_fails_has_its_own_words(tmp_path):
    prep = serving.Prep(make_request(tmp_path, rehearse=True))
    with pytest.raises(PrepError, match="nowhere"):
        prep.run("verify", "verify", tmp_path / "nowhere")
    log = (prep.logs_dir / "verify.txt").read_text()
    assert log.startswith("$ prep verify ")
    assert "exit code " in log
