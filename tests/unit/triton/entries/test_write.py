import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock
from prep_triton import manifest
from prep_triton.errors import DiskFullError, RepositoryError, SpecError, WorkspaceBusyError
from prep_triton.spec import OptimizationProfile, ServingSpec
from prep_triton.triton.entries import exchange
from prep_triton.triton.entries import load as repository_loading
from prep_triton.triton.entries.edits import discard_edit
from prep_triton.triton.entries.load import load_repository

from scripts.benchmarks.serving_configs import assemble_entry, recipe_of
from scripts.benchmarks.small_artifacts import make_engine, make_model


@pytest.fixture
def model(tmp_path):
    return make_model(tmp_path / "model")


def names_of(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_onnxruntime_entry_holds_everything_verify_needs(model, tmp_path):
    produced = assemble_entry(model, [], ServingSpec(), tmp_path / "repo")
    entry = produced.artifact
    assert not produced.reused
    assert entry.folder == tmp_path / "repo" / "tiny-onnx-fp32"
    assert names_of(entry.folder) == [
        "1/model.onnx",
        "config.pbtxt",
        "manifest.json",
        "reference.npz",
        "tokenizer.json",
    ]
    assert (entry.runtime, entry.tolerance, entry.max_batch_size) == ("onnxruntime", 0.9999, 16)
    assert load_repository(tmp_path / "repo") == [entry]


def test_tensorrt_entry_holds_a_plan_for_each_gpu(model, tmp_path):
    engines = [
        make_engine(tmp_path / "t4"),
        make_engine(tmp_path / "l4", gpu="l4", compute_capability="8.9", profile="1x4,4x8,4x12"),
    ]
    entry = assemble_entry(model, engines, ServingSpec(), tmp_path / "repo").artifact
    assert entry.name == "tiny-trt-fp16"
    assert (entry.folder / "1/model_sm89.plan").read_bytes() == b"plan for l4"
    assert "1/model.onnx" not in entry.files
    assert entry.compute_capabilities == ("7.5", "8.9")
    assert (entry.spec["min_sequence"], entry.spec["max_sequence"]) == (4, 12)
    assert (entry.tolerance, entry.max_batch_size) == (0.999, 4)


def test_weights_beside_a_large_graph_come_along(model, tmp_path):
    (model.folder / "model.onnx.data").write_bytes(b"weights")
    with_weights = make_model(model.folder)
    entry = assemble_entry(with_weights, [], ServingSpec(), tmp_path / "repo").artifact
    assert (entry.folder / "1/model.onnx.data").read_bytes() == b"weights"


@pytest.mark.parametrize(("given", "expected"), [("tiny-fp16", "tiny-onnx-fp32"), ("a-fp16-b", "a-fp16-b-onnx-fp32")])
def test_a_precision_is_not_named_twice(model, given, expected):
    assert recipe_of(model.model_copy(update={"name": given}), [], ServingSpec()).name == expected


def test_a_small_batch_that_nobody_asked_for_is_said(model, tmp_path, caplog):
    long = model.model_copy(update={"max_sequence_length": 8192, "declared_length": 8192})
    entry = assemble_entry(long, [], ServingSpec(), tmp_path / "repo").artifact
    assert (entry.max_batch_size, entry.length_buckets[-2:]) == (1, (4096, 8192))
    (record,) = caplog.records
    assert "tiny-onnx-fp32 takes texts of up to 8192 tokens, and 1 at once by default" in record.message
    assemble_entry(long, [], ServingSpec(length_buckets=(128, 2048)), tmp_path / "shorter")
    assemble_entry(long, [], ServingSpec(max_batch_size=1), tmp_path / "asked")
    assert len(caplog.records) == 1


def test_a_second_run_rewrites_nothing(model, tmp_path):
    first = assemble_entry(model, [], ServingSpec(), tmp_path / "repo").artifact
    before = {path: path.stat().st_mtime_ns for path in first.folder.rglob("*")}
    again = assemble_entry(model, [], ServingSpec(), tmp_path / "repo")
    assert again.reused
    assert again.artifact == first
    assert {path: path.stat().st_mtime_ns for path in first.folder.rglob("*")} == before


def test_another_spec_rewrites_the_entry_without_a_warning(model, tmp_path, caplog):
    first = assemble_entry(model, [], ServingSpec(), tmp_path / "repo").artifact
    second = assemble_entry(model, [], ServingSpec(max_batch_size=2), tmp_path / "repo")
    assert not second.reused
    assert second.artifact.key != first.key
    assert "max_batch_size: 2" in (second.artifact.folder / "config.pbtxt").read_text()
    assert names_of(tmp_path / "repo")[0] == ".lock"
    assert not list((tmp_path / "repo").glob(".staging*"))
    assert not caplog.records


def test_a_hand_edited_config_is_not_lost(model, tmp_path, caplog):
    entry = assemble_entry(model, [], ServingSpec(), tmp_path / "repo").artifact
    config_path = entry.folder / "config.pbtxt"
    written = config_path.read_text()
    edited = written.replace("max_batch_size: 16", "max_batch_size: 99")
    config_path.write_text(edited)
    for choices in (ServingSpec(), ServingSpec(max_batch_size=2)):
        with pytest.raises(RepositoryError, match="was edited by hand, and would be written again") as refused:
            assemble_entry(model, [], choices, tmp_path / "repo")
        assert "--adopt" in refused.value.hint
        assert "--force" in refused.value.hint
        assert config_path.read_text() == edited
    discard_edit(entry.folder)
    assert not assemble_entry(model, [], ServingSpec(), tmp_path / "repo").reused
    assert config_path.read_text() == written
    assert (tmp_path / "repo" / f".edited-{entry.name}.pbtxt").read_text() == edited
    assert "the edit is kept as" in caplog.text


def test_an_edit_to_what_is_written_anyway_is_none(model, tmp_path):
    entry = assemble_entry(model, [], ServingSpec(), tmp_path / "repo").artifact
    other = assemble_entry(model, [], ServingSpec(max_batch_size=2), tmp_path / "other").artifact
    (entry.folder / "config.pbtxt").write_bytes((other.folder / "config.pbtxt").read_bytes())
    assert assemble_entry(model, [], ServingSpec(max_batch_size=2), tmp_path / "repo").artifact.max_batch_size == 2


@pytest.mark.parametrize("relative", ["1/model.onnx", "reference.npz", "tokenizer.json", "manifest.json"])
def test_a_missing_or_changed_file_is_made_good(model, tmp_path, relative):
    entry = assemble_entry(model, [], ServingSpec(), tmp_path / "repo").artifact
    (entry.folder / relative).unlink()
    assert not assemble_entry(model, [], ServingSpec(), tmp_path / "repo").reused
    (entry.folder / relative).write_bytes(b"\0" * (entry.folder / relative).stat().st_size)
    assert not assemble_entry(model, [], ServingSpec(), tmp_path / "repo").reused
    assert assemble_entry(model, [], ServingSpec(), tmp_path / "repo").reused


@pytest.mark.parametrize("change", [{"name": "another"}, {"files": {}}, {"max_batch_size": -1}])
def test_a_manifest_that_is_not_the_entry_s_is_made_good(model, tmp_path, change):
    entry = assemble_entry(model, [], ServingSpec(), tmp_path / "repo").artifact
    path = entry.folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    again = assemble_entry(model, [], ServingSpec(), tmp_path / "repo")
    assert not again.reused
    assert [other.name for other in load_repository(tmp_path / "repo")] == [entry.name]


def test_a_large_file_is_digested_only_when_it_is_newer_than_the_manifest(model, tmp_path, monkeypatch):
    monkeypatch.setattr(manifest, "DIGEST_LIMIT_BYTES", 0)
    entry = assemble_entry(model, [], ServingSpec(), tmp_path / "repo").artifact
    path = entry.folder / "1/model.onnx"
    path.write_bytes(b"\0" * path.stat().st_size)
    later = (entry.folder / "manifest.json").stat().st_mtime_ns + 1
    os.utime(path, ns=(later, later))
    assert not assemble_entry(model, [], ServingSpec(), tmp_path / "repo").reused


def test_an_rtx_engine_leaves_the_repository_as_it_was(model, tmp_path):
    with pytest.raises(RepositoryError, match="never a plan"):
        assemble_entry(model, [make_engine(tmp_path / "e", builder="tensorrt-rtx")], ServingSpec(), tmp_path / "repo")
    assert not (tmp_path / "repo").exists()


def test_engines_of_two_precisions_are_refused(model, tmp_path):
    engine = make_engine(tmp_path / "e")
    other = engine.model_copy(update={"precision": "int8", "compute_capability": "8.9"})
    with pytest.raises(RepositoryError, match="several precisions: fp16, int8") as caught:
        assemble_entry(model, [engine, other], ServingSpec(), tmp_path / "repo")
    assert "one entry for each" in caught.value.hint


@pytest.mark.parametrize("name", ["a/b", "../a", ".a", "a b", "a\n", "a" * 64])
def test_a_name_that_is_no_directory_name_is_refused(model, tmp_path, name):
    with pytest.raises(SpecError, match="cannot name an entry") as caught:
        assemble_entry(model, [], ServingSpec(), tmp_path / "repo", name=name)
    assert "--name" in caught.value.hint


def test_a_damaged_artifact_is_refused_and_the_old_entry_stays(model, tmp_path):
    old = assemble_entry(model, [], ServingSpec(), tmp_path / "repo").artifact
    model.path("model.onnx").write_bytes(b"other")
    with pytest.raises(RepositoryError, match="is damaged") as caught:
        assemble_entry(model, [], ServingSpec(max_batch_size=2), tmp_path / "repo")
    assert "make it again" in caught.value.hint
    model.path("reference.npz").unlink()
    model.path("model.onnx").unlink()
    with pytest.raises(RepositoryError, match=r"has no model\.onnx"):
        assemble_entry(model, [], ServingSpec(max_batch_size=2), tmp_path / "repo")
    assert load_repository(tmp_path / "repo") == [old]
    assert not list((tmp_path / "repo").glob(".staging*"))


def test_a_full_disk_keeps_the_old_entry(model, tmp_path, monkeypatch):
    old = assemble_entry(model, [], ServingSpec(), tmp_path / "repo").artifact

    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", refuse)
    with pytest.raises(DiskFullError):
        assemble_entry(model, [], ServingSpec(max_batch_size=2), tmp_path / "repo")
    assert load_repository(tmp_path / "repo") == [old]


def test_a_killed_run_leaves_the_old_entry_and_the_next_one_cleans_up(model, tmp_path):
    old = assemble_entry(model, [], ServingSpec(), tmp_path / "repo").artifact
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from prep_triton.artifact import OnnxModel\n"
        "from prep_triton.spec import EntrySpec\n"
        "from prep_triton.triton.entries import place, write\n"
        "place.swap_folders = lambda *_: os.kill(os.getpid(), 9)\n"
        "model = OnnxModel.model_validate_json(sys.argv[1]).model_copy(update={'folder': Path(sys.argv[2])})\n"
        "spec = EntrySpec(runtime='onnxruntime', serving={'max_batch_size': 2})\n"
        "write.assemble_entry(model, [], spec, Path(sys.argv[3]))\n"
    )
    arguments = [model.model_dump_json(), str(model.folder), str(tmp_path / "repo")]
    assert subprocess.run([sys.executable, "-c", script, *arguments], check=False).returncode == -9
    assert list((tmp_path / "repo").glob(".staging*"))
    assert load_repository(tmp_path / "repo") == [old]
    assemble_entry(model, [], ServingSpec(max_batch_size=2), tmp_path / "repo")
    assert not list((tmp_path / "repo").glob(".staging*"))


