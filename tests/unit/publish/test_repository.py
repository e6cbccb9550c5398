import json
import os
import shutil

import pytest
from prep_triton.artifact import RepositoryEntry
from prep_triton.errors import RepositoryError
from prep_triton.manifest import find_artifact
from prep_triton.publish.record import digest_content
from prep_triton.publish.repository import find_git_revision, scan_repository


def refuse(folder, message, hint="prep assemble"):
    with pytest.raises(RepositoryError) as caught:
        scan_repository(folder)
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_scan_takes_the_files_of_entries_and_nothing_else(make_repository):
    folder = make_repository("bert")
    (folder / "bert" / ".staging-x").write_text("hidden")
    (folder / "bert" / "1" / "__pycache__").mkdir()
    (folder / "bert" / "1" / "__pycache__" / "model.pyc").write_text("cache")
    (folder / ".staging").mkdir()
    assert sorted(scan_repository(folder).files) == [
        "bert/1/model.onnx",
        "bert/config.pbtxt",
        "bert/manifest.json",
        "bert/reference.npz",
        "bert/tokenizer.json",
    ]


def test_digest_is_of_the_content_and_not_of_the_time(make_repository):
    folder = make_repository()
    first = digest_content((entry.model_dump(mode="json") for entry in scan_repository(folder).entries), None)
    make_repository()  # writes everything again, with a later created_at
    assert digest_content((entry.model_dump(mode="json") for entry in scan_repository(folder).entries), None) == first
    make_repository(seed=1)
    assert digest_content((entry.model_dump(mode="json") for entry in scan_repository(folder).entries), None) != first


def test_digest_changes_with_what_a_manifest_says_of_the_same_files(make_repository):
    folder = make_repository("bert")
    first = digest_content((entry.model_dump(mode="json") for entry in scan_repository(folder).entries), None)
    manifest = folder / "bert" / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "tolerance": 0.5}))
    assert digest_content((entry.model_dump(mode="json") for entry in scan_repository(folder).entries), None) != first


def test_named_entries_alone_are_taken(make_repository):
    folder = make_repository("bert", "distilbert")
    assert [entry.name for entry in scan_repository(folder, ["distilbert"]).entries] == ["distilbert"]


def test_folder_without_a_manifest_is_left_out_with_a_warning(make_repository, caplog):
    folder = make_repository("bert")
    (folder / "handmade" / "1").mkdir(parents=True)
    assert [entry.name for entry in scan_repository(folder).entries] == ["bert"]
    assert "handmade has no manifest.json and is not published" in caplog.text


def test_missing_folder_is_refused(tmp_path):
    refuse(tmp_path / "nowhere", "there is no model repository")


def test_empty_repository_is_refused(tmp_path):
    refuse(tmp_path, "has no entry to publish")


def test_missing_named_entry_is_refused(make_repository):
    with pytest.raises(RepositoryError, match="has no entry 'gpt'"):
        scan_repository(make_repository("bert"), ["bert", "gpt"])


def test_file_of_another_size_than_its_manifest_says_is_refused(make_repository):
    folder = make_repository("bert")
    with (folder / "bert" / "config.pbtxt").open("a") as stream:
        stream.write("max_batch_size: 8\n")
    refuse(folder, "config.pbtxt has")


def test_file_changed_within_its_size_is_refused(make_repository):
    folder = make_repository("bert")
    config = folder / "bert" / "config.pbtxt"
    config.write_text(config.read_text().replace("bert", "tree"))
    os.utime(config, ns=((folder / "bert" / "manifest.json").stat().st_mtime_ns + 1,) * 2)
    refuse(folder, "it was changed")


def test_missing_file_is_refused(make_repository):
    folder = make_repository("bert")
    (folder / "bert" / "1" / "model.onnx").unlink()
    refuse(folder, "model.onnx")


def test_file_that_no_manifest_lists_is_refused(make_repository):
    folder = make_repository("bert")
    (folder / "bert" / "1" / "model.plan").write_text("x")
    refuse(folder, "model.plan is not in the entry's manifest.json", hint="remove it")


