"""`scripts/benchmarks/stress_release.py` in small: whatever happens, no reader sees half a release."""

import pytest
from prep_triton.publish.catalog import list_releases
from prep_triton.publish.gcs.session import Patience
from prep_triton.publish.release import publish_release
from prep_triton.publish.uri import open_store

from scripts.benchmarks.fault_proxy import run_fault_proxy
from scripts.benchmarks.release_checks import check_store, find_broken, find_untrue
from scripts.benchmarks.stress_release import (
    Bench,
    open_behind,
    stress_by_faults,
    stress_by_kills,
    stress_by_meddling,
    stress_by_races,
)

pytestmark = [
    pytest.mark.integration,
    # A connection that breaks in the middle of an answer is left to the garbage collector by the HTTP library.
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket.socket:pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def bench(gcs_server, gcs_bucket, tmp_path):
    return Bench(gcs_server, tmp_path, f"gs://{gcs_bucket}")


def words(bench):
    return [word.strip(",") for _, figure in bench.rows for word in figure.split()]


def test_network_faults_leave_whole_releases_or_none(bench):
    stress_by_faults(bench, 10)
    assert bench.rows[0][0].startswith("faults: 10 seeded runs")
    assert bench.rows[0][1].startswith("10 whole")


def test_kill_around_the_seal_and_at_any_request_leaves_whole_releases_or_none(bench):
    stress_by_kills(bench, 7)
    assert bench.rows == [("kill -9 at 7 points", "7 whole")]


def test_of_a_release_that_another_changes_nothing_is_sealed(bench):
    stress_by_meddling(bench, 6)
    assert [figure for _, figure in bench.rows] == ["6 refused, 6 whole"]


# The mistakes that the scripts are there to find, made on purpose.
SEAL_EARLY = """
import prep_triton.publish.release as room
def copy_files(store, folder, files, sources, progress, copy=room.copy_files):
    room._seal(plan.release, store)
    return copy(store, folder, files, sources, progress)
def carry_out(carried, store, carry=room.carry_out, **options):
    global plan
    plan = carried
    return carry(carried, store, **options)
room.copy_files, room.carry_out = copy_files, carry_out
"""
POINT_EARLY = """
import prep_triton.publish.pointer as pointer, prep_triton.publish.release as room
pointer.resolve = pointer._check_still_there = lambda *arguments: None
def make_release(plan, store, progress, make=room._make_release):
    pointer.move_current(store, plan.release.id, plan.state)
    return make(plan, store, progress)
room._make_release = make_release
room.promote_release = lambda published, store: published
"""


@pytest.mark.parametrize(
    ("mistake", "symptom"), [(SEAL_EARLY, "WRONG OBJECTS UNDER release.json"), (POINT_EARLY, "POINTER TO NOTHING")]
)
def test_a_few_kills_see_what_is_written_too_early(bench, mistake, symptom):
    bench.prelude = mistake
    stress_by_kills(bench, 2)
    assert symptom in bench.rows[0][1]


def test_a_publish_without_its_check_is_seen(bench, monkeypatch):
    monkeypatch.setattr("prep_triton.publish.release.check_release", lambda *arguments, **options: None)
    stress_by_meddling(bench, 3)
    assert "SUCCESS WITH OTHER OBJECTS THAN FILES" in bench.rows[0][1]
    assert "refused" not in bench.rows[0][1]


def test_a_success_that_left_nothing_is_seen(bench):
    folder, uri = bench.repository(["one"]), f"{bench.uri}/nothing"
    assert find_broken(open_store(uri)) == {}
    assert find_untrue(folder, uri) == {"SUCCESS WITHOUT release.json": 1, "SUCCESS WITH OTHER OBJECTS THAN FILES": 1}
    assert check_store(folder, uri) == {"whole": 1}


def test_of_publishers_at_once_one_wins_and_none_is_lost(bench):
    stress_by_races(bench, 3)
    assert [figure for _, figure in bench.rows] == ["3 whole, 3 one winner, named to the others, 3 none lost"] * 2


def test_the_check_sees_what_is_broken(bench):
    folder, uri = bench.repository(["one"]), f"{bench.uri}/checked"
    store = open_store(uri)
    release = publish_release(folder, store).release
    assert find_broken(store) == {}
    model = store.stat(f"releases/{release.id}/one/1/model.onnx")
    store.write_bytes(model.name, b"\0" * model.size, if_generation_match=model.generation)
    assert find_broken(store) == {"WRONG OBJECTS UNDER release.json": 1}
    seal = store.stat(f"releases/{release.id}/release.json")
    damaged = store.write_bytes(seal.name, b"{", if_generation_match=seal.generation)
    with pytest.raises(Exception, match="is damaged"):
        find_broken(store)
    store.delete_object(seal.name, if_generation_match=damaged.generation)
    assert find_broken(store) == {"POINTER TO NOTHING": 1}
    assert list_releases(store) == []


@pytest.mark.parametrize("kind", ["reset-after", "lost", "cut", "reset", "unavailable"])
def test_one_kind_of_fault_at_one_request_in_ten_is_survived(bench, kind):
    folder, uri = bench.repository(["one", "two"], size=20_000), f"{bench.uri}/{kind}"
    with run_fault_proxy(bench.url) as proxy:
        proxy.plan(3, 0.1, (kind,))
        store = open_behind(proxy.url, uri, Patience(retry_after_s=0.01))
        assert publish_release(folder, store).is_current
        assert proxy.met
    assert find_broken(open_store(uri)) == {}
