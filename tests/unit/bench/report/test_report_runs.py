"""Files that are runs, were runs of another prep, or are none."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prep_triton.bench.report.document import render_report
from prep_triton.bench.report.runs import load_runs, parse_run
from prep_triton.errors import SpecError

from tests.fakes.reported import Page, make_run, save_run


def test_runs_are_read_in_order_and_a_file_twice_once(tmp_path: Path):
    first = save_run(tmp_path / "a.json", make_run())
    second = save_run(tmp_path / "b.json", make_run("m-fp16"))
    copy = save_run(tmp_path / "copy.json", make_run())
    runs, notes = load_runs([second, first, first, copy])
    assert [run.name for run in runs] == ["b.json", "a.json"]
    assert runs[1].report == make_run()
    assert [run.notes for run in runs] == [(), ()]
    assert "a.json was named twice, and is shown once" in notes
    assert "copy.json is the same run as a.json, and is shown once" in notes


def test_a_run_of_another_version_is_read_as_far_as_it_goes():
    document = json.loads(make_run().model_dump_json())
    document["schema_version"] = 7
    document["weather"] = "fine"
    document["points"][0]["mood"] = {"a": 1}
    document["points"][1]["p99_ms"] = "fast"
    document["conditions"]["cores"] = "many"
    del document["conditions"]["steal_share"]
    document["slo"] = {"percent": 300}
    run = parse_run(json.dumps(document).encode(), "run.json")
    assert len(run.report.points) == len(make_run().points) - 1
    assert run.report.points[0] == make_run().points[0]
    assert (run.report.conditions.cores, run.report.conditions.cpu) == (0, "Xeon")
    assert run.report.slo is None
    assert run.notes == (
        "its document is of version 7, and this prep reads 1: what is alike was read",
        "unknown here, and left out: mood, weather",
        "could not be read, and count as unknown: cores, slo",
        "1 point could not be read",
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "it is not JSON"),
        (b"\xff\xfe", "it is not JSON"),
        (b"[1]", "it has no points"),
        (b'{"entries": []}', "it has no points"),
        (b'{"points": {}}', "it has no points"),
    ],
)
def test_a_file_that_is_no_run_is_refused(text: bytes, message: str):
    with pytest.raises(SpecError, match=message) as caught:
        parse_run(text, "run.json")
    assert caught.value.hint == "name files that prep bench -o wrote"


def test_runs_without_a_point_are_nothing_to_report(tmp_path: Path):
    empty = save_run(tmp_path / "empty.json", make_run(), points=[])
    with pytest.raises(SpecError, match=r"there is nothing to report: .*empty\.json has no points"):
        load_runs([empty])
    _, notes = load_runs([empty, save_run(tmp_path / "a.json", make_run())])
    assert notes == ["empty.json has no points, and is left out"]


def test_points_of_nothing_that_can_be_read_are_nothing_to_report(tmp_path: Path):
    broken = tmp_path / "broken.json"
    broken.write_text(json.dumps({"points": [1, None, {"entry": "m"}]}))
    with pytest.raises(SpecError, match="there is nothing to report"):
        load_runs([broken])


VALUES: tuple[Any, ...] = (None, -1, 0, 1e300, "", "x" * 5000, [], {}, True, [1], {"a": 1}, "\ud800")


def list_places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the place of every value in a document."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inside:
        yield (*place, key)
        yield from list_places(part, (*place, key))


@given(st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_damaged_document_is_reported_or_refused_in_a_sentence(data: st.DataObject):
    document = json.loads(make_run("m").model_dump_json(exclude={"points": {"__all__": {"blocks"}}}))
    document["points"] = [{**point, "blocks": []} for point in document["points"]]
    for place in data.draw(st.lists(st.sampled_from(list(list_places(document))), min_size=1, max_size=4)):
        holder = document
        for step in place[:-1]:
            holder = holder[step] if isinstance(holder, dict | list) and step in dict(_items(holder)) else {}
        if holder and place[-1] in dict(_items(holder)):
            holder[place[-1]] = data.draw(st.sampled_from(VALUES))
    try:
        run = parse_run(json.dumps(document).encode(), "run.json")
    except SpecError as err:
        assert "run.json is not a run of prep bench" in err.message
    else:
        if run.report.points:
            assert len(Page(render_report([run])).words) > 100


def _items(holder: Any) -> Iterator[tuple[Any, Any]]:
    yield from holder.items() if isinstance(holder, dict) else enumerate(holder)
