"""The Jobs of configs/gke/nightly as processes: their commands, their environment, and their volumes as folders.

A GPU's Job runs `prep` on a node of which only the builder is played (`tests/fakes/gpu_node.py`); the Job that gathers
is real, down to the bucket and the Triton that verifies.
"""

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from prep_triton.files import digest_file
from prep_triton.publish.catalog import locate_release, resolve
from prep_triton.publish.record import artifact_from_release_entry

from tests.fakes import gpu_node
from tests.fakes.bert_checkpoint import write_checkpoint
from tests.fakes.prep_command import SCRIPT

pytest.importorskip("tensorrt_rtx", reason="the TensorRT-RTX builder has wheels for Linux on x86-64 only")
pytestmark = pytest.mark.integration

JOBS_DIR = Path(__file__).parents[2] / "configs" / "gke" / "nightly"
NIGHT = "29000000"
# The nightly's own file, with a model for a test in it: GPUs, target and kinds of entries are the same.
PIPELINE = """
target: {triton: "25.08", gpus: [t4, l4]}
models:
  - model: tiny
    task: feature-extraction
    variants:
      - {runtime: tensorrt, builder: tensorrt, precision: fp16, gpus: [t4, l4], seq_lens: [16], batch: [1, 2, 4]}
      - {runtime: onnxruntime, precision: fp32}
"""


@dataclass
class Cluster:
    """What the Jobs of a night share: the image's working folder as it was built, and the volume."""

    folder: Path
    bucket: str
    environment: dict[str, str]
    volume: Path = field(init=False)

    def __post_init__(self) -> None:
        self.volume = self.folder / "volume"
        self.volume.mkdir()
        write_checkpoint(self.folder / "image" / "tiny")
        (self.folder / "image" / "configs").mkdir()
        (self.folder / "image" / "configs" / "nightly.yaml").write_text(PIPELINE)

    def run(self, job: dict[str, Any]) -> str:
        """Run the containers of a Job's pod, one after the other; return what they wrote."""
        name = job["metadata"]["name"]
        pod = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        room = self.folder / name
        shutil.copytree(self.folder / "image", room / "src")
        volumes = {volume["name"]: self._make_volume(room, volume) for volume in pod["volumes"]}
        written = ""
        for container in [*pod.get("initContainers", ()), *pod["containers"]]:
            written += self._run_container(room, container, volumes, f"{name}-{NIGHT}")
        return written

    def _make_volume(self, room: Path, volume: dict[str, Any]) -> Path:
        if "persistentVolumeClaim" in volume:
            return self.volume
        folder = room / "volumes" / volume["name"]
        folder.mkdir(parents=True)
        return folder

    def _run_container(self, room: Path, container: dict[str, Any], volumes: dict[str, Path], job_name: str) -> str:
        mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"]}
        for path in [path for path in mounts if path.startswith("/src/")]:
            link = room / path.lstrip("/")
            link.parent.mkdir(parents=True)
            link.symlink_to(mounts.pop(path))
        # In one pass, since a folder in place of /shared may itself lie below /tmp.
        pattern = re.compile(rf"(?<![\w./-])({'|'.join(map(re.escape, mounts))})(?=/|\s|$)")

        def place(text: str) -> str:
            text = text.replace("gs://BUCKET", f"gs://{self.bucket}")
            return pattern.sub(lambda match: str(mounts[match[1]]), text)

        own = {variable["name"]: place(variable.get("value", job_name)) for variable in container["env"]}
        command = [*container["command"], *map(place, container["args"])]
        before = list_files(room / "src")
        done = subprocess.run(
            command,
            cwd=room / "src",
            env={**self.environment, "PATH": f"{self._write_prep(room, container)}:/usr/bin:/bin", **own},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        # The root file system of the container is read-only: nothing but its volumes may be written to.
        assert list_files(room / "src") == before
        return done.stdout + done.stderr

    def _write_prep(self, room: Path, container: dict[str, Any]) -> Path:
        """Put `prep` on the PATH: on a node with a GPU where the container asks for one."""
        gpu = room.name.removeprefix("prep-engines-")
        has_gpu = "nvidia.com/gpu" in container["resources"]["limits"]
        program = f'{sys.executable} "{gpu_node.__file__}" {gpu}' if has_gpu else str(SCRIPT)
        path = room / "bin" / "prep"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'#!/bin/sh\nexec {program} "$@"\n')
        path.chmod(0o755)
        return path.parent


def list_files(folder: Path) -> dict[str, int]:
    """Return the files of a folder, without those behind links, and when they were written."""
    return {str(path): path.stat().st_mtime_ns for path in sorted(folder.rglob("*")) if path.is_file()}


def load_jobs() -> dict[str, Any]:
    names = yaml.safe_load((JOBS_DIR / "kustomization.yaml").read_text())["resources"]
    documents = [yaml.safe_load((JOBS_DIR / name).read_text()) for name in names]
    return {document["metadata"]["name"]: document for document in documents if document["kind"] == "CronJob"}


def test_what_the_gpus_jobs_made_is_what_the_one_that_gathers_ships(
    tmp_path: Path, gcs_bucket: str, gcs_server: str, local_gcs: ModuleType
):
    environment = {"PYTHONPATH": ":".join(path for path in sys.path if path), "NO_COLOR": "1"}
    environment |= local_gcs.environment_for(gcs_server)
    cluster = Cluster(tmp_path, gcs_bucket, environment)
    jobs = load_jobs()
    gather = jobs.pop("prep-gather")
    assert sorted(jobs) == ["prep-engines-l4", "prep-engines-t4"]
    for job in jobs.values():
        assert "| tiny" in cluster.run(job)  # the summary, which ends in the log
    gathered = cluster.run(gather)
    assert "was built by TensorRT 10.13.2.6 on another machine" in gathered
    release = resolve(*locate_release(f"gs://{gcs_bucket}/models", None))
    shipped = {entry.name: artifact_from_release_entry(entry).files for entry in release.entries}
    assert sorted(shipped) == ["tiny-onnx-fp32", "tiny-trt-fp16"]
    plans = {path: file.sha256 for path, file in shipped["tiny-trt-fp16"].items() if path.endswith(".plan")}
    assert plans == {f"1/model_{sm}.plan": digest_engine(tmp_path, sm) for sm in ("sm75", "sm89")}


def digest_engine(folder: Path, sm: str) -> str:
    """Return the digest of the engine that the Job of a GPU built, wherever its workspace was."""
    built = {digest_file(path) for path in folder.rglob(f"*{sm}*/**/model.engine")}
    assert len(built) == 1
    return built.pop()
