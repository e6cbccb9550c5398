"""Bad input through the `prep` command: one sentence, a hint, exit 1 or 2, and nothing half-written."""

import json
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.bert_checkpoint import write_checkpoint
from tests.fakes.exported import store_export
from tests.fakes.prep_command import Prep

pytestmark = pytest.mark.integration

NO_HUB = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_DISABLE_TELEMETRY": "1"}
ONNXRUNTIME = "{runtime: onnxruntime}"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a checkpoint `bert`, an exported model `tiny`, and a model repository with its entry."""
    folder = tmp_path_factory.mktemp("prepared")
    write_checkpoint(folder / "bert")

    store_export(folder / "build")
    Prep(folder).succeed("assemble", "tiny")
    return folder


@pytest.fixture
def prep(prepared: Path, tmp_path: Path) -> Iterator[Prep]:
    """A copy of the folder, to which a refused command may add nothing but an empty folder or a lock."""
    folder = tmp_path / "work"
    shutil.copytree(prepared, folder)
    before = list_files(folder)
    yield Prep(folder, {"CLOUDSDK_CONFIG": str(tmp_path), "GCE_METADATA_HOST": "127.0.0.1:9", **NO_HUB})
    assert list_files(folder) == before


def list_files(folder: Path) -> set[str]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".lock", ".yaml"))
    return {str(path.relative_to(folder)) for path in files if path.parts[-2] != "broken" and path.name != ".lock"}


@pytest.mark.parametrize(
    ("arguments", "code", "message", "hint"),
    [
        (("export", "bert-bse"), 2, "unknown model 'bert-bse'", "did you mean 'bert-base'?"),
        (("export", "./nowhere"), 2, "there is no folder", "check the path"),
        (("export", "org/model"), 1, "hub cannot be reached for org/model", "--weights random"),
        (("export", "bert", "--task", "guess"), 2, "task: 'guess' is not a known value", "fill-mask"),
        (("export", "bert", "--name", "A b"), 2, "name: 'A b' is not a name", "at most 63 letters"),
        (("build-engine", "other"), 2, "no model 'other' was exported in build; it holds tiny", "prep export other"),
        (
            ("build-engine", "tiny", "--gpu", "t4", "--profile", "1x16,8x128,16x1024"),
            2,
            "sequence length 1024, tiny takes at most 32",
            "16x32 or less",
        ),
        (
            ("build-engine", "tiny", "--gpu", "t4", "--profile", "9x16,8x16,16x16"),
            2,
            "batch sizes must satisfy 1 <= min <= opt <= max, got 9, 8, 16",
            "correct the value",
        ),
        (
            ("build-engine", "tiny", "--gpu", "h100", "--builder", "tensorrt-rtx", "--profile", "1x1,1x8,2x16"),
            2,
            "h100 (9.0)",
            "--builder tensorrt",
        ),
        (("build-engine", "tiny", "--gpu", "t5", "--profile", "1x1,1x8,2x16"), 2, "unknown GPU 't5'", "t4"),
        (
            ("build-engine", "tiny", "--fp32", "--gpu", "t4", "--builder", "tensorrt-rtx", "--profile", "1x1,1x8,2x16"),
            2,
            "no FP32 GEMMs for t4",
            "--fp16",
        ),
        (("build-engine", "tiny", "--fp16", "--fp32"), 2, "exclude each other", "name one precision"),
        (("assemble", "tiny", "--runtime", "tensorrt"), 1, "no fp16 engine of tiny", "prep build-engine tiny --fp16"),
        (("assemble", "tiny", "-o", "bert/config.json"), 1, "cannot be written", "--output"),
        (("run", "nowhere.yaml"), 2, "no config file nowhere.yaml", "prep init"),
        (("verify", "bert"), 2, "holds no entry", "prep assemble"),
        (
            ("verify", "build/model_repository", "--server", "127.0.0.1:9"),
            1,
            "no Triton answers at 127.0.0.1:9",
            "8001",
        ),
        (("publish", "bert", "./releases"), 2, "no entry to publish", "prep assemble"),
        (("publish", "build/model_repository", "s3://bucket"), 2, "unknown scheme 's3'", "gs://BUCKET/PREFIX"),
        (("releases", "gs://x"), 2, "'x' in 'gs://x' is not a bucket name", "3 to 63"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_bad_flags_are_refused(prep: Prep, arguments: tuple[str, ...], code: int, message: str, hint: str):
    error = prep.fail(*arguments, code=code)
    assert message in error["message"]
    assert hint in error["hint"]


@pytest.mark.parametrize(
    ("damage", "message", "hint"),
    [
        (lambda folder: (folder / "config.json").unlink(), "has no config.json", "save_pretrained()"),
        (lambda folder: (folder / "model.safetensors").unlink(), "has no weights", "--weights random"),
        (lambda folder: (folder / "vocab.txt").unlink(), "vocabulary missing", "tokenizer's files"),
    ],
    ids=["config", "weights", "vocabulary"],
)
def test_an_incomplete_checkpoint_is_refused(prep: Prep, damage, message: str, hint: str):
    broken = prep.folder / "broken"
    shutil.copytree(prep.folder / "bert", broken)
    damage(broken)
    error = prep.fail("export", "./broken", code=1)
    assert message in error["message"]
    assert hint in error["hint"]


def test_a_truncated_checkpoint_is_refused(prep: Prep):
    broken = prep.folder / "broken"
    shutil.copytree(prep.folder / "bert", broken)
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    error = prep.fail("export", "./broken", code=1)
    assert "model.safetensors" in error["message"]
    assert "truncated or damaged" in error["message"]
    assert "again" in error["hint"]


RTX = "{runtime: tensorrt, builder: tensorrt-rtx, precision: fp16, gpus: [GPU]}"


@pytest.mark.parametrize(
    ("variants", "code", "message", "hint"),
    [
        ("[{runtime: onnxruntime, precison: fp16}]", 2, "unknown key 'precison'", "did you mean 'precision'?"),
        (f"[{ONNXRUNTIME}, {ONNXRUNTIME}]", 2, "models[0].variants[1]: it is there twice", "remove one"),
        (f"[{ONNXRUNTIME}, {{runtime: onnxruntime, name: bert-onnx-fp32}}]", 2, "'bert-onnx-fp32'", "another name"),
        ("[{runtime: tensorrt, precision: int8, gpus: [t4]}]", 2, "needs calibration text", "quantization"),
        (f"[{ONNXRUNTIME}, {RTX.replace('GPU', 'h100')}]", 2, "h100 (9.0)", "--builder tensorrt"),
        (f"[{RTX.replace('GPU', 't4')}]", 2, "nothing that Triton can serve", "runtime: onnxruntime"),
        ("[]", 2, "models[0].variants: at least one is needed", "dash"),
    ],
)
def test_a_bad_config_is_refused_before_anything_is_made(prep: Prep, variants: str, code: int, message: str, hint: str):
    (prep.folder / "c.yaml").write_text(f"models:\n  - model: ./bert\n    variants: {variants}\n")
    error = prep.fail("run", "c.yaml", code=code)
    assert message in error["message"]
    assert hint in error["hint"]


@pytest.mark.parametrize("uri", ["s3://bucket/models", "gs://bucket-of-nobody/models"])
def test_a_run_that_cannot_publish_is_refused_before_anything_is_made(prep: Prep, uri: str):
    (prep.folder / "c.yaml").write_text(f"models:\n  - model: ./bert\n    variants: [{ONNXRUNTIME}]\n")
    error = prep.fail("run", "c.yaml", "--publish", uri, code=2 if uri.startswith("s3") else 1, NO_GCE_CHECK="true")
    assert "unknown scheme 's3'" in error["message"] or "no usable credentials" in error["message"]


def test_a_missing_bucket_is_named(prep: Prep, gcs_server: str, local_gcs):
    environment = {**local_gcs.environment_for(gcs_server)}
    error = prep.fail("publish", "build/model_repository", "gs://bucket-of-nobody/models", code=2, **environment)
    assert "there is no bucket gs://bucket-of-nobody" in error["message"]
    assert "buckets create" in error["hint"]


def test_a_taken_port_is_named(prep: Prep):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        error = prep.fail("verify", "build/model_repository", "--port", port, code=1)
    assert f"port {port} cannot be used" in error["message"]
    assert "another port" in error["hint"]


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (
            "echo 'E0101 00:00:00.0 1 x.cc:1] the driver is too old' >&2; exit 3",
            "status 3; its last lines:\n  the driver",
        ),
        ("exit 3", "status 3; its last lines:\n  (it wrote nothing)"),
    ],
)
def test_a_server_that_dies_on_start_tells_its_last_lines(prep: Prep, tmp_path: Path, script: str, message: str):
    server = tmp_path / "tritonserver"
    server.write_text(f"#!/bin/sh\n{script}\n")
    server.chmod(0o755)
    error = prep.fail("verify", "build/model_repository", code=1, PREP_TRITONSERVER=str(server))
    assert message in error["message"]
    assert "prep doctor" in error["hint"]


def test_a_wrong_command_line_gets_a_document_too(prep: Prep):
    done = prep.run("export", "--json")
    assert done.returncode == 2
    assert "Missing argument" in json.loads(done.stdout)["error"]["message"]
    assert "Missing argument" in done.stderr


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted: {mounted.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_is_told_and_left_as_it_was(prep: Prep, small_disk: Path):
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(60 << 10))
    error = prep.fail("assemble", "tiny", "-o", small_disk / "repository", code=1)
    assert "no space is left" in error["message"]
    assert "--output" in error["hint"]
    error = prep.fail("publish", "build/model_repository", small_disk / "releases", code=1)
    assert "no space is left" in error["message"]
    ballast.write_bytes(bytes(44 << 10))  # tempfile looks for another place where not a byte can be written
    error = prep.fail("verify", "build/model_repository", code=1, TMPDIR=str(small_disk))
    assert "no space is left" in error["message"]
    assert "TMPDIR" in error["hint"]
    # Objects that were uploaded stay, to be taken up again; without a release.json no reader sees them.
    kept = {path.name for path in small_disk.rglob("*") if path.is_file() and "releases" not in path.parts}
    assert kept <= {"ballast", ".lock"}
    assert not list(small_disk.rglob("release.json"))
    assert not list((small_disk / "releases" / ".staging").iterdir())
