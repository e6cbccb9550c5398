"""A release, copied whole to this machine or checked where it is."""

import json
import signal
import time
from pathlib import Path

import pytest
from prep_triton.errors import ReleaseDamagedError, SpecError, StoreError
from prep_triton.publish.catalog import CURRENT, resolve
from prep_triton.publish.check import check_release, find_faults
from prep_triton.publish.fetch import fetch_release
from prep_triton.publish.pointer import rollback
from prep_triton.publish.record import digest_content
from prep_triton.publish.release import publish_release
from prep_triton.publish.repository import scan_repository
from prep_triton.publish.uri import open_store
from prep_triton.scratch import locked_folder

from scripts.benchmarks.records import save_entry
from tests.fakes.prep_command import Prep
from tests.fakes.stores import damage_object, remove_object

pytestmark = pytest.mark.integration


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_fetched_release_is_a_repository_again(store, make_repository, tmp_path):
    folder = make_repository("bert", "distilbert")
    release = publish_release(folder, store).release
    assert fetch_release(store, CURRENT, tmp_path / "new" / "copy") == release
    copied = contents(tmp_path / "new" / "copy")
    assert json.loads(copied.pop("release.json"))["id"] == release.id
    original = contents(folder)
    del original["README.md"]
    assert copied == original
    assert (
        digest_content(
            (entry.model_dump(mode="json") for entry in scan_repository(tmp_path / "new" / "copy").entries), None
        )
        == release.content_digest
    )
    assert names_in(tmp_path / "new") == ["copy"]


def test_current_release_is_fetched_unless_another_is_named(store, make_repository, tmp_path):
    first, second = (publish_release(make_repository("bert", seed=seed), store).release for seed in (1, 2))
    rollback(store)
    assert fetch_release(store, CURRENT, tmp_path / "a") == first
    assert fetch_release(store, second.id, tmp_path / "b") == second


def test_folder_that_is_empty_is_filled_and_one_that_holds_the_release_is_left(store, make_repository, tmp_path):
    release = publish_release(make_repository("bert"), store).release
    (tmp_path / "copy").mkdir()
    fetch_release(store, CURRENT, tmp_path / "copy")
    path = tmp_path / "copy" / "release.json"
    before = path.stat()
    assert fetch_release(store, CURRENT, tmp_path / "copy") == release
    after = path.stat()  # reading it may move its time of access
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize("change", ["damaged", "missing", "foreign"])
def test_folder_that_holds_something_else_is_refused(store, make_repository, tmp_path, change):
    publish_release(make_repository("bert"), store)
    target = tmp_path / "copy"
    fetch_release(store, CURRENT, target)
    if change == "damaged":
        (target / "bert" / "1" / "model.onnx").write_bytes(b"\xff" * 2000)
    elif change == "missing":
        (target / "bert" / "config.pbtxt").unlink()
    else:
        publish_release(make_repository("bert", seed=1), store)
    before = contents(target)
    with pytest.raises(SpecError, match="exists already and is not a whole copy") as caught:
        fetch_release(store, CURRENT, target)
    assert "an empty one" in caught.value.hint
    assert contents(target) == before


def test_damaged_release_is_not_fetched_and_nothing_is_left(store, make_repository, tmp_path):
    release = publish_release(make_repository("bert"), store).release
    damage_object(store, f"releases/{release.id}/bert/1/model.onnx")
    (tmp_path / "into").mkdir()
    with pytest.raises(StoreError, match=r"model.onnx is not what its release says"):
        fetch_release(store, CURRENT, tmp_path / "into" / "copy")
    assert names_in(tmp_path / "into") == []


