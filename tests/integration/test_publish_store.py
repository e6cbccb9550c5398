"""One contract for every store: what holds for a bucket holds for a folder."""

import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from prep_triton.errors import BucketMissingError, PreconditionError, SpecError, StoreError
from prep_triton.publish.checksum import crc32c_of_bytes, crc32c_of_file
from prep_triton.publish.store import READER_PERMISSIONS, WRITER_PERMISSIONS
from prep_triton.publish.uri import open_store

pytestmark = pytest.mark.integration


@pytest.fixture(params=["folder", "gcs", "gcs-without-prefix"])
def store(request, tmp_path):
    if request.param == "folder":
        return open_store(str(tmp_path / "store"))
    prefix = "/models/bert" if request.param == "gcs" else ""
    return open_store(f"gs://{request.getfixturevalue('gcs_bucket')}{prefix}")


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source"
    path.write_bytes(b"content")
    return path


@pytest.fixture
def large_source(tmp_path):
    path = tmp_path / "large"
    path.write_bytes(os.urandom((9 << 20) + 7))  # above what the GCS library sends in one request
    return path


def test_object_is_read_back_as_it_was_written(store):
    written = store.write_bytes("a/b.json", b"content")
    assert store.read_bytes("a/b.json") == b"content"
    assert store.stat("a/b.json") == written
    assert (written.name, written.size, written.crc32c) == ("a/b.json", 7, crc32c_of_bytes(b"content"))


@pytest.mark.parametrize("which", ["source", "large_source"])
def test_file_is_uploaded_and_downloaded_whole(store, which, request, tmp_path):
    path = request.getfixturevalue(which)
    counted: list[int] = []
    written = store.upload_file("a/file", path, crc32c=crc32c_of_file(path), on_bytes=counted.append)
    store.download_file("a/file", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == path.read_bytes()
    assert written.size == sum(counted) == path.stat().st_size


def test_empty_file_is_an_object(store, tmp_path):
    (tmp_path / "empty").touch()
    assert store.upload_file("empty", tmp_path / "empty", crc32c="AAAAAA==").size == 0
    assert store.read_bytes("empty") == b""


@pytest.mark.parametrize("which", ["source", "large_source"])
def test_create_only_upload_is_refused_the_second_time(store, which, request):
    path = request.getfixturevalue(which)
    first = store.upload_file("a", path, crc32c=crc32c_of_file(path))
    path.write_bytes(path.read_bytes()[::-1])
    with pytest.raises(PreconditionError) as caught:
        store.upload_file("a", path, crc32c=crc32c_of_file(path))
    assert "another run wrote it" in caught.value.hint
    assert store.stat("a") == first


def test_write_replaces_only_the_generation_it_names(store):
    first = store.write_bytes("pointer", b"1")
    second = store.write_bytes("pointer", b"2", if_generation_match=first.generation)
    assert second.generation != first.generation
    with pytest.raises(PreconditionError):
        store.write_bytes("pointer", b"3", if_generation_match=first.generation)
    with pytest.raises(PreconditionError):
        store.write_bytes("elsewhere", b"3", if_generation_match=first.generation)
    assert store.read_bytes("pointer") == b"2"


def test_of_many_writers_at_once_one_wins(store):
    store.check_access()

    def write(number):
        try:
            store.write_bytes("pointer", str(number).encode())
        except PreconditionError:
            return None
        return str(number).encode()

    with ThreadPoolExecutor(8) as pool:
        winners = [won for won in pool.map(write, range(16)) if won is not None]
    assert winners == [store.read_bytes("pointer")]


def test_upload_of_a_file_that_is_not_what_it_was_is_refused(store, source):
    known = crc32c_of_file(source)
    source.write_bytes(b"changed")
    with pytest.raises(StoreError, match="the file changed on its way") as caught:
        store.upload_file("a", source, crc32c=known)
    assert "publish again" in caught.value.hint


def test_listing_names_what_is_below_a_prefix_and_only_that(store):
    for name in ("b/2", "b/1", "b/c/3", "ba/4", "a"):
        store.write_bytes(name, name.encode())
    listed = store.list_objects("b/")
    assert [stored.name for stored in listed] == ["b/1", "b/2", "b/c/3"]
    assert listed == [store.stat(stored.name) for stored in listed]
    assert [stored.name for stored in store.list_objects("")] == ["a", "b/1", "b/2", "b/c/3", "ba/4"]
    assert store.list_folders("b/") == ["c"]
    assert store.list_folders("nothing/") == []


def test_listing_is_complete_beyond_one_page(store):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: store.write_bytes(f"many/{number:04}/x", b""), range(300)))
    assert len(store.list_objects("many/")) == len(store.list_folders("many/")) == 300


