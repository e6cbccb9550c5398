"""The whole chain through the `prep` command: a tiny BERT, real engines, a real GCS server, a real Triton."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import pytest
from prep_triton.layout import LOCK_NAME, RUN_ENTRIES_NAME

from tests.fakes.bert_checkpoint import write_checkpoint
from tests.fakes.documents import parse_document
from tests.fakes.prep_command import SCRIPT, Prep

pytestmark = pytest.mark.integration

CONFIG = """
models:
  - model: ./tiny
    variants:
      - {runtime: tensorrt, builder: tensorrt-rtx, precision: fp16, gpus: [t4], profiles: ["1x16,4x32,4x64"]}
      - {runtime: onnxruntime, serving: {max_batch_size: 4}}
      - {runtime: onnxruntime, precision: fp16, serving: {max_batch_size: 4}}
"""
ENTRIES = ["tiny-onnx-fp16", "tiny-onnx-fp32"]
MARK = "PREP_TEST_MARK"


@pytest.fixture(scope="module")
def gcs(gcs_server: str, local_gcs: ModuleType) -> dict[str, str]:
    """The environment in which gs:// is the local server."""
    return {key: value for key, value in local_gcs.environment_for(gcs_server).items() if os.environ.get(key) != value}


@pytest.fixture
def bucket(gcs_server: str, local_gcs: ModuleType) -> str:
    name = f"test-{uuid.uuid4().hex}"
    local_gcs.make_bucket(gcs_server, name)
    return f"gs://{name}/models"


@pytest.fixture(scope="module")
def chain(
    tmp_path_factory: pytest.TempPathFactory, gcs: dict[str, str], gcs_server: str, local_gcs: ModuleType
) -> tuple[Prep, str, dict[str, Any]]:
    """One whole run: the folder it ran in, where it published to, and what it printed."""
    name = f"test-{uuid.uuid4().hex}"
    local_gcs.make_bucket(gcs_server, name)
    folder = tmp_path_factory.mktemp("chain")
    write_checkpoint(folder / "tiny")
    (folder / "config.yaml").write_text(CONFIG)
    prep = Prep(folder, gcs)
    uri = f"gs://{name}/models"
    return prep, uri, prep.succeed("run", "config.yaml", "--publish", uri)


@pytest.fixture
def fresh(chain: tuple[Prep, str, dict[str, Any]], tmp_path: Path) -> Iterator[Callable[..., Prep]]:
    """Copy the folder of the whole run without some of its stages; afterwards, nothing may be left running."""
    prepared = chain[0]
    mark = uuid.uuid4().hex

    def make(*without: str) -> Prep:
        folder = tmp_path / "run"
        left_out = shutil.ignore_patterns(*without) if without else None
        shutil.copytree(prepared.folder, folder, ignore=left_out)
        scratch = tmp_path / "scratch"
        scratch.mkdir()
        return Prep(folder, {**prepared.environment, MARK: mark, "TMPDIR": str(scratch)})

    yield make
    assert not find_marked(mark)


def find_marked(mark: str, timeout_s: float = 60.0) -> list[str]:
    """Return the command lines of the processes that still run with a mark in their environment."""
    deadline = time.monotonic() + timeout_s
    while True:
        processes = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                    processes.append(" ".join(process.cmdline()))
            except psutil.Error:
                continue
        if not processes or time.monotonic() > deadline:
            return processes
        time.sleep(0.1)


def states(document: dict[str, Any]) -> dict[str, str]:
    return {f"{row['stage']} {row['artifact']}": row["state"] for row in document["rows"]}


def find_half_written(folder: Path) -> list[Path]:
    whole = (LOCK_NAME, RUN_ENTRIES_NAME)
    return [path for path in folder.rglob("*") if path.name.startswith(".") and path.name not in whole]


def find_scratch(prep: Prep) -> list[str]:
    # onnxruntime keeps a session number in .ses; it is not ours.
    return [path.name for path in Path(prep.environment["TMPDIR"]).iterdir() if path.name != ".ses"]


