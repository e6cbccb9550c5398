"""The arguments and the environment of a Deployment, given to a real Triton: it gets ready, and ends as it is told."""

import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from prep_triton.deploy.lifecycle import EXIT_TIMEOUT_S
from prep_triton.deploy.request import DeploymentSpec
from prep_triton.publish.release import publish_release
from prep_triton.publish.uri import open_store
from prep_triton.run.deployment import load_served_release, plan_deployment
from prep_triton.spec import ServingSpec, TextSpec
from prep_triton.triton.entries.text import assemble_text_entries
from prep_triton.triton.server.environment import server_environment
from prep_triton.triton.server.installation import prepare_installation
from prep_triton.triton.server.ports import FREE_PORTS, HOST, choose_ports

from scripts.benchmarks.serving_configs import assemble_entry
from scripts.benchmarks.small_artifacts import make_model

pytestmark = pytest.mark.integration

READY_S = 60


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with its tokenizer, post-processor and ensemble."""
    folder = tmp_path_factory.mktemp("served")
    entry = assemble_entry(make_model(folder / "model"), [], ServingSpec(threads=1), folder / "repo").artifact
    assemble_text_entries(entry, TextSpec(), folder / "repo")
    return folder / "repo"


@pytest.fixture
def uri(repository: Path, gcs_bucket: str) -> str:
    return str(publish_release(repository, open_store(f"gs://{gcs_bucket}/models"), target=None).uri)


def container_of(uri: str, **choices: Any) -> dict[str, Any]:
    base = plan_deployment(uri, DeploymentSpec(**choices))
    (container,) = yaml.safe_load(base.files["deployment-cpu.yaml"])["spec"]["template"]["spec"]["containers"]
    return container


@contextmanager
def run_container(container: dict[str, Any], folder: Path, mounts: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Start a container's process on this machine, on free ports, with folders of it in the place of mounts."""
    folder.mkdir(exist_ok=True)
    prefix = f"prep-test-{os.getpid()}-{folder.name}-"
    installation = prepare_installation(folder, shm_prefix=prefix)
    program, *arguments = container["args"]
    assert program == installation.program_path.name
    environment = {variable["name"]: variable["value"] for variable in container["env"]}
    for inside, outside in mounts.items():
        arguments = [argument.replace(f"={inside}", f"={outside}") for argument in arguments]
        environment = {name: outside if value == inside else value for name, value in environment.items()}
    ports = [f"--{name}-port={port}" for name, port in choose_ports(FREE_PORTS).items()]
    with (folder / "log").open("wb") as log:
        started = subprocess.Popen(
            [str(installation.program_path), *arguments, *installation.arguments, *ports, f"--http-address={HOST}"],
            env={**server_environment(installation, "gs://", folder), **environment},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_until_ready(next(port for port in ports if port.startswith("--http")).partition("=")[2], started, folder)
        yield started
    finally:
        with suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)  # the Python backend's processes too
        started.wait()
        for leftover in Path("/dev/shm").glob(f"{prefix}*"):
            leftover.unlink(missing_ok=True)


def wait_until_ready(port: str, started: subprocess.Popen[bytes], folder: Path) -> None:
    """Ask what the probes ask."""
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline and started.poll() is None:
        try:
            with urllib.request.urlopen(f"http://{HOST}:{port}/v2/health/ready") as answer:
                assert answer.status == 200
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    pytest.fail((folder / "log").read_text(errors="replace")[-3000:])


def measure(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_triton_copies_the_release_once_and_again_beside_what_a_killed_container_left(uri: str, tmp_path: Path):
    container = container_of(uri)
    copies = tmp_path / "models"
    copies.mkdir()
    # A manifest lies beside an entry's files, and Triton copies it with them.
    least = load_served_release(uri).size_bytes
    for number in (1, 2):
        with run_container(container, tmp_path / f"server-{number}", {"/models": str(copies)}) as started:
            assert number * least <= measure(copies) < number * least + (1 << 20)
            if number == 2:
                started.terminate()
                assert started.wait(EXIT_TIMEOUT_S) == 0


def test_a_mounted_release_is_served_from_where_it_is(repository: Path, uri: str, tmp_path: Path):
    release = Path(str(publish_release(repository, open_store(str(tmp_path / "store")), target=None).uri))
    container = container_of(uri, model_loading="fuse")
    (mount,) = (mount for mount in container["volumeMounts"] if mount["name"] == "models")
    for path in (release, *release.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)  # what the mount's options say
    try:
        with run_container(container, tmp_path / "server", {mount["mountPath"]: str(release)}) as started:
            started.terminate()
            assert started.wait(EXIT_TIMEOUT_S) == 0
    finally:
        for path in (release, *release.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