def test_missing_object_is_an_error(store, tmp_path):
    assert store.stat("nothing") is None
    with pytest.raises(StoreError, match=r"there is no .*nothing") as caught:
        store.read_bytes("nothing")
    assert "prep releases" in caught.value.hint
    with pytest.raises(StoreError, match=r"there is no .*nothing"):
        store.download_file("nothing", tmp_path / "copy")


def test_missing_file_is_an_error(store, tmp_path):
    with pytest.raises(StoreError, match=r"there is no .*gone"):
        store.upload_file("a", tmp_path / "gone", crc32c="AAAAAA==")
    assert store.list_objects("") == []


@pytest.mark.parametrize("name", ["../a", "a//b", "-a", ".a", "a b", "é"])
def test_name_that_is_not_allowed_is_refused(store, name):
    with pytest.raises(SpecError):
        store.write_bytes(name, b"x")


def test_store_in_a_missing_bucket_is_an_error(gcs_bucket):
    missing = open_store(f"gs://{gcs_bucket}-not/models")
    with pytest.raises(BucketMissingError, match=f"there is no bucket gs://{gcs_bucket}-not") as caught:
        missing.check_access()
    assert "gcloud storage buckets create" in caught.value.hint
    with pytest.raises(BucketMissingError):
        missing.write_bytes("a", b"x")


def test_copy_holds_what_its_source_holds(store, large_source):
    source = store.upload_file("a/b", large_source, crc32c=crc32c_of_file(large_source))
    copied = store.copy_object(source, "c/d")
    assert (copied.name, copied.size, copied.crc32c) == ("c/d", source.size, source.crc32c)
    assert store.stat("c/d") == copied
    assert store.stat("a/b") == source


def test_copy_of_a_source_that_is_gone_or_another_one_is_none(store):
    source = store.write_bytes("a", b"1")
    changed = store.write_bytes("a", b"2", if_generation_match=source.generation)
    assert store.copy_object(source, "b") is None
    store.delete_object("a", if_generation_match=changed.generation)
    assert store.copy_object(changed, "b") is None
    assert store.list_objects("") == []


def test_copy_is_refused_where_there_is_an_object_already(store):
    source, target = store.write_bytes("a", b"1"), store.write_bytes("b", b"2")
    with pytest.raises(PreconditionError):
        store.copy_object(source, "b")
    assert store.copy_object(source, "b", if_generation_match=target.generation).generation != target.generation
    assert store.read_bytes("b") == b"1"


def test_deletion_takes_only_the_generation_it_names(store):
    first = store.write_bytes("a/b/c", b"1")
    second = store.write_bytes("a/b/c", b"2", if_generation_match=first.generation)
    with pytest.raises(PreconditionError):
        store.delete_object("a/b/c", if_generation_match=first.generation)
    assert store.read_bytes("a/b/c") == b"2"
    assert store.delete_object("a/b/c", if_generation_match=second.generation)
    assert store.stat("a/b/c") is None
    assert store.list_folders("") == []
    assert not store.delete_object("a/b/c", if_generation_match=second.generation)


def test_deletion_leaves_the_neighbours(store):
    gone, _ = store.write_bytes("a/b/c", b"1"), store.write_bytes("a/d", b"2")
    store.delete_object("a/b/c", if_generation_match=gone.generation)
    assert [stored.name for stored in store.list_objects("")] == ["a/d"]


def test_objects_say_when_they_were_written(store):
    first = store.write_bytes("a", b"1")
    second = store.write_bytes("a", b"2", if_generation_match=first.generation)
    assert first.updated_at.tzinfo is not None
    assert first.updated_at <= second.updated_at <= datetime.now(UTC) + timedelta(seconds=5)


def test_permissions_are_all_there_or_not_known(store):
    granted = store.find_permissions()
    assert granted is None or granted >= {*WRITER_PERMISSIONS, *READER_PERMISSIONS}


def test_objects_may_be_listed_while_others_are_written_and_deleted(store):
    def come_and_go(writer):
        own = open_store(store.uri)
        for number in range(10):
            stored = own.write_bytes(f"a/{writer}/{number}/x", b"x")
            own.delete_object(stored.name, if_generation_match=stored.generation)

    with ThreadPoolExecutor(4) as pool:
        writers = [pool.submit(come_and_go, number) for number in range(3)]
        while not all(writer.done() for writer in writers):
            store.list_objects("")
            store.list_folders("a/")
            store.stat("a/1/1/x")
        for writer in writers:
            writer.result()
    assert store.list_objects("") == []
