"""Several runs at once: locks that are waited for."""

import errno
import fcntl
import os
import re
import shutil
from pathlib import Path

import pytest
from prep_triton.errors import DiskFullError, StoreError, WorkspaceError
from prep_triton.files import hold_lock, translate_os_errors


def test_a_lock_that_another_run_holds_is_announced_and_waited_for(tmp_path: Path, caplog):
    path = tmp_path / "locks" / "tiny.lock"
    with hold_lock(path, "tiny", timeout_s=1, hint="wait"):
        with (
            pytest.raises(StoreError, match=r"another run has held tiny for over 0\.05 s") as caught,
            hold_lock(path, "tiny", timeout_s=0.05, hint="wait for it", error=StoreError),
        ):
            pass
        assert caught.value.hint == "wait for it"
    assert "another run holds tiny; waiting for it" in caplog.text
    with hold_lock(path, "tiny", timeout_s=0, hint="wait"):
        pass


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS], ids=errno.errorcode.get)
def test_a_file_system_without_locks_is_a_warning(number: int, tmp_path: Path, monkeypatch, caplog):
    monkeypatch.setattr(fcntl, "flock", _failing(number))
    ran = False
    with hold_lock(tmp_path / "locks" / "tiny.lock", "tiny", timeout_s=30, hint="wait"):
        ran = True
    assert ran
    assert f"the file system of {tmp_path}/locks has no locks" in caplog.text


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE], ids=errno.errorcode.get)
def test_a_file_system_that_fails_to_lock_is_named(number: int, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", _failing(number))
    message = f"{tmp_path} cannot be locked: {os.strerror(number)}"
    with (
        pytest.raises(WorkspaceError, match=re.escape(message)),
        hold_lock(tmp_path / "tiny.lock", "tiny", timeout_s=30, hint="wait"),
    ):
        pytest.fail("it was not locked")


def _failing(number: int):
    def flock(*_):
        raise OSError(number, os.strerror(number))

    return flock


@pytest.mark.parametrize(
    ("filename", "message"),
    [
        ("{place}/x/model.onnx", "{place} cannot be written: Input/output error"),
        ("{parent}", "{place} cannot be written: Input/output error"),
        (None, "{place} cannot be written: Input/output error"),
        ("/data/texts.jsonl", "/data/texts.jsonl cannot be read or written: Input/output error"),
    ],
)
def test_a_refusal_names_the_folder_or_a_file_elsewhere(filename: str | None, message: str, tmp_path: Path):
    place = tmp_path / "build"
    names = {"place": place, "parent": tmp_path}
    error = OSError(errno.EIO, os.strerror(errno.EIO), filename and filename.format(**names))
    with pytest.raises(WorkspaceError, match=re.escape(message.format(**names))), translate_os_errors(place):
        raise error


def test_a_copy_that_finds_no_space_is_about_the_file_that_is_written(tmp_path: Path):
    source, full = tmp_path / "source", tmp_path / "full"
    source.write_bytes(b"x")
    full.symlink_to("/dev/full")
    with pytest.raises(DiskFullError, match=re.escape(f"device of {full}")), translate_os_errors(full):
        shutil.copyfile(source, full)
