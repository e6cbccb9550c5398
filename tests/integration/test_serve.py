"""`prep serve` in the foreground, asked by `prep client`, ended by Ctrl-C."""

import os
import shlex
import signal
import socket
from pathlib import Path

import pytest
from prep_triton.errors import SpecError
from prep_triton.run.serving import ServedRepository, find_served, render_docker_command, wait_for_end
from prep_triton.spec import ServingSpec, TargetSpec, TextSpec
from prep_triton.triton.entries.text import assemble_text_entries
from prep_triton.triton.server.process import run_triton

from scripts.benchmarks.serving_configs import assemble_entry
from scripts.benchmarks.small_artifacts import make_model
from tests.fakes.prep_command import Prep

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    entry = assemble_entry(make_model(folder / "model"), [], ServingSpec(threads=1), folder / "repo").artifact
    assemble_text_entries(entry, TextSpec(), folder / "repo")
    return folder / "repo"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def test_what_is_served_answers_the_line_to_paste_and_ends_with_ctrl_c(repository: Path):
    prep = Prep(repository.parent)
    ports = {name: free_port() for name in ("http", "grpc", "metrics")}
    flags = [word for name, port in ports.items() for word in (f"--{name}-port", str(port))]
    server = prep.start("serve", "repo", *flags)
    try:
        lines = [server.stdout.readline()]
        while lines[-1] and not lines[-1].startswith("Ctrl-C"):
            lines.append(server.stdout.readline())
        assert lines[0].startswith("ready: Triton 2."), lines
        (command,) = [line.removeprefix("try it: prep ") for line in lines if line.startswith("try it: ")]
        answered = prep.run(*shlex.split(command))
        assert answered.returncode == 0, answered.stderr
        assert "embedding of 8 values" in answered.stdout
    finally:
        os.kill(server.pid, signal.SIGINT)
        _, errors = server.communicate(timeout=60)
    assert server.returncode == 0, errors
    assert "interrupted" not in errors
    assert "Traceback" not in errors


def test_a_server_that_dies_is_a_failure(repository: Path):
    with run_triton(str(repository), entries=[]) as running:
        os.kill(running.pid, signal.SIGKILL)
        with pytest.raises(Exception, match="Triton ended by itself"):
            wait_for_end(running)


def test_the_docker_line_names_the_image_the_folder_and_the_arguments(repository: Path):
    served = find_served(str(repository))
    line = render_docker_command(served, TargetSpec(triton="25.08"))
    words = shlex.split(line)
    assert words[:3] == ["docker", "run", "--rm"]
    assert "--gpus=all" not in words
    assert f"--shm-size={256 + 2 * 128 + 1}m" in words  # tokenizer and post-processor, and a small batch of theirs
    assert f"{repository.absolute()}:/models:ro" in words
    assert words[words.index("nvcr.io/nvidia/tritonserver:25.08-py3") + 1 :] == [
        "tritonserver",
        "--model-repository=/models",
    ]
    release = ServedRepository("gs://bucket/models/releases/1", served.entries, ("--rate-limit=execution_count",))
    assert shlex.split(render_docker_command(release, None))[-2:] == [
        "--model-repository=gs://bucket/models/releases/1",
        "--rate-limit=execution_count",
    ]
    with pytest.raises(SpecError, match="a container cannot reach"):
        render_docker_command(ServedRepository("s3://bucket", (), ()), None)


def test_a_folder_that_is_none_is_a_wrong_request(repository: Path):
    assert "nowhere" in Prep(repository.parent).fail("serve", "nowhere", code=2)["message"]
