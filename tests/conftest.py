"""Fixtures that several rooms use: a real GCS server, and a small model repository."""

import os
import signal
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, settings
from prep_triton.workspace import Workspace

from scripts import with_local_gcs
from scripts.benchmarks.records import save_entry

# No property may depend on how busy the machine is: neither on the time of an example nor on that of drawing one.
settings.register_profile("local", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# The same examples on every run, and not many of them: a failure there is of the change, not of the day.
settings.register_profile("ci", settings.get_profile("local"), derandomize=True, max_examples=50)
settings.load_profile("ci" if os.environ.get("CI") else "local")


def pytest_configure() -> None:
    """Undo what a shell does to a job in the background: it, and every command that a test starts, ignores Ctrl-C."""
    for number, default in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, default)


@pytest.fixture(scope="session")
def local_gcs() -> ModuleType:
    """The module of `scripts/with_local_gcs.py`."""
    return with_local_gcs


@pytest.fixture(scope="session")
def gcs_server(local_gcs: ModuleType) -> Iterator[str]:
    """The URL of a real GCS server that keeps its buckets in memory."""
    with local_gcs.run_local_gcs() as url:
        yield url


@pytest.fixture
def gcs_bucket(gcs_server: str, local_gcs: ModuleType, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a new, empty bucket, with the environment in which google-cloud-storage and Triton find it."""
    for name, value in local_gcs.environment_for(gcs_server).items():
        if os.environ.get(name) != value:
            monkeypatch.setenv(name, value)
    bucket = f"test-{uuid.uuid4().hex}"
    local_gcs.make_bucket(gcs_server, bucket)
    return bucket


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """An empty workspace of the test's own."""
    return Workspace(tmp_path / "build")


@pytest.fixture
def make_repository(tmp_path: Path) -> Callable[..., Path]:
    """Write a model repository with one entry for each name; the content depends on `seed` alone."""

    def make(*names: str, seed: int = 0, model_bytes: int = 2000) -> Path:
        folder = tmp_path / "model_repository"
        for name in names or ("bert", "distilbert"):
            entry_dir = folder / name
            (entry_dir / "1").mkdir(parents=True, exist_ok=True)
            (entry_dir / "config.pbtxt").write_text(f'name: "{name}"\n')
            (entry_dir / "1" / "model.onnx").write_bytes(bytes([seed % 256]) * model_bytes)
            (entry_dir / "reference.npz").write_bytes(f"{name} {seed}".encode())
            (entry_dir / "tokenizer.json").write_text("{}")
            save_entry(entry_dir, key=f"{seed:016x}", tools={"onnx": "1.21"})
        (folder / "README.md").write_text("not part of a release")
        return folder

    return make
