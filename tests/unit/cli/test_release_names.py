"""One default repository and one way to name a release, in every command that takes them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prep_triton.cli.app import app
from prep_triton.errors import SpecError
from prep_triton.layout import DEFAULT_REPOSITORY
from prep_triton.run.locate import find_release, local_repository
from prep_triton.workspace import Workspace
from typer.core import TyperGroup
from typer.main import get_command
from typer.testing import CliRunner

from tests.fakes.exported import store_export

Run = Callable[..., Any]
TAKES_A_RELEASE = ("lint", "verify", "serve", "publish", "fetch", "deploy")


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A folder with a workspace, the default repository, and a store with two releases; and their ids."""
    folder = tmp_path_factory.mktemp("work")
    store_export(folder / "build")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        ids = []
        for size in (2, 4):
            assert invoke("assemble", "tiny", "--max-batch-size", size).exit_code == 0
            ids.append(json.loads(invoke("publish", "./releases", "--json").stdout)["release"]["id"])
    return folder, ids


@pytest.fixture
def run(published: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(published[0])
    return invoke


def invoke(*arguments: object) -> Any:
    return CliRunner().invoke(app, [*map(str, arguments)])


def test_what_is_assembled_is_linted_and_published_without_its_place(run: Run, published: tuple[Path, list[str]]):
    assert (published[0] / DEFAULT_REPOSITORY / "tiny-onnx-fp32" / "config.pbtxt").is_file()
    assert json.loads(run("lint", "--json").stdout)["entries"] == ["tiny-onnx-fp32"]
    assert json.loads(run("publish", "./releases", "--dry-run", "--json").stdout)["unchanged"]
    assert json.loads(run("publish", DEFAULT_REPOSITORY, "./releases", "--dry-run", "--json").stdout)["unchanged"]


def test_a_repository_alone_is_no_place_to_publish_to(run: Run):
    done = run("publish", DEFAULT_REPOSITORY)
    assert done.exit_code == 2
    assert f"there is no URI to publish {DEFAULT_REPOSITORY} to" in done.stderr


def test_the_repository_is_no_stage_of_the_workspace_around_it(run: Run, published: tuple[Path, list[str]]):
    kinds = {row["kind"] for row in json.loads(run("list", "--json").stdout)["items"]}
    assert kinds == {"model", "entry"}
    removable = json.loads(run("gc", "--json").stdout)["removed"]
    assert not [row for row in removable if "model_repository" in json.dumps(row)]
    assert Workspace(published[0] / "build").current_key("model_repository", "tiny-onnx-fp32") is None


@pytest.mark.parametrize("number", [0, 1])
def test_every_name_of_a_release_means_it(run: Run, published: tuple[Path, list[str]], number: int, tmp_path: Path):
    folder, ids = published
    release_id = ids[number]
    names = ["previous"] if number == 0 else ["current", "newest"]
    uris = [f"./releases/releases/{release_id}", f"{folder}/releases/releases/{release_id}"]
    for name in (*names, release_id, *uris):
        shown = json.loads(run("releases", "./releases", "--show", name, "--json").stdout)
        assert shown["id"] == release_id, name
        linted = json.loads(run("lint", "./releases", "--release", name, "--json").stdout)
        assert linted["repository"] == shown["uri"]
        copy = tmp_path / f"copy-{name.replace('/', '-')}"
        assert run("fetch", "./releases", "--release", name, "-o", copy).exit_code == 0
        assert (copy / "tiny-onnx-fp32" / "config.pbtxt").is_file()
        assert run("publish", "--check", "./releases", "--release", name).exit_code == 0
    for uri in uris:
        assert json.loads(run("lint", uri, "--json").stdout)["repository"] == shown["uri"]
        assert json.loads(run("releases", uri, "--json").stdout)["id"] == release_id


def test_a_beginning_of_an_id_is_a_name_too(run: Run, published: tuple[Path, list[str]]):
    (first, second), length = published[1], 0
    length = next((n for n, pair in enumerate(zip(first, second, strict=True)) if pair[0] != pair[1]), 0) + 1
    assert json.loads(run("releases", "./releases", "--show", second[:length], "--json").stdout)["id"] == second


def test_a_release_of_another_store_is_refused(run: Run, published: tuple[Path, list[str]]):
    done = run("releases", "./releases", "--show", f"./others/releases/{published[1][0]}")
    assert done.exit_code == 2
    assert "is not a release of" in done.stderr


def test_a_repository_has_no_releases(run: Run):
    done = run("lint", DEFAULT_REPOSITORY, "--release", "previous")
    assert done.exit_code == 2
    assert "--release previous names a release, and build/model_repository holds none" in done.stderr
    assert find_release(DEFAULT_REPOSITORY) is None
    with pytest.raises(SpecError), local_repository(DEFAULT_REPOSITORY, "newest"):
        pass


def test_rollback_takes_the_uri_of_a_release(run: Run, published: tuple[Path, list[str]]):
    first, second = published[1]
    for release_id in (first, second):
        done = run("rollback", f"./releases/releases/{release_id}", "--json")
        assert json.loads(done.stdout)["release"] == release_id


@pytest.mark.parametrize("name", TAKES_A_RELEASE)
def test_a_command_that_takes_a_release_has_the_flag(name: str):
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    options = {flag for option in group.commands[name].params for flag in option.opts}
    assert "--release" in options


def test_one_word_means_a_release_of_triton():
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    for name in ("lint", "publish", "serve", "deploy"):
        shown = [option for option in group.commands[name].params if not getattr(option, "hidden", False)]
        flags = {flag for option in shown for flag in option.opts}
        assert "--target" in flags
        assert "--triton" not in flags


def test_a_dry_run_of_several_models_prints_names_and_how_to_see_one(run: Run, tmp_path: Path):
    store_export(tmp_path, name="one")
    store_export(tmp_path, name="two")
    several = run("assemble", "--dry-run", "--workspace", tmp_path)
    assert [line for line in several.stdout.splitlines() if line.startswith("two-onnx-fp32/config.pbtxt: ")]
    assert "prep assemble MODEL --dry-run" in several.stdout
    assert len(several.stdout.splitlines()) == 3
    assert "max_batch_size" in run("assemble", "two", "--dry-run", "--workspace", tmp_path).stdout
