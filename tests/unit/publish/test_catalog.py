"""One way to find a release: what a reference and a URI mean."""

from pathlib import Path

import pytest
from prep_triton.errors import ReleaseDamagedError, ReleaseMissingError, SpecError
from prep_triton.layout import POINTER_NAME
from prep_triton.publish.catalog import locate_release, resolve
from prep_triton.publish.folder import FolderStore
from prep_triton.publish.pointer import pointer_from_move
from prep_triton.publish.record import render_pointer
from prep_triton.publish.reports import save_report

from tests.fakes.releases import ID, URI, save_release
from tests.fakes.stores import remove_object

OLD, MIDDLE, NEW = (f"202601{day}T000000Z-0123456789ab" for day in (10, 20, 21))


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    """Three releases, of which the first was current and the second is."""
    store = FolderStore(tmp_path / "store")
    for release_id in (OLD, MIDDLE, NEW):
        save_release(store, release_id)
    pointer = pointer_from_move(pointer_from_move(None, OLD, "publish"), MIDDLE, "publish")
    store.write_bytes(POINTER_NAME, render_pointer(pointer))
    return store


@pytest.mark.parametrize(
    ("reference", "release_id"),
    [
        ("current", MIDDLE),
        ("previous", OLD),
        ("newest", NEW),
        (OLD, OLD),
        ("20260110", OLD),
        ("20260121T00", NEW),
        (OLD[:-1], OLD),
    ],
)
def test_a_reference_names_one_release(store: FolderStore, reference: str, release_id: str):
    release = resolve(store, reference)
    assert release.id == release_id
    assert release.uri == f"{store.uri}/releases/{release_id}"


def test_the_current_release_is_meant_where_nothing_is_named(store: FolderStore):
    assert resolve(store) == resolve(store, "current")


@pytest.mark.parametrize("reference", ["", "latest", "2026", "../x", f"releases/{OLD}", OLD.upper()])
def test_what_is_no_reference_is_refused(store: FolderStore, reference: str):
    with pytest.raises(SpecError, match="is not the id of a release") as caught:
        resolve(store, reference)
    assert "prep releases" in caught.value.hint


def test_the_beginning_of_several_ids_is_refused_with_those_that_it_may_mean(store: FolderStore):
    save_release(store, "20260120T000001Z-0123456789ab")
    with pytest.raises(SpecError, match=f"2 releases of {store.uri} begin with '20260120': .*{MIDDLE}") as caught:
        resolve(store, "20260120")
    assert "in full" in caught.value.hint


@pytest.mark.parametrize("reference", [ID, "20260131", f"{OLD}0"])
def test_a_release_that_is_not_there_is_missing(store: FolderStore, reference: str):
    with pytest.raises(ReleaseMissingError, match=f"has no release {reference}") as caught:
        resolve(store, reference)
    assert caught.value.hint == f"prep releases {store.uri}"


@pytest.mark.parametrize("reference", ["current", "newest"])
def test_an_empty_store_has_no_release(tmp_path: Path, reference: str):
    with pytest.raises(ReleaseMissingError, match="there is no release under") as caught:
        resolve(FolderStore(tmp_path), reference)
    assert "prep publish" in caught.value.hint


def test_nothing_is_previous_where_one_release_alone_was_current(tmp_path: Path):
    store = FolderStore(tmp_path)
    save_release(store, OLD)
    store.write_bytes(POINTER_NAME, render_pointer(pointer_from_move(None, OLD, "publish")))
    with pytest.raises(ReleaseMissingError, match="was current before"):
        resolve(store, "previous")


def test_without_a_pointer_the_newest_that_did_not_fail_is_current(store: FolderStore, caplog):
    caplog.set_level("INFO")
    remove_object(store, POINTER_NAME)
    save_report(store, NEW, {"failed": "no answer"})
    assert resolve(store).id == MIDDLE
    assert f"the newest release, {MIDDLE}, is taken" in caplog.text


def test_a_current_release_that_is_gone_is_not_replaced_by_another(store: FolderStore):
    remove_object(store, f"releases/{MIDDLE}/release.json")
    with pytest.raises(ReleaseDamagedError, match=f"current points at {MIDDLE}, which is gone"):
        resolve(store)
    assert resolve(store, "newest").id == NEW


@pytest.mark.parametrize(
    ("uri", "store_uri", "reference"),
    [
        ("gs://models/bert", "gs://models/bert", "current"),
        ("gs://models", "gs://models", "current"),
        (URI, "gs://models/bert", ID),
        (f"{URI}/", "gs://models/bert", ID),
        (f"gs://models/releases/{ID}", "gs://models", ID),
        (f"releases/{ID}", "{cwd}", ID),
        (f"releases/releases/{ID}", "{cwd}/releases", ID),
        ("./out", "{cwd}/out", "current"),
        ("./out/releases", "{cwd}/out", "current"),
        ("releases", "{cwd}/releases", "current"),
    ],
)
def test_a_uri_names_a_store_or_one_of_its_releases(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str, store_uri: str, reference: str
):
    monkeypatch.chdir(tmp_path)
    store, located = locate_release(uri)
    assert (store.uri, located) == (store_uri.format(cwd=tmp_path), reference)


def test_a_store_may_itself_be_called_releases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    save_release(FolderStore(tmp_path / "releases"), ID)
    for uri in ("releases", "./releases", "./releases/releases", f"./releases/releases/{ID}"):
        assert resolve(*locate_release(uri)).id == ID


def test_a_release_beside_the_uri_of_a_store_is_taken(tmp_path: Path):
    assert locate_release(str(tmp_path), "previous")[1] == "previous"
    assert locate_release(f"{tmp_path}/releases/{ID}", ID)[1] == ID


def test_two_names_of_different_releases_are_refused(tmp_path: Path):
    with pytest.raises(SpecError, match="names another"):
        locate_release(f"{tmp_path}/releases/{ID}", OLD)


def test_something_else_below_releases_is_refused():
    with pytest.raises(SpecError, match="'current' is not the id"):
        locate_release("gs://models/releases/current")
