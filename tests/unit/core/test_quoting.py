"""What somebody else wrote is shown short, escaped and without passwords."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prep_triton.errors import SourceError
from prep_triton.quoting import clean_message, escape_controls, remove_credentials, show_value


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://user:secret@host/x", "https://***@host/x"),
        ("https://user:se/cr@et@host/x", "https://***@host/x"),
        ("https://hf_token@host/x", "https://***@host/x"),
        ("gs://bucket/prefix", "gs://bucket/prefix"),
        ("http://localhost:8080/a@b", "http://localhost:8080/a@b"),
        ("'https://host' and a@b", "'https://host' and a@b"),
    ],
)
def test_an_address_is_shown_without_what_gives_access(address: str, shown: str):
    assert remove_credentials(f"no {address} here") == f"no {shown} here"


def test_parameters_of_an_address_are_shown_without_their_values():
    shown = remove_credentials("no https://host/a?token=abc&x=1 and 5 & a=b")
    assert shown == "no https://host/a?token=***&x=*** and 5 & a=b"


def test_credentials_are_removed_before_a_line_is_cut():
    assert "secret" not in clean_message("x" * 750 + " https://user:secret@host" + "y" * 5000)


@pytest.mark.parametrize("text", ["\x1b[31mred", "\x1b]0;title\x07", "a\rb", "\x9b31m", "\u202eabc", "\udcff", "\0"])
def test_no_control_character_reaches_a_terminal(text: str):
    shown = SourceError(f"no model {text}", hint=text, place=text)
    for part in (shown.message, shown.hint, str(shown.place), str(shown)):
        assert part.isprintable()
        part.encode()


def test_text_of_any_language_stays_what_it_is():
    text = "größer 大 שלום \u200f🙂\ttab"
    assert escape_controls(text) == text


def test_a_line_feed_in_a_value_makes_no_line_of_its_own():
    assert clean_message("no model x\nerror: it is on fire") == "no model x\n  error: it is on fire"


@given(
    st.text(max_size=50)
    | st.recursive(st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))
)
def test_any_value_is_shown_on_one_short_printable_line(value):
    shown = show_value(value)
    assert shown.isprintable()
    assert len(shown) < 300


@pytest.mark.parametrize("value", ["x" * 10_000_000, 10**5000, ["x" * 1000] * 1000], ids=["text", "digits", "list"])
def test_a_huge_value_is_shown_short(value):
    assert len(show_value(value)) < 300


def test_a_huge_message_keeps_its_beginning_and_its_end():
    shown = clean_message("begins " + "x" * 10_000_000 + " ends" + "\nline" * 1000)
    assert shown.startswith("begins ")
    assert shown.endswith("line")
    assert len(shown) < 10_000


@given(st.text(st.characters(), min_size=0, max_size=30).map(lambda text: text * 60))
def test_what_is_cleaned_stays_as_it_is(text: str):
    assert clean_message(clean_message(text)) == clean_message(text)
