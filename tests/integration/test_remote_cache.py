"""A cache that machines share, in a folder and on a real GCS server: what one made, the others fetch."""

import hashlib
import logging
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from prep_triton.artifact import Artifact
from prep_triton.cli.app import app
from prep_triton.errors import BucketMissingError, SpecError, StoreAccessError, StoreError
from prep_triton.publish import cache as cache_module
from prep_triton.publish.cache import StoredCache
from prep_triton.publish.store import Store
from prep_triton.run.shared import open_workspace
from prep_triton.workspace import NotMadeError, Recipe, Workspace
from typer.testing import CliRunner

from tests.fakes.stores import FailingStore, HookedStore, damage_object, remove_object, replace_object, stat_object

pytestmark = pytest.mark.integration

WEIGHTS = bytes(range(256)) * 400
FILES = {"model.onnx": WEIGHTS, "nested/tokenizer.json": b"{}", "empty": b""}


def recipe(version: int = 1) -> Recipe:
    return Recipe("export", "tiny", {"version": version}, {"model": "0123"}, {"torch": "2"})


def make(folder: Path) -> Mapping[str, Any]:
    for name, content in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    return {}


def refuse(folder: Path) -> Mapping[str, Any]:
    raise AssertionError("made again")


@pytest.fixture
def cache(store: Store) -> StoredCache:
    """An empty cache, on a store of each kind."""
    return StoredCache(store.uri)


@pytest.fixture
def machine(tmp_path: Path, cache: StoredCache) -> Callable[..., Workspace]:
    """The workspace of a machine, by its number, that shares the cache."""
    return lambda number, remote=None: Workspace(
        tmp_path / f"machine-{number}", remote=remote or StoredCache(cache.uri)
    )


@pytest.fixture
def made(machine: Callable[..., Workspace]) -> Artifact:
    """An artifact that the first machine made."""
    return machine(1).produce(recipe(), Artifact, make).artifact


def names_of(store: Store, part: str = "") -> list[str]:
    return [stored.name for stored in store.list_objects("") if part in stored.name]


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_what_one_machine_made_another_fetches_to_the_byte(machine, made: Artifact, caplog):
    produced = machine(2).produce(recipe(), Artifact, refuse)
    assert (produced.reused, produced.fetched) == (True, True)
    for name, content in FILES.items():
        assert produced.artifact.path(name).read_bytes() == content
    assert produced.artifact.path("manifest.json").read_bytes() == made.path("manifest.json").read_bytes()
    assert produced.artifact.model_copy(update={"folder": made.folder}) == made
    again = machine(2, remote=StoredCache("/dev/null/nothing")).produce(recipe(), Artifact, refuse)
    assert (again.reused, again.fetched) == (True, False)
    assert machine(2).current("export", "tiny", Artifact) == produced.artifact
    assert not produced.artifact.folder.with_name(f".staging-{made.key}").exists()


def test_a_file_is_there_once_and_another_key_is_another_artifact(machine, made: Artifact, store: Store):
    machine(2).produce(recipe(2), Artifact, make)
    assert len(names_of(store, "files/")) == len(FILES)
    assert len(names_of(store, "artifacts/")) == 2


def test_a_cache_that_was_named_later_gets_what_is_here(tmp_path: Path, machine, store: Store):
    Workspace(tmp_path / "machine-1").produce(recipe(), Artifact, make)
    assert names_of(store) == []
    assert not machine(1).produce(recipe(), Artifact, refuse).fetched
    assert machine(2).produce(recipe(), Artifact, refuse).fetched


def test_what_holds_on_one_machine_alone_is_not_shared(machine, store: Store):
    machine(1).produce(recipe(), Artifact, make, is_shared=False)
    assert names_of(store) == []
    machine(1).produce(recipe(), Artifact, refuse)
    assert not machine(2).produce(recipe(), Artifact, make, is_shared=False).reused


def test_a_dry_run_fetches_nothing(tmp_path: Path, made: Artifact, cache: StoredCache):
    dry = Workspace(tmp_path / "dry", read_only=True, remote=cache)
    with pytest.raises(NotMadeError):
        dry.produce(recipe(), Artifact, refuse)
    assert not dry.root.exists()


def flip(store: Store, name: str) -> None:
    damage_object(store, name)


