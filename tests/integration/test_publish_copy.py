"""What an earlier release holds is copied inside the store, and a plan says so first."""

import pytest
from prep_triton.publish.catalog import list_releases
from prep_triton.publish.check import check_release
from prep_triton.publish.plan import plan_release
from prep_triton.publish.release import carry_out, publish_release

from tests.fakes.stores import damage_object, remove_object, replace_object

pytestmark = pytest.mark.integration


def test_only_the_model_that_changed_goes_up(store, make_repository):
    names = [f"model{number}" for number in range(4)]
    publish_release(make_repository(*names, model_bytes=50_000), store)
    folder = make_repository("model2", seed=7, model_bytes=50_000)
    plan = plan_release(folder, store)
    assert all(name.startswith("model2/") for name in plan.uploads)
    assert plan.size_of(plan.copies) > 3 * 50_000
    published = publish_release(folder, store)
    assert published.uploaded_bytes == plan.size_of(plan.uploads) < 60_000
    assert published.copied_bytes == plan.size_of(plan.copies)
    assert published.uploaded_files + published.copied_files == len(published.release.files) == 20
    check_release(store, published.release)


def test_content_of_any_earlier_release_is_copied(store, make_repository):
    for seed in (1, 2, 3):
        publish_release(make_repository("bert", seed=seed), store)
    published = publish_release(make_repository("bert", seed=1), store)
    # All but the manifest, which says when it was written.
    assert (published.created, published.uploaded_files, published.copied_files) == (True, 1, 4)


def test_plan_of_a_killed_publish_says_what_is_there(store, make_repository):
    folder = make_repository("bert")
    plan = plan_release(folder, store)
    name = "bert/1/model.onnx"
    file = plan.release.files[name]
    store.upload_file(f"releases/{plan.release.id}/{name}", plan.paths[name], crc32c=file.crc32c)
    again = plan_release(folder, store)
    assert again.release.id == plan.release.id
    assert set(again.present) == {name}
    assert name not in again.uploads


def test_plan_of_content_that_is_published_names_the_release(store, make_repository):
    published = publish_release(make_repository(), store)
    plan = plan_release(make_repository(), store)
    assert plan.is_published
    assert plan.release == published.release
    assert plan.uploads == []


@pytest.mark.parametrize("how", ["deleted", "replaced"])
def test_source_that_is_gone_when_it_is_copied_is_uploaded_instead(store, make_repository, how):
    publish_release(make_repository("bert", "distilbert"), store)
    plan = plan_release(make_repository("bert", seed=1), store)
    source = plan.copies["distilbert/1/model.onnx"]
    if how == "deleted":
        remove_object(store, source.name)
    else:
        replace_object(store, source.name, b"something else")
    published = carry_out(plan, store)
    check_release(store, published.release)
    assert published.copied_files == len(plan.copies) - 1
    assert published.uploaded_files == len(plan.uploads) + 1


def test_object_that_is_not_what_its_release_says_is_not_copied(store, make_repository):
    release = publish_release(make_repository("bert", "distilbert"), store).release
    damage_object(store, f"releases/{release.id}/distilbert/1/model.onnx")
    plan = plan_release(make_repository("bert", seed=1), store)
    assert "distilbert/1/model.onnx" in plan.uploads


def test_damaged_release_json_keeps_nobody_from_publishing(store, make_repository, caplog):
    damaged = publish_release(make_repository("bert"), store).release
    replace_object(store, f"releases/{damaged.id}/release.json", b"{")
    published = publish_release(make_repository("bert", seed=1), store)
    assert published.is_current
    assert list_releases(store) == [published.release]
    assert f"{damaged.id}/release.json is damaged" in caplog.text


def test_another_target_is_another_release_of_the_same_bytes(store, make_repository):
    from prep_triton.spec import TargetSpec
    from prep_triton.target import resolve_target

    folder = make_repository("bert")
    publish_release(folder, store)
    target = resolve_target(TargetSpec(triton="25.08", gpus=("t4",)))
    published = publish_release(folder, store, target=target)
    assert (published.created, published.uploaded_files, published.copied_files) == (True, 0, 5)
    assert published.release.target == target
    assert not publish_release(folder, store, target=target).created
