"""Several models at once, each in a process of its own, on the real export."""

import os
import signal
import threading
import time
from contextlib import nullcontext
from pathlib import Path

import pytest
from prep_triton.engine.machine import Machine
from prep_triton.errors import SourceError
from prep_triton.run.memory import MemoryBudget, estimate_memory_gib
from prep_triton.run.models import make_models
from prep_triton.run.pipeline import run_pipeline
from prep_triton.run.report import RowCollector, Silent
from prep_triton.run.resolve import RunChoices
from prep_triton.spec import PipelineModelSpec, RunSpec, build_spec
from prep_triton.workspace import Workspace

from tests.fakes.bert_checkpoint import write_checkpoint
from tests.fakes.prep_command import Prep

pytestmark = pytest.mark.integration
ONNX = {"runtime": "onnxruntime"}


def run_spec(*models: str, **more) -> RunSpec:
    request = {"models": [{"model": model, "variants": [ONNX]} for model in models], **more}
    return build_spec(RunSpec, request, where="a test")


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("models")
    return [str(write_checkpoint(folder / name)) for name in ("one", "two")]


def test_models_are_made_at_once_and_a_failing_one_does_not_stop_the_others(
    checkpoints: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    spec = run_spec(*checkpoints, str(tmp_path / "nowhere"), jobs=3)
    report = run_pipeline(spec, Workspace(Path("build")), RunChoices(verify=False))
    states = {(row.stage, row.artifact): row.state for row in report.rows}
    assert states["export", "one"] == states["export", "two"] == "made"
    assert states["assemble", "one-onnx-fp32"] == states["assemble", "two-onnx-fp32"] == "made"
    assert states["model", str(tmp_path / "nowhere")] == "failed"
    assert report.outcome == "partial"
    again = run_pipeline(run_spec(*checkpoints, jobs=2), Workspace(Path("build")), RunChoices(verify=False))
    assert again.is_unchanged


def test_all_models_failing_is_the_first_ones_error(tmp_path: Path):
    spec = run_spec(str(tmp_path / "a"), str(tmp_path / "b"), jobs=2)
    with pytest.raises(SourceError) as caught:
        run_pipeline(spec, Workspace(tmp_path / "build"), RunChoices(verify=False))
    assert str(tmp_path / "a") in caught.value.message
    assert caught.value.hint


def test_a_process_that_is_killed_fails_its_model_alone(checkpoints: list[str], tmp_path: Path):
    """What the system does where memory is short."""

    class Killer(Silent):
        def __init__(self) -> None:
            self.killed: list[int] = []

        def stage(self, label: str):
            return nullcontext(self.kill_one)

        def kill_one(self, phase: str, fraction: float | None = None) -> None:
            """When an export begins, end the first process that can be seen."""
            with lock:
                if not self.killed:
                    self.killed = [number for number, command in find_children() if "spawn_main" in command][:1]
                    os.kill(self.killed[0], signal.SIGKILL)

    lock = threading.Lock()
    results = make_models(
        RowCollector(Killer()), run_spec(*checkpoints, jobs=2), Workspace(tmp_path / "build"), Machine()
    )
    (failed,) = [result.error for result in results if result.error]
    assert "ended with status -9" in failed.message
    assert "--memory-gib" in failed.hint
    assert sorted(len(result.variants) for result in results) == [0, 1]


def test_ctrl_c_ends_every_process(checkpoints: list[str], tmp_path: Path):
    class Interrupter(Silent):
        def stage(self, label: str):
            return nullcontext(self.interrupt)

        def interrupt(self, phase: str, fraction: float | None = None) -> None:
            with lock:
                if not message:
                    message.append(phase)
                    os.kill(os.getpid(), signal.SIGINT)  # as a terminal sends it to the process that waits

    lock, message = threading.Lock(), list[str]()
    with pytest.raises(KeyboardInterrupt):
        make_models(
            RowCollector(Interrupter()), run_spec(*checkpoints, jobs=2), Workspace(tmp_path / "build"), Machine()
        )
    assert not find_children(named="spawn_main")
    assert not list((tmp_path / "build").rglob("manifest.json"))


def test_kill_minus_9_ends_every_process(checkpoints: list[str], tmp_path: Path):
    """As the system does where memory is short: no process works on without its parent."""
    models = "".join(f"  - model: {path}\n    variants: [{{runtime: onnxruntime}}]\n" for path in checkpoints)
    (tmp_path / "n.yaml").write_text(f"models:\n{models}")
    with Prep(tmp_path).start("run", "n.yaml", "--jobs", "2", "--no-verify") as started:
        deadline = time.monotonic() + 60
        while len(children := find_children(started.pid, "spawn_main")) < 2:
            assert started.poll() is None and time.monotonic() < deadline, "it never had two processes"
            time.sleep(0.02)
        started.kill()
    deadline = time.monotonic() + 4
    while any(is_running(pid) for pid, _ in children):
        assert time.monotonic() < deadline, "a process works on"
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def find_children(of: int | None = None, named: str = "") -> list[tuple[int, str]]:
    processes = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            command = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (OSError, IndexError):
            continue
        if parent == (of or os.getpid()) and named in command:
            processes.append((int(path.name), command))
    return processes


def test_jobs_wait_for_memory_and_a_large_one_runs_alone():
    budget, at_once, most = MemoryBudget(bound_gib=3.0), [], []

    def work(gib: float) -> None:
        with budget.reserve(gib):
            at_once.append(gib)
            most.append(sum(at_once))
            time.sleep(0.01)
            at_once.remove(gib)

    threads = [threading.Thread(target=work, args=(gib,)) for gib in (2.0, 1.0, 1.0, 2.0, 9.0, 1.0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(estimate for estimate in most if estimate != 9.0) <= 3.0
    assert 9.0 in most


def test_memory_is_estimated_from_the_weights(checkpoints: list[str]):
    def estimate(model: str, **variant) -> float:
        request = {"model": model, "variants": [{**ONNX, **variant}]}
        return estimate_memory_gib(build_spec(PipelineModelSpec, request, where="a test"))

    assert estimate("bert-large") > estimate("bert-base") > estimate("distilbert") > estimate("minilm") > 1.0
    assert estimate("someone/some-bert") == estimate("bert-base")
    assert estimate(checkpoints[0]) < estimate("minilm")
    int8 = {"runtime": "tensorrt", "precision": "int8", "gpus": ["t4"], "quantization": {"calibration": {"path": "a"}}}
    assert estimate("bert-base", **int8) > 3.5
