import getpass
import json
from functools import partial

import pytest
from prep_triton.errors import ReleaseDamagedError, StoreError
from prep_triton.publish.pointer import find_own_name, pointer_from_move
from prep_triton.publish.record import parse_pointer, parse_release, render_pointer

ONE, TWO, THREE = (f"20260131T23595{number}Z-0123456789ab" for number in (1, 2, 3))


def test_pointer_survives_being_written_and_read():
    pointer = pointer_from_move(None, ONE, "publish")
    assert parse_pointer(render_pointer(pointer), 0, uri="gs://models") == pointer
    assert json.loads(render_pointer(pointer))["schema"] == 1
    assert "generation" not in json.loads(render_pointer(pointer))


def test_each_move_is_its_own():
    moves = [render_pointer(pointer_from_move(None, ONE, "publish")) for _ in range(2)]
    assert moves[0] != moves[1]


def test_rollbacks_are_remembered_until_something_is_published():
    first = pointer_from_move(None, ONE, "publish")
    third = pointer_from_move(pointer_from_move(first, TWO, "publish"), THREE, "publish")
    back = pointer_from_move(pointer_from_move(third, TWO, "rollback"), ONE, "rollback")
    assert back.rolled_back == (THREE, TWO)
    assert back.named() == {ONE, TWO, THREE}
    again = pointer_from_move(back, TWO, "rollback")
    assert again.rolled_back == (THREE, ONE)
    assert pointer_from_move(again, ONE, "publish").rolled_back == ()


def test_pointer_of_a_newer_prep_is_refused_with_the_way_to_upgrade():
    with pytest.raises(StoreError, match=r"current.json was made by a newer prep \(schema 2") as caught:
        parse_pointer(b'{"schema": 2}', 0, uri="gs://models")
    assert "pip install --upgrade" in caught.value.hint


@pytest.mark.parametrize("change", [{"release": "../../etc"}, {"release": "latest"}, {"token": None}, {"more": 1}])
def test_damaged_pointer_is_refused_with_the_command_that_mends_it(change):
    content = {**json.loads(render_pointer(pointer_from_move(None, ONE, "publish"))), **change}
    with pytest.raises(ReleaseDamagedError, match=r"gs://models/current.json is damaged") as caught:
        parse_pointer(json.dumps(content).encode(), 0, uri="gs://models")
    assert "prep rollback gs://models ID" in caught.value.hint


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "Expecting value"),
        (b"[]", "it is not a JSON object"),
        (b"null", "it is not a JSON object"),
        (b"\xff\xfe", ""),
        (b"[" * 100_000, ""),
        (b'{"schema": 1%s}' % (b"0" * 5000), ""),
        (b"{}", "its schema is None"),
        (b'{"schema": 1}', "release"),
    ],
    ids=lambda value: str(value)[:12],
)
def test_what_is_no_record_is_damaged_whatever_it_is(content, reason):
    for parse in (partial(parse_pointer, generation=0), parse_release):
        with pytest.raises(ReleaseDamagedError, match=r"\.json is damaged: ") as caught:
            parse(content, uri=f"gs://models/releases/{ONE}")
        assert reason in caught.value.message or parse is parse_release
        assert len(caught.value.message) < 400


def test_user_that_is_nowhere_written_down_has_a_name(monkeypatch):
    def nobody():
        raise OSError("No username set in the environment")

    monkeypatch.setattr(getpass, "getuser", nobody)
    assert find_own_name().startswith("someone@")
