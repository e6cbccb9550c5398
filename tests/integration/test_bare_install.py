"""prep without an extra: what it does all the same, and which extra it names for the rest.

The environment is a real one, of the distributions that pyproject.toml names and of what these require.
"""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from prep_triton.cli.app import COMMANDS
from prep_triton.extras import EXTRAS, module_of

from tests.fakes.bare_environment import list_requirements, make_environment
from tests.fakes.bert_checkpoint import write_checkpoint
from tests.fakes.exported import store_export
from tests.fakes.grpc_triton import MODEL, serve_answer
from tests.fakes.prep_command import Prep

pytestmark = pytest.mark.integration

HEAVY = sorted(
    {module_of(name) for names in EXTRAS.values() for name in names} - {"huggingface_hub"}
)  # tokenizers' own
# A server of the machine's own would be taken for the wheel's.
NO_SERVER = {"PREP_TRITONSERVER": "", "PATH": "/usr/bin:/bin"}


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `prep` of an environment with the bare package."""
    return make_environment(tmp_path_factory.mktemp("bare") / "venv", list_requirements())


@pytest.fixture(scope="module")
def assembled(bare: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an exported model, of which the bare package made a repository."""
    folder = tmp_path_factory.mktemp("assembled")
    store_export(folder / "build")
    Prep(folder, script=bare).succeed("assemble", "tiny", "--text")
    return folder


@pytest.fixture
def prep(bare: Path, assembled: Path, tmp_path: Path) -> Prep:
    shutil.copytree(assembled, tmp_path / "work")
    return Prep(tmp_path / "work", environment=NO_SERVER, script=bare)


def test_no_library_of_an_extra_is_there(bare: Path):
    code = "import importlib.util, sys; print([name for name in sys.argv[1:] if importlib.util.find_spec(name)])"
    done = subprocess.run([bare.with_name("python"), "-c", code, *HEAVY], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_every_command_has_its_help(bare: Path, tmp_path: Path):
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom prep_triton.cli.app import app\n"
        "print([name for name in sys.argv[1:] if CliRunner().invoke(app, [name, '--help']).exit_code])"
    )
    names = [command.__name__.replace("_", "-") for command in COMMANDS]
    done = subprocess.run(
        [bare.with_name("python"), "-c", code, *names], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_a_repository_is_linted_published_fetched_and_deployed(prep: Prep, gcs_bucket: str):
    uri = f"gs://{gcs_bucket}/models"
    assert prep.succeed("lint", "build/model_repository")["errors"] == 0
    published = prep.succeed("publish", "build/model_repository", uri)["release"]["id"]
    assert [release["id"] for release in prep.succeed("releases", uri)["releases"]] == [published]
    prep.succeed("fetch", uri, "out")
    prep.succeed("deploy", uri, "-o", "gke")
    assert (prep.folder / "gke" / "kustomization.yaml").is_file()


def test_a_server_is_asked(prep: Prep):
    with serve_answer("EMBEDDING", "FP32", [1, 2], b"\0\0\x80?\0\0\0\0") as server:
        assert prep.succeed("client", "a text", "--server", server, "--model", MODEL)["answers"]
    assert prep.fail("verify", "build/model_repository", "--server", "127.0.0.1:1", code=1)["code"] == "server_error"


@pytest.mark.parametrize(
    ("arguments", "extra", "library"),
    [
        ("export ./tiny-bert", "export", "torch"),
        ("run night.yaml", "export", "torch"),
        ("run night.yaml --dry-run", "export", "transformers"),
        ("build-engine tiny --fp16 --gpu t4 --profile 1x8,2x16,4x32", "engine", "tensorrt-rtx"),
        ("build-engine tiny --fp16 --gpu t4 --profile 1x8,2x16,4x32 --builder tensorrt", "tensorrt", "tensorrt"),
        ("build-engine tiny --runtime onnxruntime --fp16", "cpu", "onnxruntime"),
        ("verify build/model_repository", "local", "nvidia-pytriton"),
    ],
)
def test_what_needs_an_extra_names_it(prep: Prep, arguments: str, extra: str, library: str):
    write_checkpoint(prep.folder / "tiny-bert")
    models = [{"model": "./tiny-bert", "variants": [{"runtime": "onnxruntime"}]}]
    (prep.folder / "night.yaml").write_text(yaml.safe_dump({"models": models}))
    error = prep.fail(*arguments.split(), code=1)
    assert f"pip install 'prep-triton[{extra}]'" in error["hint"]
    assert library in error["message"]


def test_doctor_says_what_each_extra_would_bring(prep: Prep):
    findings = prep.succeed("doctor")["findings"]
    hints = {finding["capability"]: finding["hint"] for finding in findings}
    for words, extra in [
        ("export to ONNX", "export"),
        ("convert to FP16 and INT8", "cpu"),
        ("build TensorRT-RTX engines ahead of time", "engine"),
        ("build TensorRT plans, which Triton serves", "tensorrt"),
        ("use real weights without a hub (minilm)", "local"),
        ("start a Triton server", "local"),
    ]:
        assert f"pip install 'prep-triton[{extra}]'" in hints[words]
    assert hints["write config.pbtxt"] == hints["write releases to GCS"] == ""
