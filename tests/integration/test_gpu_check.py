"""A rehearsal of `scripts/gpu-check` on a tiny model: each step that needs no GPU, with the parts that really run."""

import json
import tarfile
from pathlib import Path

import pytest

from scripts.gpu_check import command
from scripts.gpu_check.summary import REHEARSAL
from tests.fakes.bert_checkpoint import write_checkpoint
from tests.fakes.documents import load_validator
from tests.fakes.prep_command import Prep

pytest.importorskip("tensorrt_rtx", reason="the TensorRT-RTX builder has wheels for Linux on x86-64 only")
pytestmark = pytest.mark.integration

SHORT = ("--concurrency", "1", "--seq-len", "32", "--duration-s", "0.2", "--repeats", "1")
BURSTS = ("--burst-s", "0.2", "--burst-rounds", "1")


def test_a_rehearsal_takes_every_step_but_those_of_the_gpu(tmp_path: Path):
    checkpoint, folder, build = write_checkpoint(tmp_path / "tiny"), tmp_path / "out", tmp_path / "build"
    places = ("--model", str(checkpoint), "--workspace", str(build), "--folder", str(folder))
    assert command.main(["--rehearse", *places, *SHORT, *BURSTS]) == 0
    figures = json.loads((folder / "figures.json").read_text())
    statuses = {step["name"]: step["status"] for step in figures["steps"]}
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
    for precision in ("fp16", "int8"):
        # What a real check assembles next to each other finds these engines, which it must not take for plans.
        flags = ("--runtime", "tensorrt", "--precision", precision, "--tier", "1", "--workspace", build)
        error = Prep(tmp_path).fail("assemble", "tiny", *flags, code=1)
        assert "an RTX engine is never a plan" in error["message"]
