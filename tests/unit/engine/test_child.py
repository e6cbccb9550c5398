"""The conversation with a worker, with small programs in its place."""

import errno
import os
import subprocess
import sys

import pytest
from prep_triton.engine.child import run_worker
from prep_triton.errors import EngineError

REQUEST = {"builder": "tensorrt-rtx"}


@pytest.fixture
def worker(monkeypatch):
    """Run the given program instead of the worker."""
    real = subprocess.Popen

    def install(program):
        def start(_command, **options):
            return real(
                [sys.executable, "-c", f"import json, os, sys\nrequest = json.load(sys.stdin)\n{program}"], **options
            )

        monkeypatch.setattr(subprocess, "Popen", start)

    return install


def run():
    message: list[float] = []
    return run_worker(REQUEST, on_progress=message.append), message


def test_progress_and_answer_come_through(worker):
    worker("print(json.dumps({'progress': 0.5})); print(json.dumps({'done': {'pid': request['parent_pid']}}))")
    answer, message = run()
    assert (answer, message) == ({"pid": os.getpid()}, [0.5])


def test_a_refusal_carries_the_builders_words_without_colours_and_noise(worker):
    worker(
        "sys.stderr.write('[I] starting\\n\\x1b[33m[W] Make sure input input_ids has Int64 binding.\\x1b[0m\\n"
        "\\x1b[31m[E] FP32 GEMM is not supported\\x1b[0m\\n'); print(json.dumps({'failed': 'Invalid Engine'}))"
    )
    with pytest.raises(EngineError) as caught:
        run()
    assert caught.value.message == "tensorrt-rtx failed: Invalid Engine\n  [E] FP32 GEMM is not supported"
    assert "-v" in caught.value.hint


def test_a_failure_in_the_middle_of_a_build_keeps_the_builders_words(worker):
    worker(
        "print(json.dumps({'progress': 0.4}), flush=True)\n"
        "sys.stderr.write('[E] 10: Could not find any implementation for node {ForeignNode[query...output]}\\n')\n"
        "sys.stderr.flush(); os.abort()"
    )
    message: list[float] = []
    with pytest.raises(EngineError) as caught:
        run_worker(REQUEST, on_progress=message.append)
    assert caught.value.message == (
        "tensorrt-rtx crashed: its process died of SIGABRT\n"
        "  [E] 10: Could not find any implementation for node {ForeignNode[query...output]}"
    )
    assert message == [0.4]


def test_a_crash_is_an_error_with_the_last_words(worker):
    worker("sys.stderr.write('last words\\n'); sys.stderr.flush(); os.kill(os.getpid(), 11)")
    with pytest.raises(EngineError, match=r"crashed: its process died of SIGSEGV\n  last words"):
        run()


def test_a_kill_is_told_as_lack_of_memory(worker):
    worker("os.kill(os.getpid(), 9)")
    with pytest.raises(EngineError, match="died of SIGKILL") as caught:
        run()
    assert "memory" in caught.value.hint


def test_a_silent_end_is_an_error(worker):
    worker("sys.exit(3)")
    with pytest.raises(EngineError, match="returned nothing: its process ended with exit code 3"):
        run()


def test_a_full_disk_in_the_child_is_a_full_disk_here(worker):
    worker(f"print(json.dumps({{'os_error': [{errno.ENOSPC}, 'No space left on device']}}))")
    with pytest.raises(OSError, match="No space left") as caught:
        run()
    assert caught.value.errno == errno.ENOSPC


def test_an_interrupt_ends_the_child(worker, tmp_path):
    worker(
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\n"
        "print(json.dumps({'progress': 0.1}), flush=True)\nimport time; time.sleep(60)"
    )

    def interrupt(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_worker(REQUEST, on_progress=interrupt)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