def test_the_chain_makes_publishes_and_verifies(chain):
    _, uri, document = chain
    release = document["release"]
    assert release.startswith(f"{uri}/releases/")
    message = states(document)
    assert message == {
        "export tiny": "made",
        "precision tiny-fp16": "unchanged",  # its second use; the first made it
        "engine tiny-fp16-rtx-sm75": "made",
        "assemble tiny-fp16-rtx-sm75": "skipped",
        "assemble tiny-onnx-fp32": "made",
        "assemble tiny-onnx-fp16": "made",
        f"publish {release.rpartition('/')[2]}": "made",
        f"verify {', '.join(ENTRIES)}": "made",
        f"promote {release.rpartition('/')[2]}": "made",
    }
    figures = document["rows"][-2]["figures"]
    assert figures["repository_uri"] == release
    assert [entry["name"] for entry in figures["entries"]] == ENTRIES
    assert all(entry["min_cosine"] >= entry["tolerance"] and entry["text_checked"] for entry in figures["entries"])


def test_a_second_run_does_nothing_and_imports_neither_torch_nor_onnx(chain):
    prep, uri, first = chain
    done, imported = prep.run_and_list_imports("run", "config.yaml", "--publish", uri, "--json")
    document = json.loads(done.stdout)
    assert document["unchanged"]
    assert set(states(document).values()) == {"unchanged", "skipped"}
    assert document["release"] == first["release"]
    heavy = {"torch", "transformers", "onnx", "onnxruntime", "tensorrt_rtx", "polygraphy", "tritonclient", "numpy"}
    assert not imported & heavy


def test_another_machine_fetches_what_this_one_made_and_builds_nothing(chain, tmp_path: Path):
    """It has nothing but the pipeline file and the checkpoint, and imports nothing that builds."""
    prep, uri, _ = chain
    cache = f"{uri}-cache"
    saved = prep.succeed("run", "config.yaml", "--no-verify", "--remote-cache", cache)
    assert set(states(saved).values()) == {"unchanged", "skipped"}
    write_checkpoint(tmp_path / "tiny")
    (tmp_path / "config.yaml").write_text(f"{CONFIG}workspace: {{remote: {cache}}}\n")
    done, imported = Prep(tmp_path, prep.environment).run_and_list_imports(
        "run", "config.yaml", "--no-verify", "--json"
    )
    assert states(json.loads(done.stdout)) == {
        "export tiny": "fetched",
        "precision tiny-fp16": "unchanged",  # its second use
        "engine tiny-fp16-rtx-sm75": "fetched",
        "assemble tiny-fp16-rtx-sm75": "skipped",
        "assemble tiny-onnx-fp32": "made",
        "assemble tiny-onnx-fp16": "made",
    }
    assert not imported & {"torch", "transformers", "tensorrt_rtx", "polygraphy"}
    for pattern in ("engine/**/model.engine", "precision/**/model.onnx", "export/**/manifest.json"):
        paths = [path.relative_to(tmp_path) for path in (tmp_path / "build").glob(pattern)]
        assert paths
        assert all((tmp_path / path).read_bytes() == (prep.folder / path).read_bytes() for path in paths)


def test_a_release_is_listed_and_verified_from_its_bucket(chain):
    prep, uri, first = chain
    listed = prep.succeed("releases", uri)["releases"]
    assert prep.fail("verify", uri.removesuffix("/models"), code=2)["message"].startswith("there is no release under")
    assert [release["uri"] for release in listed] == [first["release"]]
    done = prep.run("verify", uri)
    assert done.returncode == 0, done.stderr
    assert f"loaded {first['release']}" in done.stdout
    assert all(f"{name}\tpassed\t" in done.stdout for name in ENTRIES)
    assert "PyTorch [" in done.stdout  # a real sentence with its answer


def test_a_folder_of_releases_serves_as_well_as_a_bucket(fresh):
    prep = fresh("verify")
    published = prep.succeed("run", "config.yaml", "--publish", "./releases", "--no-verify")["release"]
    assert published.startswith(str(prep.folder / "releases" / "releases"))
    assert [release["uri"] for release in prep.succeed("releases", "./releases")["releases"]] == [published]
    assert prep.succeed("verify", "./releases")["repository_uri"] == published


KILLS = {  # the stages whose artifacts are not there yet, and a moment in the middle of the stage
    "precision": (("precision", "engine", "verify", "model_repository"), "prep_triton.workspace:save_manifest", 0.0),
    "engine": (("engine", "verify", "model_repository"), "prep_triton.engine.build:run_worker", 0.4),
    "assemble": (("verify", "model_repository"), "prep_triton.triton.entries.place:swap_folders", 0.0),
    "publish": (("verify",), "prep_triton.publish.release:_seal", 0.0),
    "verify": (("verify",), "prep_triton.triton.verify.repository:_check_loaded", 0.0),
}


