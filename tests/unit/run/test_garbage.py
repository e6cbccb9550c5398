"""What a workspace holds, and what `prep gc` may take of it: held against what the file system says."""

import os
import re
import threading
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import prep_triton
import pytest
from prep_triton.artifact import Artifact
from prep_triton.errors import SpecError
from prep_triton.run.garbage import GarbageReport, GarbageSpec, collect_garbage
from prep_triton.run.inventory import KIND_BY_STAGE, take_inventory
from prep_triton.triton.entries.load import lock_repository
from prep_triton.workspace import Recipe, Workspace

from scripts.benchmarks.records import save_entry

DAY_S = 86400


def produce(workspace: Workspace, stage: str, name: str, version: int, *, days: float = 0, size: int = 1000, **inputs):
    """Make an artifact, unless it is there, that was used some days ago."""

    def make(folder: Path) -> Mapping[str, Any]:
        (folder / "model.onnx").write_bytes(os.urandom(size))
        return {}

    keys = {role: artifact.key for role, artifact in inputs.items()}
    artifact = workspace.produce(Recipe(stage, name, {"version": version}, keys), Artifact, make).artifact
    used_at = time.time() - days * DAY_S
    os.utime(artifact.folder, (used_at, used_at))
    return artifact


@pytest.fixture
def nightly(workspace: Workspace) -> dict[str, Artifact]:
    """Two versions of a model with all that was made of them; the second one is current."""
    made: dict[str, Artifact] = {}
    for version, days in ((1, 20), (2, 1)):
        model = produce(workspace, "export", "bert", version, days=days, size=5000)
        graph = produce(workspace, "precision", "bert-fp16", version, days=days, size=3000, onnx=model)
        engine = produce(workspace, "engine", "bert-fp16-rtx-sm75", version, days=days, size=2000, onnx=graph)
        gate = produce(workspace, "gate", "bert-fp16", version, days=days, size=10, reference=model, converted=graph)
        made |= {
            f"{kind}{version}": artifact for kind, artifact in zip("mgeq", (model, graph, engine, gate), strict=True)
        }
    return made


def folders_of(workspace: Workspace) -> set[Path]:
    return {path.parent for path in workspace.root.rglob("manifest.json")}


def size_of(folder: Path) -> int:
    return sum({path.stat().st_ino: path.stat().st_size for path in folder.rglob("*") if path.is_file()}.values())


def collect(workspace: Workspace, repositories: tuple[Path, ...] = (), *, dry_run: bool = False, **spec: Any):
    return collect_garbage(workspace, repositories, GarbageSpec(**spec), dry_run=dry_run)


def test_what_is_not_current_goes_and_a_dry_run_says_what_and_removes_nothing(workspace: Workspace, nightly):
    before = folders_of(workspace)
    planned = collect(workspace, dry_run=True)
    assert folders_of(workspace) == before
    size = size_of(workspace.root)
    report = collect(workspace)
    assert folders_of(workspace) == {nightly[name].folder for name in ("m2", "g2", "e2", "q2")}
    assert {item.path for item in report.removed} == {item.path for item in planned.removed}
    assert report.size_before - report.size_after == size - size_of(workspace.root)
    assert sum(item.size_bytes for item in report.removed) == size - size_of(workspace.root) > 10000
    assert report.size_after == size_of(workspace.root) == planned.size_after
    assert collect(workspace).removed == ()
    assert workspace.current("engine", "bert-fp16-rtx-sm75", Artifact) is not None


def test_age_is_that_of_the_last_use(workspace: Workspace, nightly):
    assert collect(workspace, older_than=timedelta(days=21)).removed == ()
    produce(workspace, "engine", "bert-fp16-rtx-sm75", 2, onnx=nightly["g2"], days=16)
    produce(workspace, "engine", "bert-fp16-rtx-sm75", 1, onnx=nightly["g1"])  # a run finds it: today, and current
    removed = collect(workspace, older_than=timedelta(days=14)).removed
    assert [Path(item.path) for item in removed] == [nightly["q1"].folder, nightly["e2"].folder]
    assert nightly["m1"].folder.is_dir(), "the current engine was built from it"


def test_down_to_a_size_the_longest_unused_go_first(workspace: Workspace):
    artifacts = [produce(workspace, "export", "bert", number, days=10 - number, size=10_000) for number in range(6)]
    marks_and_manifests = size_of(workspace.root) - 60_000
    report = collect(workspace, to_bytes=35_000 + marks_and_manifests)
    assert [Path(item.path) for item in report.removed] == [artifact.folder for artifact in artifacts[:3]]
    assert size_of(workspace.root) <= 35_000 + marks_and_manifests
    report = collect(workspace, to_bytes=0)
    assert folders_of(workspace) == {artifacts[5].folder}, "the current one stays"
    assert report.size_after == size_of(workspace.root) > 0


def test_files_that_artifacts_share_are_freed_with_the_last(workspace: Workspace):
    old = produce(workspace, "export", "bert", 1, size=50_000)

    def link(folder: Path) -> Mapping[str, Any]:
        os.link(old.path("model.onnx"), folder / "tokenizer.json")
        return {}

    workspace.produce(Recipe("precision", "other", {}), Artifact, link)
    produce(workspace, "export", "bert", 2)
    report = collect(workspace)
    assert [Path(item.path) for item in report.removed] == [old.folder]
    assert report.size_before - report.size_after < 10_000


