"""Pruning on a real GCS server and in a folder: never what the pointer names, and release.json first."""

from datetime import timedelta

import pytest
from prep_triton.errors import SpecError, StoreError
from prep_triton.publish import prune as prune_module
from prep_triton.publish.catalog import list_ids, list_releases, load_pointer, read_release
from prep_triton.publish.check import check_release
from prep_triton.publish.plan import plan_release
from prep_triton.publish.pointer import rollback
from prep_triton.publish.prune import prune_releases
from prep_triton.publish.record import TOMBSTONE
from prep_triton.publish.release import publish_release

from tests.fakes.stores import HookedStore, replace_object

pytestmark = pytest.mark.integration


@pytest.fixture
def releases(store, make_repository):
    """Five releases, the oldest first."""
    return [publish_release(make_repository("bert", seed=seed), store).release for seed in range(5)]


@pytest.fixture
def remains(store, make_repository):
    """What a killed publisher left: one object and no release.json."""
    plan = plan_release(make_repository("distilbert", seed=99), store)
    store.write_bytes(f"releases/{plan.release.id}/distilbert/config.pbtxt", b"x")
    return plan.release.id


@pytest.fixture
def days_later(monkeypatch):
    monkeypatch.setattr(prune_module, "REMAINS_AFTER", timedelta(seconds=-5))


def test_dry_run_says_what_would_go_and_removes_nothing(store, releases):
    before = store.list_objects("")
    report = prune_releases(store, 2)
    assert report.dry_run
    assert [pruned.id for pruned in report.removed] == [release.id for release in releases[2::-1]]
    assert [(pruned.kind, pruned.files) for pruned in report.removed] == [("release", 5)] * 3
    assert report.size == sum(release.size for release in releases[:3])
    assert store.list_objects("") == before


def test_all_but_the_newest_go(store, releases):
    report = prune_releases(store, 2, dry_run=False)
    # The previous one is one of the two newest.
    assert list(report.kept) == list_ids(store) == [releases[4].id, releases[3].id]
    assert list_releases(store) == [releases[4], releases[3]]
    assert {stored.name.split("/")[1] for stored in store.list_objects("releases/")} == set(report.kept)
    assert prune_releases(store, 2, dry_run=False).removed == ()


def test_what_the_pointer_names_stays(store, releases):
    rollback(store, releases[1].id)
    report = prune_releases(store, 1, dry_run=False)
    # Current, and what was current before it, which is the newest as well.
    assert set(report.kept) == {releases[1].id, releases[4].id}
    for release in list_releases(store):
        check_release(store, release)


@pytest.mark.parametrize("keep", [0, -1])
def test_nothing_to_keep_is_refused(store, keep):
    with pytest.raises(SpecError, match="1 at least") as caught:
        prune_releases(store, keep)
    assert "--keep" in caught.value.hint


def test_remains_of_a_killed_publisher_stay_for_a_day(store, releases, remains):
    assert prune_releases(store, 5, dry_run=False).removed == ()
    assert remains in list_ids(store)


def test_older_remains_go(store, releases, remains, days_later):
    assert [(pruned.id, pruned.kind, pruned.files) for pruned in prune_releases(store, 5).removed] == [
        (remains, "remains", 1)
    ]
    assert remains in list_ids(store)
    prune_releases(store, 5, dry_run=False)
    assert remains not in list_ids(store)
    assert len(list_releases(store)) == 5


def test_remains_that_their_publisher_finishes_in_the_same_moment_stay(store, releases, remains, days_later):
    def finish(name, content):
        if content == TOMBSTONE:
            store.write_bytes(name, b"finished")

    assert prune_releases(HookedStore(store, before_write=finish), 5, dry_run=False).removed == ()
    assert store.read_bytes(f"releases/{remains}/distilbert/config.pbtxt") == b"x"


def test_publisher_whose_remains_are_being_removed_makes_another_release(store, make_repository):
    folder = make_repository("bert")
    plan = plan_release(folder, store)
    base = f"releases/{plan.release.id}"
    store.write_bytes(f"{base}/bert/config.pbtxt", (folder / "bert" / "config.pbtxt").read_bytes())
    store.write_bytes(f"{base}/release.json", TOMBSTONE)
    published = publish_release(folder, store)
    assert published.release.id != plan.release.id
    assert read_release(store, plan.release.id) is None
    assert list_releases(store) == [published.release]


def test_prune_that_was_killed_is_finished_by_the_next(store, releases, days_later, monkeypatch):
    def kill(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(prune_module, "_delete", kill)
        with pytest.raises(KeyboardInterrupt):
            prune_releases(store, 4, dry_run=False)
    assert list_releases(store) == releases[:0:-1]
    assert len(list_ids(store)) == 5
    report = prune_releases(store, 4, dry_run=False)
    assert [(pruned.id, pruned.kind) for pruned in report.removed] == [(releases[0].id, "remains")]
    assert len(list_ids(store)) == 4


def test_release_made_current_while_it_is_removed_comes_back(store, releases, caplog):
    victim = releases[0]

    def make_current(name):
        if name.endswith(f"{victim.id}/release.json"):
            rollback(store, victim.id)

    report = prune_releases(HookedStore(store, before_delete=make_current), 3, dry_run=False)
    assert victim.id not in {pruned.id for pruned in report.removed}
    assert "it stays" in caplog.text
    assert load_pointer(store).release == victim.id
    kept = read_release(store, victim.id)
    assert kept is not None
    check_release(store, kept)


def test_release_json_goes_first(store, releases):
    deleted: list[str] = []
    prune_releases(HookedStore(store, before_delete=deleted.append), 4, dry_run=False)
    assert deleted[0] == f"releases/{releases[0].id}/release.json"
    assert len(deleted) == 6


def test_damaged_pointer_stops_pruning(store, releases):
    replace_object(store, "current.json", b"{")
    with pytest.raises(StoreError, match="is damaged"):
        prune_releases(store, 1, dry_run=False)
    assert len(list_releases(store)) == 5
