import errno
import os
import subprocess
import threading
import time

import pytest
from prep_triton.errors import DiskFullError, SpecError, StoreAccessError, StoreError
from prep_triton.publish import folder as folder_module
from prep_triton.publish.checksum import crc32c_of_bytes
from prep_triton.publish.folder import FolderStore
from prep_triton.publish.plan import plan_release
from prep_triton.publish.store import store_error_from_os


def test_crc32c_is_written_as_gcs_writes_it():
    # The check value of CRC-32C for "123456789" is e3069283 (RFC 3720, B.4 uses the same polynomial).
    assert crc32c_of_bytes(b"123456789") == "4waSgw=="


def test_folder_that_is_not_there_is_an_empty_store(tmp_path):
    store = FolderStore(tmp_path / "new")
    store.check_access()
    assert store.list_objects("") == []
    assert store.list_folders("releases/") == []
    assert store.stat("release.json") is None


def test_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="cannot be used") as caught:
        FolderStore(tmp_path / "file").check_access()
    assert "folder" in caught.value.hint
    with pytest.raises(StoreError):
        FolderStore(tmp_path / "file").write_bytes("a", b"x")


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", ".lock", "a//b", "a/../../b", ""])
def test_name_that_could_lie_elsewhere_is_refused(tmp_path, name):
    with pytest.raises(SpecError):
        FolderStore(tmp_path).write_bytes(name, b"x")
    assert list(tmp_path.iterdir()) == []


def test_failed_write_leaves_nothing(tmp_path):
    store, source = FolderStore(tmp_path / "store"), tmp_path / "source"
    source.write_bytes(b"content")

    def interrupt(count):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.upload_file("a/b", source, crc32c=crc32c_of_bytes(b"content"), on_bytes=interrupt)
    assert store.list_objects("") == []
    assert list((tmp_path / "store" / ".staging").iterdir()) == []


def test_remains_of_killed_runs_are_removed_once_they_are_old(tmp_path):
    staging = tmp_path / ".staging"
    staging.mkdir()
    (staging / "old").write_bytes(b"x")
    (staging / "new").write_bytes(b"x")
    os.utime(staging / "old", (time.time() - 7200,) * 2)
    FolderStore(tmp_path).write_bytes("a", b"x")
    assert [path.name for path in staging.iterdir()] == ["new"]


def test_generation_moves_on_when_the_clock_does_not(tmp_path, monkeypatch):
    store = FolderStore(tmp_path)
    first = store.write_bytes("pointer", b"1")
    monkeypatch.setattr(time, "time_ns", lambda: first.generation - 10**9)
    second = store.write_bytes("pointer", b"2", if_generation_match=first.generation)
    assert second.generation > first.generation


def test_store_that_another_run_holds_too_long_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_module, "LOCK_TIMEOUT_S", 0.05)
    store = FolderStore(tmp_path)
    with store._locked(), pytest.raises(StoreError, match="another run has held") as caught:
        FolderStore(tmp_path).write_bytes("a", b"x")
    assert "wait" in caught.value.hint


@pytest.mark.parametrize(
    ("err", "kind", "message", "hint"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/x"), DiskFullError, "no space is left", "free some space"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), StoreAccessError, "/x may not be used", "can write"),
        (FileNotFoundError(errno.ENOENT, "No such file", "/x"), StoreError, "there is no /x", "prep releases"),
        (OSError(errno.EIO, "Input/output error"), StoreError, "place cannot be used: Input/output error", "can write"),
    ],
)
def test_what_the_file_system_refuses_becomes_an_error_with_a_remedy(err, kind, message, hint):
    translated = store_error_from_os(err, "place")
    assert type(translated) is kind
    assert message in translated.message
    assert hint in translated.hint


def test_writers_at_once_do_not_trip_over_each_others_staging_files(tmp_path):
    """Each run of prep opens a store of its own, and looks for remains while others place their files."""
    message: list[Exception] = []

    def write(writer: int) -> None:
        for number in range(60):
            try:
                FolderStore(tmp_path).write_bytes(f"a/{writer}-{number}", b"x")
            except Exception as err:
                message.append(err)

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert message == []
    assert len(FolderStore(tmp_path).list_objects("a/")) == 240


def test_a_folder_in_the_place_of_an_object_is_named(tmp_path):
    (tmp_path / "current.json").mkdir()
    with pytest.raises(StoreError, match=r"current\.json cannot be used: it is a folder") as caught:
        FolderStore(tmp_path).stat("current.json")
    subprocess.run(caught.value.hint.partition(": ")[2], shell=True, check=True)
    assert FolderStore(tmp_path).stat("current.json") is None


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_copy_that_fails_for_room_is_about_the_file_that_is_written(number):
    error = store_error_from_os(OSError(number, "no room", "/store/model.onnx", None, "/here/model.onnx"), "")
    assert "/here/model.onnx" in error.message
    assert "/store" not in error.message


@pytest.mark.parametrize("inside", [".", "releases"])
def test_a_store_within_the_repository_is_refused(make_repository, inside):
    repository = make_repository("bert")
    before = sorted(repository.rglob("*"))
    with pytest.raises(SpecError, match="lies within the repository"):
        plan_release(repository, FolderStore((repository / inside).absolute()))
    assert sorted(repository.rglob("*")) == before
