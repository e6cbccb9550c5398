"""What of a pipeline file a machine can measure; entries are assembled, no server runs."""

from pathlib import Path

import pytest
from prep_triton.errors import PrepError
from prep_triton.run import bench_target
from prep_triton.run.bench_target import find_target
from prep_triton.spec import ServingSpec, TextSpec
from prep_triton.triton.entries.text import assemble_text_entries

from scripts.benchmarks.serving_configs import assemble_entry
from scripts.benchmarks.small_artifacts import make_model

FILE = """
repository: {repository}
models:
  - model: tiny
    variants:
      - {{runtime: onnxruntime, name: tiny-onnx-cpu, text: true}}
      - {{runtime: onnxruntime, name: tiny-onnx-gpu, serving: {{instance_kind: gpu}}}}
      - {{runtime: onnxruntime, precision: fp16}}
      - {{runtime: tensorrt, precision: fp16, gpus: [t4, l4]}}
      - {{runtime: tensorrt, precision: fp16, builder: tensorrt-rtx, gpus: [l4]}}
"""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the first two variants, and an entry of another file."""
    folder = tmp_path_factory.mktemp("target")
    model = make_model(folder / "model")
    cpu = assemble_entry(model, [], ServingSpec(), folder / "repo", name="tiny-onnx-cpu")
    assemble_text_entries(cpu.artifact, TextSpec(), folder / "repo")
    assemble_entry(model, [], ServingSpec(instance_kind="gpu"), folder / "repo", name="tiny-onnx-gpu")
    assemble_entry(model, [], ServingSpec(), folder / "repo", name="other")
    return folder / "repo"


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_target, "find_present_gpus", lambda: ())


def write_file(folder: Path, repository: Path, text: str = FILE) -> str:
    path = folder / "my file.yaml"
    path.write_text(text.format(repository=repository))
    return str(path)


def fail(*arguments: str | None) -> PrepError:
    with pytest.raises(PrepError) as caught:
        find_target(*arguments)
    return caught.value


@pytest.mark.usefixtures("no_gpu")
def test_what_needs_a_gpu_or_is_not_assembled_is_a_row(repository: Path, tmp_path: Path):
    file = write_file(tmp_path, repository)
    target = find_target(file, None, None)
    assert {entry.name for entry in target.served.entries} == {
        "tiny-onnx-cpu",
        "tiny-onnx-cpu-tokenizer",
        "tiny-onnx-cpu-postprocessor",
        "tiny-onnx-cpu-text",
    }
    rows = target.rows_without(["tiny-onnx-cpu-text"], {}, "")
    assert [(row.entry, row.model, row.precision, row.runtime, row.reason) for row in rows] == [
        ("tiny-onnx-gpu", "tiny", "fp32", "onnxruntime", "needs an NVIDIA GPU"),
        ("tiny-onnx-fp16", "tiny", "fp16", "onnxruntime", f"not assembled: prep run '{file}'"),
        ("tiny-trt-fp16", "tiny", "fp16", "tensorrt", "needs an NVIDIA GPU: its plans are built on t4 or l4"),
        ("tiny (tensorrt-rtx)", "tiny", "fp16", "tensorrt", "TensorRT-RTX engines, which no Triton backend loads"),
    ]
    ended = target.rows_without([], {"tiny-onnx-cpu": "no\nbackend"}, "ended before")
    assert ended[0].reason == "no backend"
    assert target.rows_without([], {}, "ended before")[0].reason == "ended before"
    target.check_entries(["tiny-onnx-cpu", "tiny-onnx-cpu-text", "unknown"])
    with pytest.raises(PrepError, match="tiny-onnx-gpu is not measured here: needs an NVIDIA GPU"):
        target.check_entries(["tiny-onnx-gpu"])


def test_a_gpu_serves_more(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bench_target, "find_present_gpus", lambda: ("a GPU",))
    file = write_file(tmp_path, repository)
    target = find_target(file, None, None)
    assert "tiny-onnx-gpu" in {entry.name for entry in target.served.entries}
    rows = target.rows_without(["tiny-onnx-cpu", "tiny-onnx-gpu"], {}, "")
    assert [row.reason for row in rows[:2]] == [f"not assembled: prep run '{file}'"] * 2


@pytest.mark.usefixtures("no_gpu")
def test_a_server_elsewhere_decides_itself(repository: Path, tmp_path: Path):
    target = find_target(write_file(tmp_path, repository), None, "gpu-host:8001")
    rows = target.rows_without(["tiny-onnx-gpu"], {}, "not loaded there")
    assert {row.reason for row in rows} == {"not loaded there"}
    assert len(rows) == 4
    names = target.names or frozenset()
    assert "tiny-onnx-cpu-text" in names
    assert "other" not in names
    target = find_target(write_file(tmp_path, tmp_path / "none"), None, "gpu-host:8001")
    assert not target.served.entries


@pytest.mark.usefixtures("no_gpu")
def test_a_file_of_which_nothing_can_be_measured_is_a_sentence(repository: Path, tmp_path: Path):
    file = write_file(tmp_path, tmp_path / "none")
    error = fail(file, None, None)
    assert error.message == f"nothing of {file} is assembled in {tmp_path / 'none'}"
    assert error.hint == f"make it: prep run '{file}'"
    other = FILE.replace("name: tiny-", "name: unknown-").replace("model: tiny", "model: unknown")
    assert fail(write_file(tmp_path, repository, other), None, None).hint == f"make it: prep run '{file}'"
    gpu = FILE.replace("name: tiny-onnx-cpu, text: true", "name: unknown")
    error = fail(write_file(tmp_path, repository, gpu), None, None)
    assert error.message.startswith(f"this machine serves nothing of {file}: unknown: not assembled: prep run")
    assert "; tiny-onnx-gpu: needs an NVIDIA GPU; " in error.message
    assert "is a pipeline file" in fail(file, "v1", None).message
    assert fail(str(tmp_path / "none.yaml"), None, None).message == f"there is no config file {tmp_path / 'none.yaml'}"
