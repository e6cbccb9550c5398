"""The `current` pointer on a real GCS server and in a folder: one winner, and a way back."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from prep_triton.errors import PointerMovedError, ReleaseDamagedError, SpecError, StoreError
from prep_triton.layout import POINTER_NAME
from prep_triton.publish import pointer as pointer_module
from prep_triton.publish.catalog import list_releases, load_pointer, read_pointer, read_release, resolve
from prep_triton.publish.plan import plan_release
from prep_triton.publish.pointer import move_current, rollback
from prep_triton.publish.release import carry_out, publish_release
from prep_triton.publish.uri import open_store

from tests.fakes.releases import ID
from tests.fakes.stores import lose_answers, remove_object, replace_object

pytestmark = pytest.mark.integration


@pytest.fixture
def publish(store, make_repository):
    def publish(seed, **options):
        return publish_release(make_repository("bert", seed=seed), store, **options)

    return publish


def test_publishing_makes_current_and_remembers_what_was(store, publish):
    assert load_pointer(store) is None
    first, second = publish(1), publish(2)
    pointer = load_pointer(store)
    assert pointer == second.pointer
    assert (pointer.release, pointer.previous) == (second.release.id, first.release.id)
    assert pointer.path == f"releases/{second.release.id}"
    assert "@" in pointer.by
    assert second.is_moved
    assert second.is_current
    assert resolve(store) == resolve(store, "current") == second.release
    assert resolve(store, "previous") == first.release


def test_release_without_moving_the_pointer_is_not_the_latest(store, publish):
    first = publish(1)
    second = publish(2, make_current=False)
    assert not second.is_current
    assert resolve(store) == first.release
    again = publish(2)
    assert (again.created, again.is_moved) == (False, True)
    assert resolve(store) == second.release


def test_store_without_a_pointer_means_its_newest_release_and_says_so(store, publish, caplog):
    caplog.set_level("INFO")
    publish(1, make_current=False)
    newest = publish(2, make_current=False).release
    assert resolve(store) == newest
    assert f"the newest release, {newest.id}, is taken" in caplog.text


def test_publishing_what_is_current_moves_nothing(store, publish):
    first = publish(1)
    again = publish(1)
    assert (again.created, again.is_moved, again.is_current) == (False, False, True)
    assert load_pointer(store) == first.pointer


def test_of_two_publishers_the_second_learns_who_won(store, make_repository, tmp_path):
    mine = plan_release(make_repository("bert", seed=1), store)
    # The plan holds paths, and the other publisher's repository takes their place.
    moved, original = tmp_path / "mine", tmp_path / "model_repository"
    original.rename(moved)
    mine = replace(mine, paths={name: moved / path.relative_to(original) for name, path in mine.paths.items()})
    winner = publish_release(make_repository("bert", seed=2), store).release
    with pytest.raises(PointerMovedError, match=f"another run made {winner.id} current first") as caught:
        carry_out(mine, store)
    assert caught.value.release_id == winner.id
    assert caught.value.by == load_pointer(store).by
    assert f"prep rollback {store.uri} {mine.release.id}" in caught.value.hint
    assert load_pointer(store).release == winner.id
    assert {release.id for release in list_releases(store)} == {winner.id, mine.release.id}


@pytest.mark.parametrize("publishers", [2, 4])
def test_of_publishers_at_once_one_moves_the_pointer_from_where_it_was(store, publish, publishers):
    releases = [publish(seed, make_current=False).release for seed in range(publishers)]
    seen, barrier = read_pointer(store), threading.Barrier(publishers)

    def move(release):
        own = open_store(store.uri)
        barrier.wait(60)
        try:
            return move_current(own, release.id, seen).release
        except PointerMovedError as err:
            return err

    with ThreadPoolExecutor(publishers) as pool:
        answers = list(pool.map(move, releases))
    winners = [answer for answer in answers if isinstance(answer, str)]
    assert winners == [load_pointer(store).release]
    assert {err.release_id for err in answers if not isinstance(err, str)} == set(winners)


def test_same_content_made_current_by_another_run_is_no_failure(store, make_repository):
    folder = make_repository("bert")
    plans = [plan_release(folder, store) for _ in range(2)]
    first, second = (carry_out(plan, store) for plan in plans)
    assert first.is_moved
    assert not second.is_moved
    assert load_pointer(store).release == first.release.id


def test_own_move_whose_answer_was_lost_is_recognised(store, publish):
    release = publish(1, make_current=False).release
    assert move_current(lose_answers(store), release.id, read_pointer(store)) == load_pointer(store)


def test_rollback_goes_to_what_was_current_before(store, publish):
    first, second = publish(1).release, publish(2).release
    pointer = rollback(store)
    assert pointer == load_pointer(store)
    assert (pointer.release, pointer.previous, pointer.reason) == (first.id, second.id, "rollback")
    assert resolve(store) == first
    assert len(list_releases(store)) == 2


def test_second_rollback_does_not_guess(store, publish):
    for seed in (1, 2):
        publish(seed)
    first = rollback(store)
    with pytest.raises(StoreError, match="current was rolled back already") as caught:
        rollback(store)
    assert "prep rollback" in caught.value.hint
    assert rollback(store, first.previous).release == first.previous


def test_what_was_rolled_back_from_is_not_made_current_by_publishing_it_again(store, publish, caplog):
    first, second = publish(1).release, publish(2)
    rollback(store)
    again = publish(2)
    assert (again.created, again.is_moved) == (False, False)
    assert again.pointer.release == first.id
    assert f"prep rollback {store.uri} {second.release.id}" in caplog.text
    rollback(store, second.release.id)
    assert publish(2).is_current
    third = publish(3)
    assert third.is_moved
    assert third.pointer.rolled_back == ()


def test_rollback_to_the_current_release_changes_nothing(store, publish):
    published = publish(1)
    assert rollback(store, published.release.id) == published.pointer


def test_rollback_without_anything_to_go_back_to_is_refused(store, publish):
    with pytest.raises(StoreError, match="was made current yet") as caught:
        rollback(store)
    assert "prep releases" in caught.value.hint
    publish(1)
    with pytest.raises(StoreError, match="is the first release that was current"):
        rollback(store)


def test_rollback_to_what_is_no_release_is_refused(store, publish):
    publish(1)
    with pytest.raises(StoreError, match=f"has no release {ID}"):
        rollback(store, ID)
    with pytest.raises(SpecError, match="is not the id of a release"):
        rollback(store, "../elsewhere")


def test_rollback_to_a_release_that_is_not_whole_is_refused(store, publish):
    first = publish(1).release
    second = publish(2)
    remove_object(store, f"releases/{first.id}/bert/1/model.onnx")
    with pytest.raises(ReleaseDamagedError, match=r"bert/1/model.onnx is missing"):
        rollback(store)
    assert load_pointer(store) == second.pointer


def test_pointer_to_a_release_that_is_gone_is_an_error_and_publishing_mends_it(store, publish):
    release = publish(1).release
    remove_object(store, f"releases/{release.id}/release.json")
    with pytest.raises(ReleaseDamagedError, match=f"current points at {release.id}, which is gone") as caught:
        resolve(store)
    assert "prep rollback" in caught.value.hint
    mended = publish(2)
    assert mended.is_moved
    assert resolve(store) == mended.release


def test_damaged_pointer_is_an_error_and_can_be_replaced(store, publish, caplog):
    first = publish(1)
    replace_object(store, POINTER_NAME, b"{")
    for act in (lambda: load_pointer(store), lambda: rollback(store)):
        with pytest.raises(ReleaseDamagedError, match=r"current.json is damaged") as caught:
            act()
        assert "prep rollback" in caught.value.hint
    assert rollback(store, first.release.id).release == first.release.id
    replace_object(store, POINTER_NAME, b"{")
    assert publish(2).is_moved
    assert "current.json is damaged" in caplog.text


def test_pointer_of_a_newer_prep_is_refused(store, publish):
    store.write_bytes(POINTER_NAME, b'{"schema": 2}')
    for act in (lambda: publish(1), lambda: resolve(store), lambda: rollback(store, ID)):
        with pytest.raises(StoreError, match="made by a newer prep") as caught:
            act()
        assert "pip install --upgrade" in caught.value.hint


def test_move_to_a_release_that_is_pruned_in_the_same_moment_is_taken_back(store, publish, monkeypatch):
    first, second = publish(1).release, publish(2)
    monkeypatch.setattr(
        pointer_module, "read_release", lambda store, which: None if which == first.id else read_release(store, which)
    )
    with pytest.raises(StoreError, match=f"{first.id} was removed from .* while it was made current"):
        rollback(store)
    assert load_pointer(store).release == second.release.id


def test_first_move_to_a_release_that_is_pruned_in_the_same_moment_is_an_error(store, publish, monkeypatch):
    release = publish(1, make_current=False).release
    monkeypatch.setattr(pointer_module, "read_release", lambda store, which: None)
    with pytest.raises(ReleaseDamagedError, match=f"{release.id} was removed") as caught:
        move_current(store, release.id, read_pointer(store))
    assert "name another release" in caught.value.hint
