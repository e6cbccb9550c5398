"""Releases on a real GCS server and in a folder: whole, immutable, and only ever visible when finished."""

import json
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta

import pytest
from prep_triton.errors import BucketMissingError, ReleaseMissingError, RepositoryError, StoreError
from prep_triton.publish import plan as plan_module
from prep_triton.publish.catalog import list_releases, resolve
from prep_triton.publish.fetch import fetch_reference_files
from prep_triton.publish.plan import plan_release
from prep_triton.publish.release import publish_release
from prep_triton.publish.uri import open_store

from tests.fakes.releases import ID
from tests.fakes.stores import FailingStore, damage_object, lose_answers

pytestmark = pytest.mark.integration


def test_release_is_whole_and_describes_itself(store, make_repository):
    published = publish_release(make_repository("bert", "distilbert"), store)
    release = published.release
    assert published.created
    assert published.uri == release.uri == f"{store.uri}/releases/{release.id}"
    assert published.uploaded_files == len(release.files) == 10
    assert published.uploaded_bytes == release.size
    assert [(entry.name, entry.precision, entry.tools) for entry in release.entries] == [
        ("bert", "fp32", {"onnx": "1.21"}),
        ("distilbert", "fp32", {"onnx": "1.21"}),
    ]
    folder = f"releases/{release.id}/"
    listed = {stored.name.removeprefix(folder): stored for stored in store.list_objects(folder)}
    assert listed.keys() == {*release.files, "release.json"}
    assert all(listed[name].crc32c == file.crc32c for name, file in release.files.items())
    assert json.loads(store.read_bytes(f"{folder}release.json"))["schema"] == 2
    assert resolve(store, release.id) == release


def test_publishing_the_same_again_uploads_nothing(store, make_repository):
    first = publish_release(make_repository(), store)
    again = publish_release(make_repository(), store)  # written anew, with other times
    assert not again.created
    assert (again.uploaded_bytes, again.uploaded_files) == (0, 0)
    assert again.release == first.release
    assert list_releases(store) == [first.release]


@pytest.mark.parametrize("is_deleted", [True, False], ids=["deleted", "altered"])
def test_release_that_lost_an_object_is_made_anew_under_a_new_id(store, make_repository, is_deleted):
    repository = make_repository()
    first = publish_release(repository, store).release
    name = f"releases/{first.id}/bert/config.pbtxt"
    if is_deleted:
        stored = store.stat(name)
        store.delete_object(name, if_generation_match=stored.generation)
    else:
        damage_object(store, name)
    again = publish_release(repository, store)
    assert again.created
    assert again.release.id > first.id
    assert again.release.content_digest == first.content_digest
    assert again.uploaded_files == 1  # the rest is copied from the damaged release
    assert resolve(store) == again.release
    listed = {stored.name: stored.crc32c for stored in store.list_objects(f"releases/{again.release.id}/")}
    assert listed[name.replace(first.id, again.release.id)] == first.files["bert/config.pbtxt"].crc32c
    assert listed.keys() - {f"releases/{again.release.id}/{name}" for name in first.files} == {
        f"releases/{again.release.id}/release.json"
    }
    assert not publish_release(repository, store).created


def test_entry_of_the_current_release_that_lost_a_file_is_not_kept(store, make_repository, caplog):
    first = publish_release(make_repository("bert", "distilbert"), store).release
    repository = make_repository("bert", seed=2)
    assert plan_release(repository, store, entries=["bert"], kept=["distilbert"]).kept == ("distilbert",)
    stored = store.stat(f"releases/{first.id}/distilbert/config.pbtxt")
    store.delete_object(stored.name, if_generation_match=stored.generation)
    assert plan_release(repository, store, entries=["bert"], kept=["distilbert"]).kept == ()
    assert "distilbert of the current release is not kept" in caplog.text


def test_new_content_is_a_new_release_and_the_newest_comes_first(store, make_repository):
    releases = [publish_release(make_repository(seed=seed), store).release for seed in (1, 2, 1)]
    assert list_releases(store) == releases[::-1]
    assert resolve(store) == releases[2]
    assert len({release.id for release in releases}) == 3


