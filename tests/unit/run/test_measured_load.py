"""From a run of `prep bench` to what a deployment takes of it."""

from pathlib import Path

import pytest
from prep_triton.bench.records import BenchReport, Load
from prep_triton.deploy.measured import MeasuredServer
from prep_triton.deploy.request import ServedRelease
from prep_triton.errors import SpecError
from prep_triton.run.measured_load import load_run, measured_server_from_run
from prep_triton.triton.server.installation import ON_STAND_IN

from tests.fakes.benched import make_judged_run
from tests.fakes.served_release import make_entry, make_release


def write(folder: Path, report: BenchReport) -> Path:
    path = folder / "run.json"
    path.write_text(report.model_dump_json())
    return path


def load_measured_server(path: Path, release: ServedRelease) -> MeasuredServer:
    return measured_server_from_run(path, load_run(path), release)


RELEASE = make_release(make_entry("tiny", key="k1"))


def test_the_highest_load_that_holds_the_level_is_taken(tmp_path: Path):
    measured = load_measured_server(write(tmp_path, make_judged_run()), RELEASE)
    (entry,) = measured.entries
    assert (entry.name, entry.load) == ("tiny", "100/s poisson, batch 1")
    assert entry.inferences_per_s == pytest.approx(100)
    assert entry.cpu_cores == 1.5
    # 400 requests in each of five repeats of two seconds waited a millisecond each.
    assert entry.waiting_requests == pytest.approx(2000 * 0.001 / 10)
    assert measured.memory_mib == 300  # of every load: one of them may have been the last of a day
    assert measured.run == "run.json of 2026-01-02"
    assert measured.slo == "p99 <= 50 ms"
    assert measured.is_machine_known


def test_entries_that_were_not_loaded_make_memory_an_estimate(tmp_path: Path):
    release = make_release(make_entry("tiny", key="k1"), make_entry("other"))
    measured = load_measured_server(write(tmp_path, make_judged_run()), release)
    assert measured.memory_mib is None
    assert measured.memory_unknown == "the measured server did not serve other"


def test_a_server_elsewhere_has_an_unknown_machine(tmp_path: Path):
    report = make_judged_run(server="10.0.0.1:8001")
    without = tuple(point.model_copy(update={"resources": None}) for point in report.points)
    measured = load_measured_server(write(tmp_path, report.model_copy(update={"points": without})), RELEASE)
    assert not measured.is_machine_known
    assert (measured.memory_mib, measured.entries[0].cpu_cores) == (None, None)


@pytest.mark.parametrize(
    ("report", "message", "hint"),
    [
        (
            make_judged_run(states=("not shown", "not met", "not met")),
            "was shown to hold p99 <= 50 ms: the best seen is tiny at 50/s poisson, not shown: ",
            "measure lower loads, or longer with --duration-s",
        ),
        (make_judged_run(slo=None), "judges no service level", "measure with one: prep bench gs://"),
        (
            make_judged_run(name="another"),
            "measured another, and the release has tiny",
            "measure the release itself: prep bench",
        ),
        (
            make_judged_run(key="k2"),
            "measured another tiny than the release has: its key is k2, the release's k1",
            "measure the",
        ),
    ],
)
def test_a_run_that_is_no_measure_of_the_release_is_refused(report, message, hint, tmp_path: Path):
    with pytest.raises(SpecError) as caught:
        load_measured_server(write(tmp_path, report), RELEASE)
    assert message in caught.value.message
    assert caught.value.hint.startswith(hint)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"points": []}'])
def test_what_is_no_run_is_refused(text: str, tmp_path: Path):
    path = tmp_path / "run.json"
    path.write_text(text)
    with pytest.raises(SpecError, match="is not a run of prep bench that this prep reads"):
        load_measured_server(path, RELEASE)
    with pytest.raises(SpecError, match=r"none\.json cannot be read: No such file"):
        load_measured_server(tmp_path / "none.json", RELEASE)


@pytest.mark.parametrize(
    ("report", "said"),
    [
        (
            make_judged_run().model_copy(update={"partial": True, "partial_reason": "interrupted"}),
            "ended before its end: interr",
        ),
        (
            make_judged_run(triton_flavour=f"wheel, {ON_STAND_IN}"),
            "measured on another server than the container (wheel",
        ),
        (make_judged_run(key=""), "does not say which tiny it measured: only the name is the release's"),
        (
            make_judged_run(states=("met", "met", "met")),
            "every load of tiny holds p99 <= 50 ms: a server may hold more",
        ),
    ],
)
def test_what_is_doubtful_is_a_warning(report, said: str, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    load_measured_server(write(tmp_path, report), RELEASE)
    assert said in caplog.text


def test_a_mix_has_the_rate_of_each_entry_and_the_queue_of_all(tmp_path: Path):
    report = make_judged_run(states=("met", "met", "not met"))
    mix = "tiny@1=1,tiny@2=1"
    loads = [Load(kind="open", value=20, arrivals="poisson", priority=level, mix=mix) for level in (1, 2)]
    points = tuple(
        point.model_copy(update={"load": load, "resources": None})
        for point, load in zip(report.points[:2], loads, strict=True)
    )
    (entry,) = load_measured_server(write(tmp_path, report.model_copy(update={"points": points})), RELEASE).entries
    assert entry.load == "40/s poisson, mixed, batch 1"
    assert entry.inferences_per_s == pytest.approx(150)
    assert entry.waiting_requests == pytest.approx(2000 * 0.001 / 10)
    assert entry.verdict.count("met (") == 2
    assert entry.cpu_cores is None
