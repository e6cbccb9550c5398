"""The target lock: what the server of a release would not load is not published."""

import json

import pytest
from prep_triton.artifact import VendoredRecord
from prep_triton.errors import RepositoryError
from prep_triton.publish.release import publish_release
from prep_triton.publish.uri import open_store
from prep_triton.spec import TargetSpec
from prep_triton.target import resolve_target

from scripts.benchmarks.records import make_plan

pytestmark = pytest.mark.integration


def change_manifest(folder, name, **changes):
    manifest = folder / name / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), **changes}))


def engine(version, capability):
    gpu = "t4" if capability == "7.5" else "l4"
    return make_plan(gpu, name="bert", builder_version=version, profiles=()).model_dump(mode="json")


@pytest.mark.parametrize(
    ("changes", "gpus", "message", "hint"),
    [
        (
            {"runtime": "tensorrt", "engines": [engine("9.1.0", "7.5")]},
            ("t4",),
            r"bert: its t4 plan was built by TensorRT 9.1.0, Triton 25.08 has TensorRT 10.13",
            "prep build-engine --fp16 --gpu t4 --builder tensorrt",
        ),
        (
            {"runtime": "tensorrt", "engines": [engine("10.13.2", "7.5")]},
            ("l4",),
            r"bert: its plans are for compute capability 7.5, the target's l4 has 8.9",
            "--gpu l4 --builder tensorrt",
        ),
        (
            {
                "vendored": VendoredRecord(
                    package="tokenizers", version="0.22", python="3.13", platform="linux/amd64"
                ).model_dump()
            },
            (),
            r"bert: tokenizers 0.22 needs Python 3.13, Triton 25.08 has 3.12",
            "choose a newer Triton release",
        ),
    ],
)
def test_entry_that_does_not_fit_is_refused_before_anything_is_sent(
    make_repository, tmp_path, changes, gpus, message, hint
):
    folder, store = make_repository("bert", "distilbert"), open_store(str(tmp_path / "store"))
    change_manifest(folder, "bert", precision="fp16", **changes)
    target = resolve_target(TargetSpec(triton="25.08", gpus=gpus))
    with pytest.raises(RepositoryError, match=message) as caught:
        publish_release(folder, store, target=target)
    assert hint in caught.value.hint
    assert store.list_objects("") == []
    assert publish_release(folder, store, target=target, entries=["distilbert"]).release.target == target


def test_misfits_beyond_the_first_are_counted(make_repository, tmp_path):
    folder = make_repository("bert", "distilbert")
    for name in ("bert", "distilbert"):
        change_manifest(folder, name, runtime="tensorrt", engines=[engine("9.1.0", "7.5")])
    with pytest.raises(RepositoryError, match=r"\(and 1 more\)"):
        publish_release(
            folder, open_store(str(tmp_path / "s")), target=resolve_target(TargetSpec(triton="25.08", gpus=("t4",)))
        )


def test_plan_that_fits_is_published_with_its_manifests(make_repository, tmp_path):
    folder = make_repository("bert")
    target = resolve_target(TargetSpec(triton="25.08", gpus=("t4",)))
    change_manifest(folder, "bert", runtime="tensorrt", engines=[engine(target.release.tensorrt, "7.5")])
    release = publish_release(folder, open_store(str(tmp_path / "store")), target=target).release
    assert release.entries[0].manifest["engines"][0]["builder_version"] == target.release.tensorrt


def test_what_cannot_be_checked_is_a_warning_and_published(make_repository, tmp_path, caplog):
    folder = make_repository("bert")
    target = resolve_target(TargetSpec(triton="25.08", gpus=("t4",)))
    unknown = target.model_copy(update={"release": target.release.model_copy(update={"tensorrt": None})})
    change_manifest(folder, "bert", runtime="tensorrt", engines=[engine("10.13.2", "7.5")])
    assert publish_release(folder, open_store(str(tmp_path / "store")), target=unknown).created
    assert "is not known, so its plans cannot be checked" in caplog.text


def test_what_is_in_doubt_is_a_warning_with_its_hint_and_published(make_repository, tmp_path, caplog):
    folder = make_repository("bert")
    target = resolve_target(TargetSpec(triton="26.04", gpus=("t4",), driver="550.54"))
    change_manifest(folder, "bert", runtime="tensorrt", engines=[engine("10.16.1.11", "7.5")])
    release = publish_release(folder, open_store(str(tmp_path / "store")), target=target).release
    assert release.target == target
    assert "the driver 550.54 is older than R580, which the CUDA of Triton 26.04 needs; install R580" in caplog.text
