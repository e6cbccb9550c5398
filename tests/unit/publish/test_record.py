import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prep_triton.errors import SpecError, StoreError
from prep_triton.publish.record import (
    artifact_from_release_entry,
    check_release_id,
    moment_from_release_id,
    parse_release,
    release_entry_from_artifact,
    release_id_from_content,
    render_release,
)

from scripts.benchmarks.records import make_entry
from tests.fakes.releases import ID, URI, make_release


def test_release_survives_being_written_and_read():
    release = make_release()
    assert parse_release(render_release(release), uri=URI) == release
    assert release.size == 3


def test_release_json_does_not_say_where_it_lies():
    content = json.loads(render_release(make_release()))
    assert "uri" not in content
    assert content["schema"] == 2


def test_release_of_a_newer_prep_is_refused_with_the_way_to_upgrade():
    content = {**json.loads(render_release(make_release())), "schema": 3, "news": []}
    with pytest.raises(StoreError, match=r"made by a newer prep \(schema 3; this one reads up to 2") as caught:
        parse_release(json.dumps(content).encode(), uri=URI)
    assert "pip install --upgrade" in caught.value.hint


@pytest.mark.parametrize(
    "change",
    [
        {"schema": None},
        {"schema": 0},
        {"id": "20260131T235958Z-0123456789ab"},
        {"files": {"../../etc/passwd": {"size": 1, "crc32c": "", "sha256": ""}}},
        {"files": {"/etc/passwd": {"size": 1, "crc32c": "", "sha256": ""}}},
        {"entries": "none"},
    ],
)
def test_damaged_release_json_is_named(change):
    content = {**json.loads(render_release(make_release())), **change}
    with pytest.raises(StoreError, match=r"release.json is damaged") as caught:
        parse_release(json.dumps(content).encode(), uri=URI)
    assert URI in caught.value.hint


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["schema", "id", "files", "entries"]), inner, max_size=4)
    ),
    max_leaves=8,
)


@given(st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode()))
def test_any_other_content_of_release_json_is_a_store_error(content):
    with pytest.raises(StoreError):
        parse_release(content, uri=URI)


@given(st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(9999, 1, 1)))
def test_release_ids_sort_by_time_and_give_it_back(moment):
    moment = moment.replace(tzinfo=UTC, microsecond=0)
    release_id = release_id_from_content(moment, "0123456789abcdef")
    check_release_id(release_id)
    assert moment_from_release_id(release_id) == moment


@pytest.mark.parametrize("text", ["", "latest", "20260131T235959Z", f"{ID}0", f"../{ID}", ID.upper()])
def test_what_is_not_an_id_is_refused(text):
    with pytest.raises(SpecError, match="is not the id of a release") as caught:
        check_release_id(text)
    assert "prep releases" in caught.value.hint


def test_release_of_schema_1_is_still_read():
    content = json.loads(render_release(make_release()))
    for key in ("target", "server_arguments"):
        del content[key]
    for key in ("kind", "tier", "serves", "manifest"):
        del content["entries"][0][key]
    release = parse_release(json.dumps({**content, "schema": 1}).encode(), uri=URI)
    assert release == make_release()
    with pytest.raises(StoreError, match="no manifest of bert that this prep reads: it has none") as caught:
        artifact_from_release_entry(release.entries[0])
    assert "publish it again" in caught.value.hint


def test_manifest_of_an_entry_is_kept_whole():
    entry = make_entry(
        runtime="python",
        kind="tokenizer",
        serves="bert-onnx",
        server_arguments=("--rate-limit=execution_count",),
    )
    kept = parse_release(render_release(make_release(entries=(release_entry_from_artifact(entry),))), uri=URI)
    assert artifact_from_release_entry(kept.entries[0]) == entry
    assert (kept.entries[0].kind, kept.entries[0].serves) == ("tokenizer", "bert-onnx")


def test_manifest_of_another_version_is_refused():
    entry = make_release().entries[0].model_copy(update={"manifest": {"name": "bert", "invented": 1}})
    with pytest.raises(StoreError, match="no manifest of bert that this prep reads"):
        artifact_from_release_entry(entry)
