"""Small versions of the campaigns of `scripts/torment_release.py`: whatever happens, no reader sees half a release."""

import importlib
import sys
from pathlib import Path

import pytest
from prep_triton.publish.catalog import list_releases
from prep_triton.publish.gcs.session import Patience
from prep_triton.publish.release import publish_release
from prep_triton.publish.store import open_store

pytestmark = [
    pytest.mark.integration,
    # A connection that breaks in the middle of an answer is left to the garbage collector by the HTTP library.
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket.socket:pytest.PytestUnraisableExceptionWarning"),
]

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture
def torment(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    for name in ("fault_proxy", "torment_release"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module("torment_release")


@pytest.fixture
def bench(torment, gcs_server, gcs_bucket, tmp_path, monkeypatch):
    monkeypatch.setattr(torment, "BUCKET", f"gs://{gcs_bucket}")
    return torment.Bench(gcs_server, tmp_path)


def words(bench):
    return [word.strip(",") for _, figure in bench.rows for word in figure.split()]


def test_network_faults_leave_whole_releases_or_none(torment, bench):
    torment.torment_by_faults(bench, 10)
    assert bench.rows[0][0].startswith("faults: 10 seeded runs")
    assert bench.rows[0][1].startswith("10 whole")


def test_kill_at_any_request_leaves_whole_releases_or_none(torment, bench):
    torment.torment_by_kills(bench, 6)
    assert bench.rows == [("kill -9 at 6 points", "6 whole")]


def test_of_publishers_at_once_one_wins_and_none_is_lost(torment, bench):
    torment.torment_by_races(bench, 3)
    assert [figure for _, figure in bench.rows] == ["3 whole, 3 one winner, told to the others, 3 none lost"] * 2


def test_judge_sees_what_is_broken(torment, bench):
    folder, uri = bench.repository(["one"]), f"{torment.BUCKET}/judged"
    store = open_store(uri)
    release = publish_release(folder, store).release
    assert torment.find_broken(store) == {}
    model = store.stat(f"releases/{release.id}/one/1/model.onnx")
    store.write_bytes(model.name, b"\0" * model.size, if_generation_match=model.generation)
    assert torment.find_broken(store) == {"WRONG OBJECTS UNDER release.json": 1}
    seal = store.stat(f"releases/{release.id}/release.json")
    damaged = store.write_bytes(seal.name, b"{", if_generation_match=seal.generation)
    with pytest.raises(Exception, match="is damaged"):
        torment.find_broken(store)
    store.delete_object(seal.name, if_generation_match=damaged.generation)
    assert torment.find_broken(store) == {"POINTER TO NOTHING": 1}
    assert list_releases(store) == []


@pytest.mark.parametrize("kind", ["reset-after", "lost", "cut", "reset", "unavailable"])
def test_one_kind_of_fault_at_one_request_in_ten_is_survived(torment, bench, kind):
    folder, uri = bench.repository(["one", "two"], size=20_000), f"{torment.BUCKET}/{kind}"
    with torment.run_fault_proxy(bench.url) as proxy:
        proxy.plan(3, 0.1, (kind,))
        store = torment.open_behind(proxy.url, uri, Patience(retry_after_s=0.01))
        assert publish_release(folder, store).is_current
        assert proxy.met
    assert torment.find_broken(open_store(uri)) == {}
