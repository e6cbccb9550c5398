"""A damaged `current.json` or `release.json`, in a folder and in a bucket, met by every command that reads it."""

import json
import sys
from collections.abc import Callable

import pytest
from prep_triton.cli.app import run_command_line
from prep_triton.layout import POINTER_NAME, folder_of_release
from prep_triton.publish.catalog import load_pointer, resolve
from prep_triton.publish.check import check_release
from prep_triton.publish.release import publish_release
from prep_triton.publish.uri import open_store

from tests.fakes.stores import replace_object

pytestmark = pytest.mark.integration

DAMAGED = {"cut": b'{"schema": 1, ', "nested": b"[" * 100_000}
# The list alone succeeds, with a warning: it names the releases that the hint asks for.
LIST = "releases"
COMMANDS = (
    LIST,
    "releases --current",
    "releases --show current",
    "releases --diff previous current",
    "fetch copy",
    "verify",
    "publish --check",
)


@pytest.fixture
def two_releases(store, make_repository):
    return [publish_release(make_repository("bert", seed=seed), store).release for seed in (1, 2)]


@pytest.fixture
def prep(monkeypatch, capsys, tmp_path) -> Callable[[str], tuple[int, str]]:
    """Run a command in this process; give its exit code, and what it wrote to stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_COLOR", "1")

    def run(line: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["prep", *line.split()])
        capsys.readouterr()
        try:
            code = run_command_line()
        except SystemExit as end:
            code = int(end.code or 0)
        return code, " ".join(capsys.readouterr().err.split())

    return run


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_pointer_is_a_sentence_of_every_command_and_publishing_makes_it_anew(
    store, two_releases, prep, damage, make_repository
):
    replace_object(store, POINTER_NAME, DAMAGED[damage])
    for command in (*COMMANDS, "rollback", "prune --keep 1 --yes"):
        name, _, options = command.partition(" ")
        code, errors = prep(f"{name} {store.uri} {options}")
        assert (command, code) == (command, 0 if command == LIST else 1), errors
        assert f"{POINTER_NAME} is damaged" in errors, command
        assert f"prep rollback {store.uri} ID" in errors, command
    assert publish_release(make_repository("bert", seed=2), store).is_moved
    assert load_pointer(store).release == two_releases[-1].id


def test_a_damaged_record_is_a_sentence_of_deploy(gcs_bucket, make_repository, prep):
    store = open_store(f"gs://{gcs_bucket}/models")
    release = publish_release(make_repository("bert"), store).release
    for name in (f"{folder_of_release(release.id)}release.json", POINTER_NAME):
        replace_object(store, name, b"{")
        code, errors = prep(f"deploy {store.uri}")
        assert code == 1
        assert f"{name} is damaged" in errors


def test_the_hint_of_a_damaged_pointer_leads_to_a_whole_store(store, two_releases, prep, capsys):
    replace_object(store, POINTER_NAME, b"{")
    assert prep(f"releases {store.uri} --json")[0] == 0
    assert prep(f"rollback {store.uri} {two_releases[0].id}")[0] == 0
    assert resolve(store) == two_releases[0]


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_release_is_a_sentence_of_every_command_and_publishing_makes_it_anew(
    store, two_releases, prep, damage, make_repository
):
    newest = two_releases[-1].id
    replace_object(store, f"{folder_of_release(newest)}release.json", DAMAGED[damage])
    for command in (*COMMANDS, f"rollback {newest}"):
        name, _, options = command.partition(" ")
        code, errors = prep(f"{name} {store.uri} {options}")
        assert "release.json is damaged" in errors, command
        assert code == (0 if command == LIST else 1), command
    published = publish_release(make_repository("bert", seed=2), store)
    assert (published.created, published.is_moved) == (True, True)
    check_release(store, published.release)
    assert json.loads(store.read_bytes(POINTER_NAME))["release"] == published.release.id != newest
