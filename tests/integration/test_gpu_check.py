"""A rehearsal of `scripts/gpu-check` on a tiny model: each step that needs no GPU, with the parts that really run."""

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from prep_triton.artifact import Engine, OnnxModel, RepositoryEntry
from prep_triton.gpus import resolve_gpu
from prep_triton.manifest import load_artifact
from prep_triton.workspace import Workspace

from scripts.gpu_check import command, engines, serving
from scripts.gpu_check.summary import REHEARSAL
from tests.fakes import gpu_node
from tests.fakes.bert_checkpoint import write_checkpoint
from tests.fakes.documents import load_validator

pytest.importorskip("tensorrt_rtx", reason="the TensorRT-RTX builder has wheels for Linux on x86-64 only")
pytestmark = pytest.mark.integration

SHORT = ("--concurrency", "1", "--seq-len", "32", "--duration-s", "0.2", "--repeats", "1")
BURSTS = ("--burst-s", "0.2", "--burst-rounds", "1")


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """A model and a workspace, in which the second check finds the graphs of the first."""
    room = tmp_path_factory.mktemp("checked")
    return ("--model", str(write_checkpoint(room / "tiny")), "--workspace", str(room / "build"))


def read_statuses(folder: Path) -> dict[str, str]:
    return {step["name"]: step["status"] for step in json.loads((folder / "figures.json").read_text())["steps"]}


def test_a_rehearsal_takes_every_step_but_those_of_the_gpu(tmp_path: Path, places: tuple[str, ...]):
    folder = tmp_path / "out"
    assert command.main(["--rehearse", *places, "--folder", str(folder), *SHORT, *BURSTS]) == 0
    figures = json.loads((folder / "figures.json").read_text())
    statuses = read_statuses(folder)
    assert {name for name, status in statuses.items() if status == "skipped"} == {"latency"}
    assert {name for name, status in statuses.items() if status == "done"} == {
        *("machine", "export", "convert", "report", "archive")
    }
    assert set(statuses.values()) == {"done", "rehearsed", "skipped"}
    assert [engine["engine"] for engine in figures["engines"]] == ["tiny-fp16-rtx-sm75", "tiny-int8-rtx-sm75"]
    assert all(engine["min_cosine"] > 0.9 and not engine["latencies_ms"] for engine in figures["engines"])
    with tarfile.open(folder / "gpu-check.tar.gz") as archive:
        names = {name.removeprefix("gpu-check/") for name in archive.getnames()}
        summary = archive.extractfile("gpu-check/summary.md")
        assert summary is not None
        assert REHEARSAL in summary.read().decode().split("\n\n")[1]
    assert names >= {"sweep.json", "bursts.json", "report.html", "figures.json", "logs/verify.txt", "nvidia-smi.txt"}
    sweep = json.loads((folder / "sweep.json").read_text())
    load_validator("bench").validate(sweep)
    assert {point["entry"] for point in sweep["points"]} == {"tiny-onnxruntime-fp32", "tiny-openvino-bf16"}


def test_a_real_check_assembles_the_plans_that_it_built(
    tmp_path: Path, places: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
):
    """With the GPU's own part played: who finds it, the builder, what executes. And no server that could load plans."""
    folder, workspace = tmp_path / "out", Workspace(Path(places[-1]))

    def answer(engine: Engine, feeds: list[dict[str, Any]]) -> list[dict[str, Any]]:
        graphs = workspace.list_current("precision", OnnxModel)
        (graph,) = [graph for graph in graphs if graph.key == engine.inputs["onnx"]]
        return [engines.run_graph(graph, feed) for feed in feeds]

    gpu_node.stand_on(resolve_gpu("t4"), monkeypatch.setattr)
    monkeypatch.setattr(command, "find_problem", lambda _: None)
    monkeypatch.setattr(command, "find_builder_problems", lambda: {"tensorrt": None, "tensorrt-rtx": None})
    monkeypatch.setattr(engines, "run_engine", answer)
    monkeypatch.setattr(engines, "measure_latencies_ms", lambda built, shapes: [[0.5] * len(shapes) for _ in built])
    for module in (command, serving):
        monkeypatch.setattr(module, "find_tritonserver", lambda: None)
    assert command.main([*places, "--folder", str(folder), *SHORT, *BURSTS]) == 3
    statuses = read_statuses(folder)
    assert {name for name, status in statuses.items() if status == "skipped"} == {"verify", "sweep", "bursts", "report"}
    assert {status for name, status in statuses.items() if name not in ("verify", "sweep", "bursts", "report")} == {
        "done"
    }
    for precision in ("fp16", "int8"):
        entry = load_artifact(folder / "model_repository" / f"tiny-trt-{precision}", RepositoryEntry)
        assert entry is not None
        assert (entry.runtime, entry.precision, entry.spec["serving"]["tier"]) == ("tensorrt", precision, 1)
    assert "rehears" not in (folder / "summary.md").read_text().lower()