def test_another_run_that_does_not_finish_is_named(model, tmp_path, monkeypatch):
    monkeypatch.setattr(repository_loading, "LOCK_TIMEOUT_S", 0.05)
    (tmp_path / "repo").mkdir()
    with (
        FileLock(tmp_path / "repo" / ".lock"),
        pytest.raises(WorkspaceBusyError, match="another run has held") as caught,
    ):
        assemble_entry(model, [], ServingSpec(), tmp_path / "repo")
    assert "another repository folder" in caught.value.hint


@pytest.mark.parametrize("has_exchange", [True, False])
def test_swapping_folders_exchanges_them(tmp_path, monkeypatch, has_exchange):
    if not has_exchange:
        monkeypatch.setattr(exchange, "_exchange", lambda *_: False)
    for name in ("new", "old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    exchange.swap_folders(tmp_path / "new", tmp_path / "old")
    assert names_of(tmp_path) == ["new/old", "old/new"]


def test_swapping_tells_when_the_file_system_refuses(tmp_path):
    (tmp_path / "old").mkdir()
    with pytest.raises(FileNotFoundError):
        exchange.swap_folders(tmp_path / "new", tmp_path / "old")


def test_load_refuses_a_missing_folder_and_one_without_entries(tmp_path, caplog):
    with pytest.raises(RepositoryError, match="is not a folder") as caught:
        load_repository(tmp_path / "none")
    assert "prep assemble" in caught.value.hint
    (tmp_path / "entry").mkdir()
    with pytest.raises(RepositoryError, match=r"holds no entry with a manifest\.json") as caught:
        load_repository(tmp_path)
    assert "prep assemble" in caught.value.hint
    assert "is left out" in caplog.text


def test_load_refuses_a_damaged_manifest_and_a_missing_file(model, tmp_path):
    entry = assemble_entry(model, [], ServingSpec(), tmp_path / "repo").artifact
    (entry.folder / "1/model.onnx").unlink()
    with pytest.raises(RepositoryError, match=r"does not hold a complete repository entry.*model\.onnx") as caught:
        load_repository(tmp_path / "repo")
    assert "prep assemble" in caught.value.hint
    (entry.folder / "manifest.json").write_text("{")
    for reference_only in (False, True):
        with pytest.raises(RepositoryError, match="does not hold a complete"):
            load_repository(tmp_path / "repo", reference_only=reference_only)


def test_load_refuses_a_renamed_entry(model, tmp_path):
    entry = assemble_entry(model, [], ServingSpec(), tmp_path / "repo").artifact
    entry.folder.rename(tmp_path / "repo" / "other")
    with pytest.raises(RepositoryError, match="Triton needs both names to be the same") as caught:
        load_repository(tmp_path / "repo")
    assert "--name" in caught.value.hint


def test_a_copy_without_the_models_loads_when_only_the_reference_is_wanted(model, tmp_path):
    entry = assemble_entry(model, [], ServingSpec(), tmp_path / "repo").artifact
    (entry.folder / "1/model.onnx").unlink()
    (entry.folder / "1").rmdir()
    assert load_repository(tmp_path / "repo", reference_only=True) == [entry]
    (entry.folder / "reference.npz").unlink()
    with pytest.raises(RepositoryError, match=r"reference\.npz is missing") as caught:
        load_repository(tmp_path / "repo", reference_only=True)
    assert "publish" in caught.value.hint
    (entry.folder / "manifest.json").write_text(json.dumps([]))
    with pytest.raises(RepositoryError, match="another version of prep"):
        load_repository(tmp_path / "repo", reference_only=True)


def test_finding_an_unchanged_entry_imports_no_heavy_library():
    code = (
        "import sys; import prep_triton.triton.entries.write\n"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'numpy', 'tritonclient', 'google.protobuf'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_length_buckets_are_one_range_and_several_engines_share_what_all_take(tmp_path: Path):
    model = make_model(tmp_path / "model")
    buckets = make_engine(tmp_path / "t4", profile="1x1,1x8,1x8")
    longer = OptimizationProfile.model_validate("1x9,1x16,1x16")
    buckets = buckets.model_copy(update={"profiles": (*buckets.profiles, longer)})
    other = make_engine(tmp_path / "l4", gpu="l4", compute_capability="8.9", profile="1x4,1x8,1x12")
    alone = recipe_of(model, [buckets], ServingSpec()).spec
    assert (alone["min_sequence"], alone["max_sequence"]) == (1, 16)
    both = recipe_of(model, [buckets, other], ServingSpec()).spec
    # One group lists its profiles for both GPUs: the second of the t4 engine has no like on the l4.
    assert (both["min_sequence"], both["max_sequence"]) == (4, 8)