def truncate(store: Store, name: str) -> None:
    replace_object(store, name, store.read_bytes(name)[:-1])


def edit(store: Store, name: str) -> None:
    replace_object(store, name, store.read_bytes(name).replace(b'"name": "tiny"', b'"name": "tiNy"'))


DAMAGE = [("files/", flip), ("files/", truncate), ("files/", remove_object)]
DAMAGE += [("artifacts/", flip), ("artifacts/", truncate), ("artifacts/", edit)]


@pytest.mark.parametrize(("part", "damage"), DAMAGE, ids=[f"{part}{damage.__name__}" for part, damage in DAMAGE])
def test_what_is_damaged_there_counts_as_absent_is_named_and_replaced(
    machine, made: Artifact, store: Store, part: str, damage: Callable[[Store, str], None], caplog
):
    name = max(names_of(store, part), key=lambda name: stat_object(store, name).size)
    damage(store, name)
    mended = machine(2).produce(recipe(), Artifact, make)
    assert (mended.reused, mended.fetched) == (False, False)
    assert mended.artifact.path("model.onnx").read_bytes() == WEIGHTS
    (warning,) = warnings_of(caplog)
    assert warning.startswith(f"{store.uri}/artifacts/export/tiny/{made.key} is damaged: ")
    assert warning.endswith("it counts as absent")
    assert machine(3).produce(recipe(), Artifact, refuse).artifact.path("model.onnx").read_bytes() == WEIGHTS


@pytest.mark.parametrize("name", ["../../outside", "/tmp/outside-of-prep", "nested/../../../outside", "manifest.json"])
def test_a_manifest_that_leads_elsewhere_is_refused(machine, made: Artifact, store: Store, tmp_path: Path, name: str):
    (place,) = names_of(store, "artifacts/")
    text = store.read_bytes(place).partition(b"\n")[2].replace(b'"empty"', f'"{name}"'.encode())
    replace_object(store, place, hashlib.sha256(text).hexdigest().encode() + b"\n" + text)
    assert not machine(2).produce(recipe(), Artifact, make).reused
    assert not list(tmp_path.rglob("outside*"))
    assert not Path("/tmp/outside-of-prep").exists()
    assert machine(3).produce(recipe(), Artifact, refuse).fetched


@pytest.mark.parametrize("is_same", [True, False])
def test_two_that_make_it_at_once_leave_a_whole_one(machine, tmp_path: Path, is_same: bool, caplog):
    barrier = threading.Barrier(2, timeout=60)
    made: list[Artifact] = []

    def work(number: int) -> None:
        def make_slowly(folder: Path) -> Mapping[str, Any]:
            make(folder)
            if not is_same:
                (folder / "model.onnx").write_bytes(bytes([number]) * 1000)
            barrier.wait()
            return {}

        made.append(machine(number).produce(recipe(), Artifact, make_slowly).artifact)

    threads = [threading.Thread(target=work, args=(number,)) for number in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(made) == 2
    fetched = machine(3).produce(recipe(), Artifact, refuse).artifact
    assert fetched.path("model.onnx").read_bytes() in {artifact.path("model.onnx").read_bytes() for artifact in made}
    assert warnings_of(caplog) == []


def test_a_killed_writer_leaves_nothing_that_is_taken_for_finished(machine, tmp_path: Path, store: Store):
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from prep_triton.artifact import Artifact\n"
        "from prep_triton.publish.cache import StoredCache\n"
        "from prep_triton.workspace import Recipe, Workspace\n"
        "cache = StoredCache(sys.argv[1])\n"
        "cache.store.write_bytes = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)\n"
        "def make(folder):\n"
        "    (folder / 'model.onnx').write_bytes(bytes(range(256)) * 400)\n"
        "    return {}\n"
        "recipe = Recipe('export', 'tiny', {'version': 1}, {'model': '0123'}, {'torch': '2'})\n"
        "Workspace(Path(sys.argv[2]), remote=cache).produce(recipe, Artifact, make)\n"
    )
    command = [sys.executable, "-c", code, store.uri, str(tmp_path / "killed")]
    assert subprocess.run(command, check=False, timeout=60).returncode == -signal.SIGKILL
    assert len(names_of(store, "files/")) == 1
    assert not machine(2).produce(recipe(), Artifact, make).reused
    assert machine(3).produce(recipe(), Artifact, refuse).fetched