def test_release_that_is_removed_meanwhile_is_not_fetched_in_part(store, make_repository, tmp_path):
    release = publish_release(make_repository("bert"), store).release
    remove_object(store, f"releases/{release.id}/bert/config.pbtxt")
    with pytest.raises(StoreError, match="there is no"):
        fetch_release(store, release.id, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_remains_of_a_killed_fetch_go_with_the_next(store, make_repository, tmp_path):
    publish_release(make_repository("bert"), store)
    into = tmp_path / "into"
    (into / ".copy.fetching-dead").mkdir(parents=True)
    with locked_folder(into, ".copy.fetching-") as living:  # as another fetch holds it
        fetch_release(store, CURRENT, into / "copy")
        assert names_in(into) == sorted([living.name, "copy"])
    assert (into / "copy").stat().st_mode & 0o777 == into.stat().st_mode & 0o777


def test_server_arguments_of_a_release_lie_beside_its_entries(store, make_repository, tmp_path):
    folder = make_repository("bert", "distilbert")
    for name, count in (("bert", 1), ("distilbert", 2)):
        manifest = folder / name / "manifest.json"
        arguments = ["--rate-limit=execution_count", f"--rate-limit-resource=R1:{count}"]
        manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "server_arguments": arguments}))
    release = publish_release(folder, store).release
    assert release.server_arguments == ("--rate-limit-resource=R1:2", "--rate-limit=execution_count")
    fetch_release(store, CURRENT, tmp_path / "copy")
    assert (tmp_path / "copy" / "server.args").read_text().split() == list(release.server_arguments)


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.update(files={}),
        lambda content: content["files"].pop("bert/1/model.onnx"),
        lambda content: content["entries"][0]["manifest"].update(tolerance=0.5),
        lambda content: content.update(content_digest="0" * 64),
    ],
    ids=["no-files", "one-file-less", "other-manifest", "other-digest"],
)
def test_release_json_that_contradicts_itself_is_refused(store, make_repository, tmp_path, change):
    repository = make_repository("bert")
    release = publish_release(repository, store).release
    seal = store.stat(f"releases/{release.id}/release.json")
    content = json.loads(store.read_bytes(seal.name))
    change(content)
    store.write_bytes(seal.name, json.dumps(content).encode(), if_generation_match=seal.generation)
    with pytest.raises(ReleaseDamagedError, match=r"release\.json (has the content|and the manifest)"):
        fetch_release(store, release.id, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    with pytest.raises(ReleaseDamagedError, match=r"release\.json (has the content|and the manifest)"):
        check_release(store, resolve(store, release.id))
    mended = publish_release(repository, store).release
    check_release(store, resolve(store))
    assert mended.id != release.id


def test_folder_that_cannot_be_made_is_not_blamed_on_the_store(store, make_repository):
    publish_release(make_repository(), store)
    with pytest.raises(StoreError, match=r"^/proc/.*cannot be written") as caught:
        fetch_release(store, CURRENT, Path("/proc/models"))
    assert "that you can write" in caught.value.hint


def test_store_without_a_release_has_nothing_to_fetch(store, tmp_path):
    with pytest.raises(StoreError, match="there is no release under") as caught:
        fetch_release(store, CURRENT, tmp_path / "copy")
    assert "prep publish" in caught.value.hint


def test_whole_release_passes_the_check_and_each_damage_is_found(store, make_repository):
    release = publish_release(make_repository("bert"), store).release
    check_release(store, release)
    damage_object(store, f"releases/{release.id}/bert/tokenizer.json")
    remove_object(store, f"releases/{release.id}/bert/1/model.onnx")
    store.write_bytes(f"releases/{release.id}/bert/2/model.onnx", b"smuggled in")
    faults = find_faults(store, release)
    assert [fault.removeprefix(f"{release.uri}/").split(",")[0] for fault in faults] == [
        "bert/1/model.onnx is missing",
        "bert/2/model.onnx is 11 bytes",
        "bert/tokenizer.json is 2 bytes",
    ]
    with pytest.raises(ReleaseDamagedError, match=r"bert/1/model.onnx is missing, .* \(and 2 more\)") as caught:
        check_release(store, release)
    assert "publish again" in caught.value.hint


def test_object_that_was_written_again_is_found_by_its_generation(store, make_repository):
    release = publish_release(make_repository("bert"), store).release
    name = f"releases/{release.id}/bert/config.pbtxt"
    stored = store.stat(name)
    store.write_bytes(name, store.read_bytes(name), if_generation_match=stored.generation)
    check_release(store, release)
    with pytest.raises(ReleaseDamagedError, match=r"config.pbtxt was written again, as generation"):
        check_release(store, release, generations={"bert/config.pbtxt": stored.generation})


@pytest.fixture(scope="module")
def many_files(tmp_path_factory):
    """A folder of releases, of which the current one has files enough to be interrupted in them."""
    folder = tmp_path_factory.mktemp("many")
    entry_dir = folder / "repository" / "bert"
    for index in range(800):
        path = entry_dir / "1" / f"d{index % 10}" / f"f{index}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(index))
    (entry_dir / "config.pbtxt").write_text('name: "bert"\n')
    save_entry(entry_dir, key="0" * 16)
    publish_release(folder / "repository", open_store(str(folder / "store")))
    return folder / "store"


def fetch_and_signal(releases, folder, numbers, pause_s):
    """Start a fetch, and send it signals in the middle of its files."""
    into = folder / "into"
    with Prep(folder).start("fetch", releases, into / "copy") as fetch:
        deadline = time.monotonic() + 60
        while len(list(into.rglob("f*"))) < 100 and time.monotonic() < deadline and fetch.poll() is None:
            time.sleep(0.01)
        for number in numbers:
            fetch.send_signal(number)
            time.sleep(pause_s)
        errors = fetch.communicate(timeout=60)[1]
    return fetch.returncode, errors, names_in(into)


@pytest.mark.parametrize(
    ("numbers", "pause_s"),
    [([signal.SIGINT, signal.SIGTERM], 0.0), ([signal.SIGINT] * 2, 0.01), ([signal.SIGTERM] * 2, 0.04)],
)
def test_a_fetch_that_is_signalled_twice_keeps_nothing_as_it_says(many_files, tmp_path, numbers, pause_s):
    code, errors, left = fetch_and_signal(many_files, tmp_path, numbers, pause_s)
    assert (code, left) == (130, [])
    assert "interrupted: nothing half-written was kept; run the same command again" in errors
    assert "Traceback" not in errors


def test_a_third_signal_ends_a_fetch_that_says_so_and_the_next_cleans_up(many_files, tmp_path):
    # Three of one kind at once may count as one.
    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    code, errors, _ = fetch_and_signal(many_files, tmp_path, numbers, 0.0)
    assert code == 130
    assert "cleaning up after the first signal; a third one ends it at once" in errors
    assert "interrupted in the clean-up: something half-written may be left" in errors
    Prep(tmp_path).succeed("fetch", many_files, tmp_path / "into" / "copy")
    assert names_in(tmp_path / "into") == ["copy"]
