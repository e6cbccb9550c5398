"""Folders of killed runs go with the next run, those of living ones stay."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from prep_triton.scratch import locked_folder, scratch_folder

OWNER = """
import sys, time
from prep_triton.scratch import scratch_folder
with scratch_folder(sys.argv[1]) as folder:
    (folder / "content").write_text("x")
    print(folder, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def start_owner(tmp_path, monkeypatch):
    """Start a process with a scratch folder; it returns both."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    processes = []

    def start(kind):
        command = [sys.executable, "-c", OWNER, kind]
        environment = {**os.environ, "TMPDIR": str(tmp_path)}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        processes.append(process)
        return process, Path(process.stdout.readline().strip())

    yield start
    for process in processes:
        process.kill()
        process.wait()
        process.stdout.close()


def test_the_folder_of_a_killed_owner_goes_and_that_of_a_living_one_stays(start_owner):
    living, kept = start_owner("a")
    killed, left = start_owner("a")
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert left.is_dir()
    swept: list[Path] = []
    with scratch_folder("b"):
        assert left.is_dir()  # another kind's
    with scratch_folder("a", also_remove=swept.append) as own:
        assert not left.exists()
        assert (kept / "content").is_file()
        assert own.stat().st_mode & 0o777 == 0o700
    assert swept == [left, own]
    assert not own.exists()
    assert living.poll() is None


def test_a_folder_that_is_swept_before_it_was_locked_is_made_again(tmp_path, monkeypatch):
    lock = fcntl.flock
    taken: list[Path] = []

    def lose_once(descriptor, operation):
        if not taken:
            (folder,) = tmp_path.iterdir()
            folder.rmdir()
            taken.append(folder)
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", lose_once)
    with locked_folder(tmp_path, "x-") as folder:
        assert folder.is_dir()
        assert folder not in taken


def test_what_is_no_folder_or_is_somebody_elses_stays(tmp_path, monkeypatch):
    target = tmp_path / "target"
    (target / "inner").mkdir(parents=True)
    (tmp_path / "x-link").symlink_to(target)
    (tmp_path / "x-file").write_text("")
    (tmp_path / "x-theirs").mkdir()
    (tmp_path / "y-other").mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with locked_folder(tmp_path, "x-"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["target", "x-file", "x-link", "x-theirs", "y-other"]
    monkeypatch.undo()
    with locked_folder(tmp_path, "x-"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["target", "x-file", "x-link", "y-other"]
    assert (target / "inner").is_dir()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EBADF])
def test_without_locks_age_decides(tmp_path, monkeypatch, number):
    def refuse(descriptor, operation):
        raise OSError(number, os.strerror(number))

    for name, age_s in (("x-old", 90_000), ("x-new", 60)):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (time.time() - age_s,) * 2)
    monkeypatch.setattr(fcntl, "flock", refuse)
    with locked_folder(tmp_path, "x-") as folder:
        assert {path.name for path in tmp_path.iterdir()} == {"x-new", folder.name}


def test_a_folder_that_was_moved_away_stays_where_it_is(tmp_path):
    with locked_folder(tmp_path, "x-") as folder:
        folder.replace(tmp_path / "final")
    assert [path.name for path in tmp_path.iterdir()] == ["final"]