def test_listed_file_that_is_hidden_is_refused(make_repository):
    folder = make_repository("bert")
    manifest = folder / "bert" / "manifest.json"
    content = json.loads(manifest.read_text())
    (folder / "bert" / "1" / "model.onnx").rename(folder / "bert" / ".model.onnx")
    content["files"][".model.onnx"] = content["files"].pop("1/model.onnx")
    manifest.write_text(json.dumps(content))
    refuse(folder, "'.model.onnx'")


def test_manifest_that_names_a_file_outside_is_refused(make_repository):
    folder = make_repository("bert")
    (folder / "secret").write_text("x")
    manifest = folder / "bert" / "manifest.json"
    content = json.loads(manifest.read_text())
    content["files"]["../secret"] = {"size": 1, "sha256": "0" * 64}
    manifest.write_text(json.dumps(content))
    refuse(folder, "'..'")


def test_manifest_of_something_else_is_refused(make_repository):
    folder = make_repository("bert")
    (folder / "bert" / "manifest.json").write_text("{}")
    refuse(folder, "does not hold a complete repository entry")


def test_entry_in_a_folder_of_another_name_is_refused(make_repository):
    folder = make_repository("bert")
    (folder / "bert").rename(folder / "renamed")
    refuse(folder, "holds the entry 'bert'", hint="rename the folder to bert")


def test_link_out_of_the_repository_is_refused(make_repository, tmp_path):
    folder = make_repository("bert")
    model = folder / "bert" / "1" / "model.onnx"
    shutil.move(model, tmp_path / "outside.onnx")
    model.symlink_to(tmp_path / "outside.onnx")
    refuse(folder, "is a link out of the repository", hint="replace the link")


def test_entry_that_is_a_link_out_of_the_repository_is_refused(make_repository, tmp_path):
    folder = make_repository("bert")
    shutil.move(folder / "bert", tmp_path / "bert")
    (folder / "bert").symlink_to(tmp_path / "bert")
    refuse(folder, "is a link out of the repository", hint="replace the link")


def test_link_to_a_folder_is_refused(make_repository):
    folder = make_repository("bert")
    (folder / "bert" / "2").symlink_to("1")
    refuse(folder, "is a link to a folder", hint="replace the link")


def test_link_that_leads_nowhere_is_refused(make_repository):
    folder = make_repository("bert")
    (folder / "bert" / "loop").symlink_to("loop")
    refuse(folder, "is a broken link")


def test_link_within_the_repository_is_taken_as_the_file_it_means(make_repository):
    folder = make_repository("bert")
    model = folder / "bert" / "1" / "model.onnx"
    model.rename(folder / "shared.onnx")
    model.symlink_to("../../shared.onnx")
    assert scan_repository(folder).files["bert/1/model.onnx"].size == 2000


def test_git_revision_is_none_outside_a_repository(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.chdir(tmp_path)
    assert find_git_revision() is None


def test_git_revision_says_when_tracked_files_were_changed(tmp_path, monkeypatch):
    import subprocess

    monkeypatch.chdir(tmp_path)
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"]
    (tmp_path / "file").write_text("1")
    for command in (["init", "-q"], ["add", "file"], [*identity, "commit", "-qm", "first"]):
        subprocess.run(["git", *command], check=True)
    revision = find_git_revision()
    assert revision is not None
    assert len(revision) == 40
    (tmp_path / "file").write_text("2")
    assert find_git_revision() == f"{revision}-dirty"


def test_ensemble_without_what_it_calls_is_refused(make_repository):
    folder = make_repository("bert", "other")
    path = folder / "bert" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"composes": ["other"]}))
    assert len(scan_repository(folder).entries) == 2
    (folder / "other" / "manifest.json").unlink()
    with pytest.raises(RepositoryError, match=r"calls other, which has no manifest\.json"):
        scan_repository(folder)


@pytest.mark.parametrize("name", ["manifest.json", "config.pbtxt"])
def test_pipe_in_the_place_of_a_file_is_refused(make_repository, name):
    folder = make_repository("bert", "other")
    (folder / "bert" / name).unlink()
    os.mkfifo(folder / "bert" / name)
    if name == "manifest.json":
        assert [entry.name for entry in scan_repository(folder).entries] == ["other"]
        assert find_artifact(folder / "bert", RepositoryEntry) is None
    else:
        with pytest.raises(RepositoryError, match=r"config\.pbtxt is not a file"):
            scan_repository(folder)