def test_new_release_is_the_newest_even_when_the_clock_went_back(store, make_repository, monkeypatch):
    class Clock(datetime):
        moment = datetime(2030, 1, 1, tzinfo=UTC)

        @classmethod
        def now(cls, tz=None):
            return cls.moment

    monkeypatch.setattr(plan_module, "datetime", Clock)
    publish_release(make_repository(seed=1), store)
    Clock.moment -= timedelta(days=1)
    second = publish_release(make_repository(seed=2), store).release
    assert second.id.startswith("20300101T000001Z-")
    assert second.created_at == Clock.moment
    assert resolve(store) == second


def test_named_entries_alone_are_published(store, make_repository):
    release = publish_release(make_repository("bert", "distilbert"), store, entries=["bert"]).release
    assert {name.partition("/")[0] for name in release.files} == {"bert"}


def test_plan_says_what_would_be_published_and_writes_nothing(store, make_repository):
    folder = make_repository()
    plan = plan_release(folder, store)
    assert store.list_objects("") == []
    assert plan.release.files == publish_release(folder, store).release.files
    assert plan.release.uri.startswith(f"{store.uri}/releases/")


def test_progress_ends_at_the_whole(store, make_repository):
    heard = {}
    publish_release(make_repository(), store, progress=lambda phase, fraction=None: heard.update({phase: fraction}))
    assert heard == {"checking files": 1.0, "uploading 10 files": 1.0, "checking the release": None}


def test_upload_that_breaks_off_is_no_release_and_is_taken_up_again(store, make_repository):
    folder = make_repository("bert", "distilbert")
    with pytest.raises(StoreError, match="the network is gone"):
        publish_release(folder, FailingStore(store, fail_at=6))
    assert list_releases(store) == []
    with pytest.raises(ReleaseMissingError, match="there is no release under"):
        resolve(store)
    left = {stored.name for stored in store.list_objects("")}
    assert left
    published = publish_release(folder, store)
    assert published.created
    assert 0 < published.uploaded_files == 10 - len(left)
    assert len(store.list_folders("releases/")) == 1
    assert list_releases(store) == [published.release]


def test_remains_of_other_content_are_left_alone(store, make_repository):
    with pytest.raises(StoreError):
        publish_release(make_repository(seed=1), FailingStore(store, fail_at=3))
    published = publish_release(make_repository(seed=2), store)
    assert published.uploaded_files == 10
    assert list_releases(store) == [published.release]


def test_remains_older_than_the_newest_release_are_not_taken_up(store, make_repository):
    with pytest.raises(StoreError):
        publish_release(make_repository(seed=1), FailingStore(store, fail_at=3))
    publish_release(make_repository(seed=2), store)
    third = publish_release(make_repository(seed=1), store)
    assert resolve(store) == third.release


def test_damaged_object_keeps_the_release_from_being_made(store, make_repository):
    folder = make_repository("bert")
    with pytest.raises(StoreError, match=r"bert/1/model.onnx is 2000 bytes, crc32c .* expected 2000 bytes") as caught:
        publish_release(folder, FailingStore(store, damaged="model.onnx"))
    assert "publish again" in caught.value.hint
    assert list_releases(store) == []
    published = publish_release(folder, store)  # under a new id: the damaged remains are not trusted
    assert published.uploaded_files == 5
    assert list_releases(store) == [published.release]


def test_file_changed_without_a_trace_is_refused_before_anything_is_uploaded(store, make_repository):
    import os

    folder = make_repository("bert")
    model = folder / "bert" / "1" / "model.onnx"
    times = model.stat().st_mtime_ns
    model.write_bytes(b"\xff" * 2000)
    os.utime(model, ns=(times, times))
    with pytest.raises(RepositoryError, match=r"model.onnx has sha256 .* it was changed") as caught:
        publish_release(folder, store)
    assert "prep assemble" in caught.value.hint
    assert store.list_objects("") == []


