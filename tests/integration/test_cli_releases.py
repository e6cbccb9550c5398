"""`prep publish`, `releases`, `rollback`, `prune` and `fetch` as users run them."""

import base64
import json
import os
import shutil
from pathlib import Path

import pytest
from prep_triton.publish.release import publish_release
from prep_triton.publish.reports import save_report
from prep_triton.publish.uri import open_store

from tests.fakes.exported import store_export
from tests.fakes.prep_command import Prep
from tests.fakes.releases import ID

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def assembled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model repository of one entry that lint accepts."""
    folder = tmp_path_factory.mktemp("assembled")

    store_export(folder / "build")
    Prep(folder).succeed("assemble", "tiny")
    return folder


@pytest.fixture
def prep(assembled: Path, tmp_path: Path) -> Prep:
    folder = tmp_path / "work"
    shutil.copytree(assembled, folder)
    return Prep(folder)


@pytest.fixture
def store(prep: Prep, make_repository):
    """A folder of two releases that were current one after the other; small ones, which lint does not see."""
    store = open_store(str(prep.folder / "releases"))
    for seed in (1, 2):
        publish_release(make_repository("bert", seed=seed), store)
    return store


def ids(prep: Prep) -> list[str]:
    return [release["id"] for release in prep.succeed("releases", "releases")["releases"]]


def test_a_dry_run_tells_the_bytes_and_the_publish_moves_them(prep: Prep):
    plan = prep.succeed("publish", "build/model_repository", "./releases", "--dry-run")
    assert not (prep.folder / "releases").exists()
    done = prep.succeed("publish", "build/model_repository", "./releases")
    assert (done["created"], done["moved"]) == (True, True)
    assert done["uploaded_bytes"] == plan["totals"]["upload"]["bytes"] == sum(file["size"] for file in plan["plan"])
    assert done["current"] == done["release"]["id"]
    again = prep.succeed("publish", "build/model_repository", "./releases")
    assert (again["created"], again["uploaded_bytes"], again["current"]) == (False, 0, done["current"])
    assert prep.succeed("publish", "build/model_repository", "./releases", "--dry-run")["unchanged"]


def test_publishing_the_same_again_does_not_lint_and_imports_nothing_heavy(prep: Prep):
    prep.succeed("publish", "build/model_repository", "./releases")
    done, imported = prep.run_and_list_imports("publish", "build/model_repository", "./releases")
    assert "holds the same content" in done.stdout
    assert not imported & {"torch", "onnx", "onnxruntime", "google", "tensorrt"}


def test_what_lint_refuses_is_not_published(prep: Prep):
    (prep.folder / "build/model_repository" / "tiny-onnx-fp32" / "1" / "model.onnx").write_bytes(b"damaged")
    error = prep.fail("publish", "build/model_repository", "./releases", code=1)
    assert "model.onnx" in error["message"]
    assert not (prep.folder / "releases" / "releases").exists()


def test_the_target_is_written_into_the_release(prep: Prep):
    release = prep.succeed("publish", "build/model_repository", "./releases", "--target", "25.08", "--gpu", "t4")[
        "release"
    ]
    assert (release["target"]["release"]["tag"], release["target"]["gpus"]) == ("25.08", {"t4": "7.5"})
    shown = prep.run("releases", "releases", "--show", "current").stdout
    assert "for Triton 25.08 (nvcr.io/nvidia/tritonserver:25.08-py3) with t4" in shown


def test_a_release_is_shown_with_every_manifest(prep: Prep):
    prep.succeed("publish", "build/model_repository", "./releases", "--no-current")
    shown = prep.succeed("releases", "releases", "--show", ids(prep)[0])
    (entry,) = shown["entries"]
    on_disk = json.loads((prep.folder / "build/model_repository" / "tiny-onnx-fp32" / "manifest.json").read_text())
    del on_disk["schema"]
    assert entry["manifest"] == on_disk
    listed = prep.succeed("releases", "releases")
    assert listed["current"] is None
    assert "manifest" not in listed["releases"][0]["entries"][0]


def test_releases_tell_which_is_current_and_what_changed(prep: Prep, store):
    listed = prep.run("releases", "releases").stdout
    assert "current" in listed
    assert "previous" in listed
    diff = prep.succeed("releases", "releases", "--diff", "previous", "current")
    assert [change["name"] for change in diff["changed"]] == ["bert"]
    uri = prep.run("releases", "releases", "--current").stdout.strip()
    assert uri == f"{store.uri}/releases/{ids(prep)[0]}"


def test_a_difference_names_the_keys_of_config_pbtxt(prep: Prep):
    prep.succeed("publish", "build/model_repository", "./releases")
    prep.succeed("assemble", "tiny", "--max-batch-size", "8", "--priority-levels", "3", "--default-priority-level", "2")
    prep.succeed("publish", "build/model_repository", "./releases")
    (change,) = prep.succeed("releases", "releases", "--diff", "previous", "current")["changed"]
    assert change["changed"] == ["size_bytes", "config"]
    keys = {key["key"]: (key["before"], key["after"]) for key in change["config"]}
    assert keys["max_batch_size"] == ("16", "8")
    assert keys["dynamic_batching.priority_levels"] == (None, "3")
    shown = prep.run("releases", "releases", "--diff", "previous", "current").stdout
    assert "tiny-onnx-fp32: max_batch_size 16 -> 8" in shown


def test_what_was_verified_of_a_release_is_listed(prep: Prep, store):
    newest, oldest = ids(prep)
    entry = {"name": "bert", "status": "loaded", "mean_cosine": 0.98765, "p50_ms": 4.2}
    save_report(store, oldest, {"entries": [entry], "regressions": [{"message": "bert: cosine went down"}]})
    listed = {release["id"]: release["verified"] for release in prep.succeed("releases", "releases")["releases"]}
    assert listed[newest] is None
    assert (listed[oldest]["passed"], listed[oldest]["cosine"], listed[oldest]["latency_ms"]) == (1, 0.98765, 4.2)
    shown = prep.run("releases", "releases").stdout
    assert f"{oldest}: bert: cosine went down" in shown
    assert "0.987650" in prep.run("releases", "releases", "--show", oldest).stdout


def test_rollback_moves_the_pointer_and_nothing_else(prep: Prep, store):
    before = {path: path.stat().st_mtime_ns for path in (prep.folder / "releases" / "releases").rglob("*")}
    newest, oldest = ids(prep)
    moved = prep.succeed("rollback", "releases")
    assert (moved["release"], moved["previous"]) == (oldest, newest)
    assert moved["uri"] == f"{store.uri}/releases/{oldest}"
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert "rolled back from" in prep.run("releases", "releases").stdout
    assert prep.succeed("rollback", "releases", newest)["release"] == newest
    assert prep.succeed("rollback", "./releases", "previous")["release"] == oldest


def test_prune_removes_nothing_without_yes(prep: Prep, store, make_repository):
    publish_release(make_repository("bert", seed=3), store)
    oldest = ids(prep)[-1]
    planned = prep.succeed("prune", "releases", "--keep", "1")
    assert ([pruned["id"] for pruned in planned["removed"]], planned["dry_run"]) == ([oldest], True)
    assert "--yes" in prep.run("prune", "releases", "--keep", "1").stdout
    assert oldest in ids(prep)
    done = prep.succeed("prune", "releases", "--keep", "1", "--yes")
    assert done["removed"] == planned["removed"]
    assert ids(prep) == done["kept"]
    assert oldest not in done["kept"]


@pytest.mark.usefixtures("store")
def test_prune_that_removes_nothing_says_why(prep: Prep):
    newest, oldest = ids(prep)
    done = prep.run("prune", "releases", "--keep", "1")
    assert done.stdout.splitlines() == [
        "nothing to remove; 2 releases stay",
        f"  {oldest} stays beyond the 1 newest: it is what was current before",
    ]
    assert prep.succeed("prune", "releases", "--keep", "1")["named"] == {newest: "current", oldest: "previous"}
    assert "--keep 5 keeps the 5 newest, and there are 2" in prep.run("prune", "releases", "--keep", "5").stdout


def test_publishing_what_was_rolled_back_from_ends_with_the_command_that_makes_it_current(prep: Prep, store):
    left = prep.succeed("publish", "build/model_repository", "releases")["release"]["id"]
    prep.succeed("rollback", "releases")
    done = prep.run("publish", "build/model_repository", "releases")
    command = f"prep rollback {store.uri} {left}"
    assert done.stderr.splitlines()[-1].startswith(f"next: {command} makes it current")
    assert prep.succeed(*command.split()[1:])["release"] == left


def test_a_release_is_fetched_and_checked(prep: Prep, store):
    newest, oldest = ids(prep)
    assert prep.succeed("fetch", "releases", "copy")["release"] == newest
    assert (prep.folder / "copy" / "bert" / "1" / "model.onnx").is_file()
    assert prep.succeed("fetch", f"{store.uri}/releases/{oldest}", "old")["release"] == oldest
    assert prep.succeed("fetch", "./releases", "named", "--release", oldest[:-1])["release"] == oldest
    checked = prep.succeed("publish", "--check", "releases")
    assert (checked["release"], checked["files"]) == (newest, 5)
    model = prep.folder / "releases" / "releases" / newest / "bert" / "1" / "model.onnx"
    model.write_bytes(b"\xff" * model.stat().st_size)
    error = prep.fail("publish", "--check", "releases", code=1)
    assert "bert/1/model.onnx is 2000 bytes, crc32c" in error["message"]
    prep.fail("fetch", "releases", "damaged", code=1)
    assert not (prep.folder / "damaged").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message", "hint"),
    [
        (
            ("publish", "build/model_repository"),
            2,
            "no URI to publish build/model_repository to",
            "prep publish build/model_repository gs://",
        ),
        (("publish", "build/model_repository", "gs://"), 2, "does not name a bucket", "gs://BUCKET/PREFIX"),
        (("publish", "build/model_repository", "gs:/bucket"), 2, "is not a bucket's URI", "two slashes"),
        (("publish", "build/model_repository", "gs://bucket/a b"), 2, "has the segment 'a b'", "ASCII letters"),
        (("publish", "build/model_repository", "gs://bucket/mödel"), 2, "has the segment 'mödel'", "ASCII letters"),
        (("publish", "build/model_repository", "gs://bucket/../other"), 2, "has the segment '..'", "ASCII letters"),
        (("publish", "build/model_repository", "gs://bucket/-x"), 2, "has the segment '-x'", "ASCII letters"),
        (("publish", "build/model_repository", "gs://bucket//x"), 2, "has an empty segment", "single slashes"),
        (("publish", "build/model_repository", "r", "--gpu", "t4"), 2, "--gpu describes a target", "add --target"),
        (
            ("publish", "build/model_repository", "r", "--target", "latest"),
            2,
            "is not a Triton release such as 25.08",
            "",
        ),
        (
            ("publish", "build/model_repository", "r", "--target", "19.99"),
            2,
            "Triton 19.99 is not in the table",
            "triton",
        ),
        (("publish", "--check", "empty", "--dry-run"), 2, "--check and --dry-run exclude each other", "remove one"),
        (("publish", "--check", "empty"), 2, "there is no release under", "prep publish"),
        (("publish", "nowhere", "r"), 2, "there is no model repository nowhere", "prep assemble"),
        (("releases", "empty", "--show", "current"), 2, "there is no release under", "prep publish"),
        (("releases", "empty", "--show", "previous"), 2, "was current before", "prep releases"),
        (("releases", "empty", "--show", ID), 2, f"has no release {ID}", "prep releases"),
        (("releases", "empty", "--diff", "a", "b"), 2, "'a' is not the id of a release", "prep releases"),
        (("releases", "empty", "--current", "--show", ID), 2, "exclude each other", "one of them"),
        (("rollback", "empty"), 1, "was made current yet", "prep rollback"),
        (("rollback", "empty", "../x"), 2, "'../x' is not the id of a release", "prep releases"),
        (("prune", "empty", "--keep", "0"), 2, "--keep is 0, expected 1 at least", "--keep 5"),
        (("fetch", "empty", "copy"), 2, "there is no release under", "prep publish"),
        (("fetch", f"empty/releases/{ID}", "copy", "--release", f"{ID[:-1]}c"), 2, "names another", "--release"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_cannot_be_done_is_refused_in_a_sentence(prep: Prep, arguments, code: int, message: str, hint: str):
    error = prep.fail(*arguments, code=code)
    assert message in error["message"]
    assert hint in error["hint"]
    assert not (prep.folder / "copy").exists()


def test_no_key_or_token_is_shown_or_written(prep: Prep, gcs_bucket: str):
    key = base64.b64encode(os.urandom(32)).decode()
    uri = f"gs://{gcs_bucket}/models"
    secrets = {"PREP_GCS_ENCRYPTION_KEY": key, "PREP_GCS_USER_PROJECT": "payer"}
    runs = [
        prep.run("publish", "build/model_repository", uri, "-v", "--json", **secrets),
        prep.run("publish", "--check", uri, "-v", **secrets),
        prep.run("fetch", uri, "copy", "-v", **secrets),
        prep.run("releases", uri, "--show", "current", "--json", "-v", **secrets),
        prep.run("publish", "build/model_repository", uri, "-v", PREP_GCS_ENCRYPTION_KEY=f"{key}x", PREP_DEBUG="1"),
    ]
    assert [done.returncode for done in runs[:4]] == [0] * 4, runs[0].stderr
    written = [path.read_bytes() for path in prep.folder.rglob("*") if path.is_file()]
    stored = [open_store(uri).read_bytes(stored.name) for stored in open_store(uri).list_objects("")]
    for text in (*(done.stdout + done.stderr for done in runs), *written, *stored):
        content = text.encode() if isinstance(text, str) else text
        assert key.encode() not in content
        assert b"Bearer" not in content