def test_what_an_entry_was_built_from_stays(workspace: Workspace, nightly, tmp_path: Path):
    entry_dir = tmp_path / "repository" / "bert"
    (entry_dir / "1").mkdir(parents=True)
    (entry_dir / "1" / "model.onnx").write_bytes(b"x")
    (entry_dir / "config.pbtxt").touch()
    (entry_dir / "reference.npz").touch()
    save_entry(entry_dir, key="0123456789abcdef", inputs={"model": nightly["g1"].key})
    (entry_dir / "config.pbtxt").write_text("# edited by hand")
    collect(workspace, (tmp_path / "repository",))
    assert {nightly[name].folder for name in ("m1", "g1")} <= folders_of(workspace)
    assert nightly["e1"].folder not in folders_of(workspace)
    report = collect(workspace, (tmp_path / "repository",), models=("bert",))
    assert report.kept_by == (str(entry_dir),)
    assert folders_of(workspace) == {nightly["m1"].folder, nightly["g1"].folder}
    item = {item.id: item for item in take_inventory(workspace, (tmp_path / "repository",)).items}
    assert item[f"entry/{entry_dir}"].uses == (f"precision/bert-fp16/{nightly['g1'].key}",)
    assert item[f"entry/{entry_dir}"].model == "bert"
    assert f"entry/{entry_dir}" in item[f"precision/bert-fp16/{nightly['g1'].key}"].used_by


def test_what_a_run_makes_and_what_it_reads_stay(workspace: Workspace, nightly):
    begun, done = threading.Event(), threading.Event()

    def make(folder: Path) -> Mapping[str, Any]:
        (folder / "model.engine").write_bytes(b"half")
        begun.set()
        assert done.wait(60)
        return {}

    recipe = Recipe("engine", "bert-fp16-rtx-sm89", {}, {"onnx": nightly["g1"].key})
    run = threading.Thread(target=lambda: Workspace(workspace.root).produce(recipe, Artifact, make))
    run.start()
    try:
        assert begun.wait(60)
        collect(workspace)
        assert {nightly[name].folder for name in ("m1", "g1")} <= folders_of(workspace), "it is read"
        assert nightly["e1"].folder not in folders_of(workspace)
    finally:
        done.set()
        run.join(60)
    assert workspace.current("engine", "bert-fp16-rtx-sm89", Artifact) is not None
    assert not list(workspace.root.glob("locks/*.inputs"))


def test_what_was_made_current_or_used_since_it_was_chosen_stays(workspace: Workspace, nightly):
    old = nightly["e1"]
    chosen_at = old.folder.stat().st_mtime
    produce(workspace, "engine", "bert-fp16-rtx-sm75", 1, onnx=nightly["g1"], days=20)
    assert not workspace.remove("engine", old.name, old.key, used_until=chosen_at + 1)
    produce(workspace, "engine", "bert-fp16-rtx-sm75", 2, onnx=nightly["g2"])
    os.utime(old.folder)
    assert not workspace.remove("engine", old.name, old.key, used_until=chosen_at + 1)
    assert old.folder.is_dir()


def test_a_model_goes_with_all_that_was_made_of_it(workspace: Workspace, nightly):
    other = produce(workspace, "export", "other", 1)
    report = collect(workspace, models=("bert",))
    assert folders_of(workspace) == {other.folder}
    assert len(report.removed) == 8
    assert not (workspace.root / "export" / "bert").exists()
    with pytest.raises(SpecError, match="no model 'bret'") as caught:
        collect(workspace, models=("bret",))
    assert "other" in caught.value.hint


def test_what_killed_runs_left_and_what_is_damaged_goes_whatever_its_age(workspace: Workspace, nightly, tmp_path):
    staging = workspace.root / "export" / "bert" / ".staging-0123456789abcdef"
    staging.mkdir()
    (staging / "model.onnx").write_bytes(b"half")
    (workspace.root / "locks" / "export-bert-0123456789abcdef.inputs").write_text("[]")
    cache = workspace.root / "timing-caches" / "tensorrt-9.0-sm75.cache"
    cache.parent.mkdir()
    cache.write_bytes(b"times")
    nightly["e2"].path("model.onnx").write_bytes(b"short")
    in_repository = tmp_path / "repository" / ".staging-bert"
    in_repository.mkdir(parents=True)
    orphan = workspace.root / "verified" / "export" / "gone" / "0123456789abcdef.json"
    orphan.parent.mkdir(parents=True)
    orphan.write_text("{}")
    report = collect(workspace, (tmp_path / "repository",), older_than=timedelta(days=100))
    paths = {Path(item.path) for item in report.removed}
    assert {staging, cache, in_repository, orphan, nightly["e2"].folder} < paths
    assert not any(path.exists() for path in paths)
    assert workspace.current("engine", "bert-fp16-rtx-sm75", Artifact) is None


def test_a_repository_that_is_written_keeps_what_its_run_stages(workspace: Workspace, nightly):
    """In its default place, within the workspace."""
    staging = workspace.root / "model_repository" / ".staging-bert"
    staging.mkdir(parents=True)
    with lock_repository(staging.parent):
        staging.mkdir()
        report = collect(workspace, (staging.parent,))
        assert report.busy == (str(staging),)
        assert staging.is_dir()
    assert str(staging) in {item.path for item in collect(workspace, (staging.parent,)).removed}
    assert not staging.exists()


def test_an_empty_place_holds_nothing_and_nothing_is_made_there(tmp_path: Path):
    report: GarbageReport = collect(Workspace(tmp_path / "nowhere"), (tmp_path / "none",))
    assert (report.removed, report.size_before) == ((), 0)
    assert list(tmp_path.iterdir()) == []


def test_every_stage_that_makes_artifacts_is_known():
    root = Path(prep_triton.__file__).parent
    named = re.compile(r'(?:Recipe\(\s*(?:stage=)?|^_?STAGE = )"(\w+)"', re.MULTILINE)
    stages = {stage for path in root.rglob("*.py") for stage in named.findall(path.read_text())}
    assert stages == set(KIND_BY_STAGE)