KILLED = """
import sys, time
from pathlib import Path
from prep_triton.publish.release import publish_release
from prep_triton.publish.uri import open_store

def stop_halfway(phase, fraction=None):
    if phase.startswith("uploading") and fraction > float(sys.argv[3]):
        print("halfway", flush=True)
        time.sleep(600)

publish_release(Path(sys.argv[1]), open_store(sys.argv[2]), progress=stop_halfway)
"""


@pytest.mark.parametrize("share", ["0", "0.5", "0.99"])
def test_killed_publisher_leaves_no_release_and_a_rerun_completes_it(store, make_repository, share):
    folder = make_repository("bert", "distilbert", "minilm", model_bytes=3 << 20)
    command = [sys.executable, "-c", KILLED, str(folder), store.uri, share]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "halfway\n"
        child.kill()
    assert list_releases(store) == []
    published = publish_release(folder, store)
    assert published.created
    assert list_releases(store) == [published.release]
    objects = {stored.name.partition(f"{published.release.id}/")[2]: stored for stored in store.list_objects("")}
    assert all(objects[name].crc32c == file.crc32c for name, file in published.release.files.items())


def test_publishers_of_the_same_content_at_once_make_whole_releases(store, make_repository):
    folder, published = make_repository("bert", "distilbert"), []
    threads = [
        threading.Thread(target=lambda: published.append(publish_release(folder, open_store(store.uri))))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(published) == 4
    assert {release.id for release in list_releases(store)} == {result.release.id for result in published}
    assert sum(result.created for result in published) == len({result.release.id for result in published})


def test_own_release_json_whose_answer_was_lost_is_recognised(store, make_repository):
    published = publish_release(make_repository("bert"), lose_answers(store))
    assert published.created
    assert list_releases(store) == [published.release]


def test_missing_release_is_an_error(store):
    with pytest.raises(StoreError, match=f"has no release {ID}") as caught:
        resolve(store, ID)
    assert "prep releases" in caught.value.hint


def test_what_is_not_a_release_is_not_listed(store, make_repository):
    release = publish_release(make_repository(), store).release
    store.write_bytes("releases/notes/release.json", b"{}")
    store.write_bytes("releases/20990101T000000Z-0123456789ab/bert/config.pbtxt", b"half-uploaded")
    assert list_releases(store) == [release]


def test_release_of_a_newer_prep_stops_both_listing_and_publishing(store, make_repository):
    store.write_bytes("releases/20990101T000000Z-0123456789ab/release.json", b'{"schema": 3}')
    for act in (lambda: list_releases(store), lambda: publish_release(make_repository(), store)):
        with pytest.raises(StoreError, match="made by a newer prep"):
            act()


def test_verifier_gets_everything_but_the_model_binaries(store, make_repository, tmp_path):
    release = publish_release(make_repository("bert"), store).release
    folder = fetch_reference_files(store, release, tmp_path / "fetched")
    assert folder == tmp_path / "fetched"
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()) == [
        "bert/config.pbtxt",
        "bert/manifest.json",
        "bert/reference.npz",
        "bert/tokenizer.json",
    ]
    original = tmp_path / "model_repository" / "bert" / "reference.npz"
    assert (folder / "bert" / "reference.npz").read_bytes() == original.read_bytes()


def test_fetching_a_damaged_file_is_refused_and_leaves_no_file(store, make_repository, tmp_path):
    release = publish_release(make_repository("bert"), store).release
    damage_object(store, f"releases/{release.id}/bert/reference.npz")
    with pytest.raises(StoreError, match=r"reference.npz is not what its release says") as caught:
        fetch_reference_files(store, release, tmp_path / "fetched")
    assert "publish again" in caught.value.hint
    assert not list((tmp_path / "fetched").rglob("*reference.npz*"))


def test_missing_bucket_is_refused_before_anything_is_digested(gcs_bucket, make_repository):
    heard = []
    with pytest.raises(BucketMissingError):
        publish_release(
            make_repository(),
            open_store(f"gs://{gcs_bucket}-not"),
            progress=lambda phase, fraction=None: heard.append(phase),
        )
    assert heard == []