@pytest.mark.parametrize("stage", KILLS)
def test_a_run_that_was_ended_in_the_middle_of_a_stage_is_taken_up_again(stage, fresh, bucket):
    without, moment, delay_s = KILLS[stage]
    prep = fresh(*without)
    command = ("run", "config.yaml", "--publish", bucket)
    finished = snapshot(prep.folder)

    interrupted = prep.end_at(moment, signal.SIGINT, *command, delay_s=delay_s)
    assert interrupted.returncode == 130, interrupted.stderr
    assert "interrupted: nothing half-written was kept" in interrupted.stderr
    assert "Traceback" not in interrupted.stderr
    assert not find_half_written(prep.folder)
    assert not find_scratch(prep)

    killed = prep.end_at(moment, signal.SIGKILL, *command, delay_s=delay_s)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not find_marked(prep.environment[MARK])  # neither the builder nor Triton outlives it
    assert finished.items() <= snapshot(prep.folder).items()
    left = find_scratch(prep)
    if stage == "publish":
        assert prep.succeed("releases", bucket)["releases"] == []

    more = () if stage == "verify" else ("--no-verify",)
    document = prep.succeed(*command, *more)
    assert document["release"].startswith(bucket)
    assert not find_half_written(prep.folder)
    if stage == "verify":
        assert left  # of the killed one: its server's and its copy of the reference
        assert not find_scratch(prep)


def snapshot(folder: Path) -> dict[Path, int]:
    """Return every manifest and when it was written."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("manifest.json")}


def test_an_export_that_was_ended_in_the_middle_leaves_nothing(fresh):
    prep = fresh("build", "model_repository")
    command = ("export", "./tiny")
    interrupted = prep.end_at("prep_triton.export.onnx:_make_model", signal.SIGINT, *command)
    assert interrupted.returncode == 130, interrupted.stderr
    assert not find_half_written(prep.folder)
    killed = prep.end_at("prep_triton.export.graph:save_graph", signal.SIGKILL, *command)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not list(prep.folder.rglob("manifest.json"))
    assert prep.succeed(*command)["reused"] is False
    assert not find_half_written(prep.folder)


def test_two_runs_in_one_workspace_at_once_make_everything_once(fresh, bucket):
    prep = fresh("precision", "engine", "verify", "model_repository")
    command = ("run", "config.yaml", "--publish", bucket, "--json")
    runs = [prep.start(*command) for _ in range(2)]
    answers = [run.communicate() for run in runs]
    assert [run.returncode for run in runs] == [0, 0], [errors for _, errors in answers]
    first, second = (json.loads(message) for message, _ in answers)
    steps = [
        f"{row['stage']} {row['artifact']}"
        for message in (first, second)
        for row in message["rows"]
        if row["state"] == "made"
    ]
    steps = [row for row in steps if not row.startswith(("publish", "promote"))]
    assert len(steps) == len(set(steps))
    releases = {message["release"] for message in (first, second)}
    assert {release["uri"] for release in prep.succeed("releases", bucket)["releases"]} == releases
    assert not find_half_written(prep.folder)


def test_sigterm_cleans_up_as_ctrl_c_does(fresh):
    prep = fresh("verify")
    ended = prep.end_at("prep_triton.triton.verify.repository:_check_loaded", signal.SIGTERM, "verify", "--json")
    assert ended.returncode == 130, ended.stderr
    assert parse_document(ended.stdout, "error")["error"]["code"] == "interrupted"
    assert not find_scratch(prep)


@pytest.mark.parametrize("columns", [80, 120])
def test_a_terminal_gets_a_table_of_its_width_and_no_color_where_none_is_wanted(chain, columns):
    script = shutil.which("script")
    if script is None:
        pytest.skip("script(1) is not installed")
    prep, uri, _ = chain
    command = f"stty cols {columns}; exec {SCRIPT} run config.yaml --publish {uri}"
    environment = {**os.environ, **prep.environment, "NO_COLOR": "1", "TERM": "xterm-256color"}
    done = subprocess.run(
        [script, "-qec", command, "/dev/null"],
        cwd=prep.folder,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        stdin=subprocess.DEVNULL,
    )
    assert not re.findall(r"\x1b\[[0-9;]*3[0-9]m", done.stdout)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", done.stdout).splitlines()
    first = next(number for number, line in enumerate(shown) if line.startswith("prep run "))
    table = shown[first : shown.index("", first)]
    assert max(map(len, table)) <= columns
    assert [name for name in ENTRIES if not any(name in line for line in table)] == []
    assert any("nothing changed, nothing was done" in line for line in shown)
