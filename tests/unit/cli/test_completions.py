"""Tab: what there is, fast, and never an error."""

import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from prep_triton.cli import completions
from prep_triton.cli.app import app
from prep_triton.cli.choices import CHOICES
from prep_triton.cli.completions import complete_from
from prep_triton.containers import load_triton_releases
from prep_triton.gpus import CAPABILITY_BY_GPU
from typer.core import TyperGroup
from typer.main import get_command

from tests.fakes.prep_command import SCRIPT

GROUP = get_command(app)
assert isinstance(GROUP, TyperGroup)
RELEASES = ("20260131T235959Z-0123456789ab", "20260201T000000Z-0123456789ab")
# What is a name of something that exists, by how a command calls it.
NAMED = {
    ("build-engine", "model"),
    ("assemble", "model"),
    ("assemble", "adopt"),
    ("list", "model"),
    ("gc", "model"),
    ("run", "model"),
    ("inspect", "artifact"),
    ("compare", "first"),
    ("compare", "second"),
    ("lint", "entry"),
    ("client", "model"),
    ("bench", "machine"),
    ("rollback", "release"),
    ("fetch", "release"),
    ("releases", "show"),
    ("releases", "diff"),
}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a workspace, a repository, a store and a pipeline file."""
    for name in ("export/minilm", "export/bert", "engine/minilm-fp16-rtx-sm75"):
        (tmp_path / "build" / name).mkdir(parents=True)
    (tmp_path / "other" / "export" / "elsewhere").mkdir(parents=True)
    for name in ("minilm-onnx-fp32", "minilm-onnx-fp32-text"):
        (tmp_path / "build/model_repository" / name).mkdir(parents=True)
        (tmp_path / "build/model_repository" / name / "config.pbtxt").touch()
    (tmp_path / "build/model_repository" / "notes").mkdir()
    for name in RELEASES:
        (tmp_path / "store" / "releases" / name).mkdir(parents=True)
    (tmp_path / "p.yaml").write_text("models: [{model: minilm}, {model: org/bert, name: own}]")
    return tmp_path


def press_tab(place: Path, words: str) -> tuple[list[str], str]:
    """Return what a shell is offered behind some words, and what stands on stderr."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PREP_")}
    done = subprocess.run(
        [str(SCRIPT)],
        cwd=place,
        env={
            **environment,
            "_PREP_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split(" ")) - 1),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.split(), done.stderr


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("prep build-engine ", ["bert", "minilm"]),
        ("prep assemble --workspace other ", ["elsewhere"]),
        ("prep inspect mini", ["minilm", "minilm-fp16-rtx-sm75"]),
        ("prep lint --entry ", ["minilm-onnx-fp32", "minilm-onnx-fp32-text"]),
        ("prep client --model ", ["minilm-onnx-fp32-text"]),
        ("prep rollback store 20260", list(RELEASES)),
        ("prep releases store --diff 20260131", [RELEASES[0]]),
        ("prep fetch store copy --release cur", ["current"]),
        ("prep run p.yaml --model ", ["minilm", "own"]),
        ("prep lint --target 25.0", [f"25.0{month}" for month in range(1, 10)]),
        ("prep rollback nowhere 2", []),
        ("prep run nowhere.yaml --model ", []),
    ],
)
def test_tab_offers_what_there_is_and_says_nothing(place: Path, words: str, offered: list[str]):
    assert press_tab(place, words) == (offered, "")


def test_every_parameter_that_names_something_has_a_completion():
    assert isinstance(GROUP, TyperGroup)
    commands = GROUP.commands
    parameters = {(name, param.name): param for name, command in commands.items() for param in command.params}
    named = NAMED | {key for key in parameters if key[1] in ("gpus", "gpu", "only_gpu", "triton")}
    silent = [key for key in named if getattr(parameters[key], "_custom_shell_complete", None) is None]
    assert silent == []


def test_targets_and_gpus_are_all_that_are_known():
    assert set(completions.find_targets({})) == set(load_triton_releases())
    assert set(CHOICES["gpus"]()) == set(CAPABILITY_BY_GPU)


def test_a_completion_never_raises():
    def fail(_params: dict[str, Any]) -> list[str]:
        raise ZeroDivisionError

    assert complete_from(fail)(None, "") == []  # type: ignore[arg-type]


def test_a_bucket_that_does_not_answer_holds_nobody_up(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(completions, "STORE_WAIT_S", 0.05)
    monkeypatch.setattr(completions, "_list_release_ids", lambda _uri: time.sleep(5))
    assert set(completions.find_releases({"uri": "gs://b"})) == {"current", "previous", "newest"}
