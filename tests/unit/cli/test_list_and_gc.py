"""`prep list` and `prep gc` as they are run."""

import json
import os
import time
from pathlib import Path

import pytest
from prep_triton.artifact import Artifact, OnnxModel
from prep_triton.cli.app import app
from prep_triton.spec.quantities import parse_age, parse_size
from prep_triton.workspace import Recipe, Workspace
from typer.testing import CliRunner

from tests.fakes.documents import parse_document
from tests.fakes.exported import store_export


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose workspace holds a model, and an earlier version of it that was used three days ago."""
    monkeypatch.chdir(tmp_path)
    old = store_export(Path("build"))
    fields = {key: getattr(old, key) for key in OnnxModel.model_fields if key not in Artifact.model_fields}

    def copy(staging: Path) -> dict:
        (staging / "model.onnx").write_bytes(b"another")
        return fields

    Workspace(Path("build")).produce(Recipe("export", "tiny", {"version": 2}), OnnxModel, copy)
    three_days_ago = time.time() - 3 * 86400
    os.utime(old.folder, (three_days_ago, three_days_ago))
    return old.folder


def run(*arguments: str) -> str:
    done = CliRunner().invoke(app, [*arguments])
    assert done.exit_code == 0, done.output
    return done.stdout


def fail(*arguments: str) -> str:
    done = CliRunner().invoke(app, [*arguments])
    assert done.exit_code == 2, done.output
    return done.stderr


def test_list_says_what_is_there_and_what_is_current(folder: Path):
    document = parse_document(run("list", "--json"), "list")
    assert [(item["kind"], item["name"], item["is_current"]) for item in document["items"]] == [
        ("model", "tiny", key != folder.name) for key in sorted(item["key"] for item in document["items"])
    ]
    assert document["workspace_bytes"] == sum(
        path.stat().st_size for path in Path("build").rglob("*") if path.is_file()
    )
    lines = run("list", "tiny").splitlines()
    assert [line for line in lines if folder.name[:8] in line and "3 d" in line and "current" not in line]
    assert "0 shown" not in run("list", "--kind", "engine")
    assert "nothing to show; build: " in run("list", "--kind", "engine")


def test_gc_is_dry_until_yes_and_its_command_does_what_it_says(folder: Path):
    text = run("gc", "--older-than", "2d")
    assert folder.is_dir()
    assert "1 would be removed" in text
    command = text.splitlines()[-1].partition("to do it: prep ")[2]
    assert command == "gc --older-than 2d --yes"
    document = parse_document(run(*command.split(), "--json"), "gc")
    assert not folder.exists()
    assert [Path(item["path"]) for item in document["removed"]] == [folder]
    assert json.loads(run("gc", "--json"))["removed"] == []


def test_gc_says_when_what_is_needed_is_more_than_was_asked_for(folder: Path):
    assert "that is more than --to" in run("gc", "--to", "1B")
    assert folder.is_dir()
    assert json.loads(run("gc", "--to", "1GiB", "--json"))["removed"] == []


def test_wrong_requests_are_refused_in_a_sentence(folder: Path):
    assert "--older-than is '14', expected a time with its unit" in fail("gc", "--older-than", "14")
    assert "--to is '20 parsecs', expected a size" in fail("gc", "--to", "20 parsecs")
    assert "there is no kind 'engin'\nhint: did you mean 'engine'?" in fail("list", "--kind", "engin")
    assert "there is no model 'tinny' in build\nhint: did you mean 'tiny'?" in fail("list", "tinny")
    assert "--repository nowhere is not a folder" in fail("gc", "--repository", "nowhere")


def test_sizes_and_ages_are_what_their_units_say():
    sizes = [("1B", 1), ("1.5KiB", 1536), ("20GiB", 20 * 2**30), ("500MB", 500_000_000), ("1tib", 2**40)]
    assert [parse_size(text, flag="--to") for text, _ in sizes] == [size for _, size in sizes]
    ages = [("90s", 90), ("30m", 1800), ("36h", 129_600), ("14d", 1_209_600), ("2w", 1_209_600)]
    assert [parse_age(text, flag="--x").total_seconds() for text, _ in ages] == [seconds for _, seconds in ages]