def test_a_cache_that_fails_halfway_stops_no_run_and_is_told_once(machine, cache: StoredCache, store: Store, caplog):
    cache.__dict__["store"] = FailingStore(store, fail_at=2)
    first = machine(1, remote=cache)
    assert not first.produce(recipe(), Artifact, make).reused
    assert not first.produce(recipe(2), Artifact, make).reused
    (warning,) = warnings_of(caplog)
    assert warning == f"{store.uri} is used no more in this run, which goes on without it: the network is gone"
    assert names_of(store, "artifacts/") == []
    assert not machine(2).produce(recipe(), Artifact, make).reused


def test_a_cache_that_may_only_be_read_is_read(machine, made: Artifact, cache: StoredCache, store: Store, caplog):
    def refuse_write(name: str, content: bytes) -> None:
        raise StoreAccessError("gs://bucket may not be written by this account", hint="ask for it")

    cache.__dict__["store"] = HookedStore(store, before_write=refuse_write)
    reader = machine(2, remote=cache)
    for version in (2, 3):
        assert not reader.produce(recipe(version), Artifact, make).reused
    assert reader.produce(recipe(), Artifact, refuse).fetched
    assert warnings_of(caplog) == ["gs://bucket may not be written by this account: what is made here is not shared"]


def test_a_server_that_goes_away_during_a_run_stops_it_not(
    tmp_path: Path, local_gcs: ModuleType, monkeypatch: pytest.MonkeyPatch, caplog
):
    monkeypatch.setattr(cache_module, "RETRY_FOR_S", 0.1)
    with local_gcs.run_local_gcs() as url:
        for name, value in local_gcs.environment_for(url).items():
            monkeypatch.setenv(name, value)
        local_gcs.make_bucket(url, "cache-of-a-day")
        workspace = open_workspace(tmp_path / "build", "gs://cache-of-a-day/cache")
        workspace.produce(recipe(), Artifact, make)
    assert not workspace.produce(recipe(2), Artifact, make).reused
    assert workspace.produce(recipe(), Artifact, refuse).reused
    assert workspace.find(recipe(2), Artifact) is not None
    (warning,) = warnings_of(caplog)
    assert "gs://cache-of-a-day/cache is used no more in this run, which goes on without it: " in warning


def test_what_another_writer_wrote_first_is_no_fault(machine, cache: StoredCache, store: Store, caplog):
    other = machine(2)

    def write_first(name: str, content: bytes) -> None:
        if name.startswith("artifacts/") and not names_of(store, "artifacts/"):
            other.produce(recipe(), Artifact, make)

    cache.__dict__["store"] = HookedStore(store, before_write=write_first)
    machine(1, remote=cache).produce(recipe(), Artifact, make)
    assert warnings_of(caplog) == []
    assert machine(3).produce(recipe(), Artifact, refuse).fetched


def test_a_cache_that_is_not_there_or_closed_is_refused_at_the_start(tmp_path: Path, gcs_bucket: str):
    (tmp_path / "file").touch()
    with pytest.raises(BucketMissingError, match="the remote cache gs://not-there-0/cache cannot be used"):
        open_workspace(tmp_path / "build", "gs://not-there-0/cache")
    with pytest.raises(StoreError, match="cannot be used") as caught:
        open_workspace(tmp_path / "build", str(tmp_path / "file"))
    assert "--remote-cache" in caught.value.hint
    with pytest.raises(SpecError, match="unknown scheme 's3'"):
        open_workspace(tmp_path / "build", "s3://bucket/cache")
    assert open_workspace(tmp_path / "build", f"gs://{gcs_bucket}/cache").remote is not None
    assert not (tmp_path / "build").exists()


@pytest.mark.parametrize("command", [["export", "minilm"], ["build-engine"], ["assemble"]])
def test_every_command_that_makes_artifacts_takes_it_as_flag_and_variable(command: list[str], tmp_path: Path):
    for flags, environment in ((["--remote-cache", "s3://x"], {}), ([], {"PREP_REMOTE_CACHE": "s3://x"})):
        words = [*command, *flags, "--workspace", str(tmp_path)]
        done = CliRunner().invoke(app, words, env=environment)
        assert done.exit_code == 2
        assert "error: 's3://x' has the unknown scheme 's3'" in done.stderr
