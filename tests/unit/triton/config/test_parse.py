"""The parser of config.pbtxt against protobuf's own, and what it says besides."""

import re
import warnings

import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st
from prep_triton.errors import RepositoryError
from prep_triton.triton.config.parse import decode_config, parse_config, scan_config
from tritonclient.grpc import model_config_pb2

from tests.fakes.model_configs import WORDS, model_configs

# What Python's decoder cannot read or reads otherwise than the server.
ODD_ESCAPE = re.compile(r"\\(\?|[^\x00-\uffff])")


def check_against_protobuf(text):
    """Parse as protobuf does, but for escapes that are none: those it only warns of."""
    if ODD_ESCAPE.search(text):
        return
    scanned = scan_config(text)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            expected = text_format.Parse(text, model_config_pb2.ModelConfig())
    except (text_format.ParseError, DeprecationWarning, UnicodeError, ValueError):
        assert scanned.problem or scanned.notes.unknown
    else:
        assert not scanned.problem, scanned.problem
        assert not scanned.notes.unknown
        # Not ==: a NaN is none.
        assert scanned.message.SerializeToString(deterministic=True) == expected.SerializeToString(deterministic=True)


@given(model_configs(), st.booleans(), st.integers(0, 500), st.sampled_from(WORDS) | st.text(max_size=5))
def test_any_configuration_whole_or_damaged_is_read_as_protobuf_does(config, is_one_line, at, patch):
    text = text_format.MessageToString(config, as_one_line=is_one_line, use_short_repeated_primitives=not is_one_line)
    check_against_protobuf(text)
    at %= len(text) + 1
    check_against_protobuf(text[:at] + patch + text[at:])
    check_against_protobuf(text[:at] + patch + text[at + len(patch) :])


@given(st.lists(st.sampled_from(WORDS), max_size=30).map(" ".join))
def test_any_words_are_read_as_protobuf_does(text):
    check_against_protobuf(text)


@given(st.text(max_size=12) | st.text(alphabet="\\abfnrtvxuU0123456789AF'\"", max_size=12), st.sampled_from("\"'"))
def test_any_string_is_read_as_protobuf_does(content, quote):
    check_against_protobuf(f"name: {quote}{content}{quote}")


@pytest.mark.parametrize(
    ("escape", "meaning"), [(r"\?", "?"), (r"\x41\101", "AA"), (r"\u00e9", "é"), (r"\U0001f600", "\U0001f600")]
)
def test_escapes_mean_what_the_server_takes_them_for(escape, meaning):
    assert parse_config(f'name: "{escape}"').name == meaning


@pytest.mark.parametrize("escape", [r"\q", r"\x", r"\u12", r"\ ", r"\U00110000", r"\ud800", r"\377", r"\400"])
def test_an_escape_that_is_none_is_refused(escape):
    with pytest.raises(RepositoryError, match=r"line 2: a string has an escape|is not UTF-8") as caught:
        parse_config(f'\nname: "{escape}"')
    assert "correct that line" in caught.value.hint


TEXT = """name: "a"
input [
  { name: "x" data_type: TYPE_INT64
    dims: [ -1,
            2 ] },
  { name: "y" }
]
parameters { key: "k" value { string_value: "v" } }
parameters [ { value { string_value: "w" }
               key: "late" } ]
dynamic_batching <
  preferred_batch_size: 4
  preferred_batch_size: 8
>
"""


def test_each_field_has_its_line():
    scanned = scan_config(TEXT)
    lines = {
        "name": 1,
        "input[0]": 3,
        "input[0].dims": 4,
        "input[1].name": 6,
        "input[1].dims": 6,
        "parameters": 8,
        "parameters.k.string_value": 8,
        "parameters.late": 9,
        "parameters.late.string_value": 9,
        "dynamic_batching": 11,
        "dynamic_batching.preferred_batch_size": 12,
        "dynamic_batching.priority_levels": 11,
        "output": None,
    }
    assert {path: scanned.notes.line_of(path) for path in lines} == lines
    assert scanned.message == text_format.Parse(TEXT, model_config_pb2.ModelConfig())


def test_every_unknown_field_and_repeated_key_is_told_and_the_rest_is_read():
    text = 'nam: "a"\nname: "b"\ninput { siz: { a: [1, {}] } }\n' + 'parameters { key: "k" value {} }\n' * 2
    scanned = scan_config(text)
    assert [(note.line, note.message, note.name) for note in scanned.notes.unknown] == [
        (1, "ModelConfig", "nam"),
        (3, "ModelInput", "siz"),
    ]
    assert scanned.notes.unknown[0].hint == "did you mean 'name'?"
    assert [(note.line, note.where, note.key) for note in scanned.notes.repeated_keys] == [(5, "parameters", "k")]
    assert scanned.message.name == "b"


@pytest.mark.parametrize("text", ["a: [[" * 1000, "a {" * 1000, "a: {b: [" * 1000])
def test_deep_nesting_is_a_problem_and_no_crash(text):
    assert scan_config(text).problem.message == "fields are nested too deeply"


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("max_batch_size: 8\nmax_batch_size: 9", 2, "max_batch_size is given twice"),
        ("version_policy { all {}\nlatest {} }", 2, "latest and all exclude each other"),
        ("\nmax_batch_size: 99999999999", 2, "99999999999 is not a value of max_batch_size"),
        ('name: "a', 1, "a string has no closing quote"),
        ("input {\n", 2, 'expected "}", and the text ends'),
    ],
)
def test_a_problem_names_its_line(text, line, message):
    problem = scan_config(text).problem
    assert (problem.line, problem.message) == (line, message)


@pytest.mark.parametrize(
    "content",
    [b"# caf\xe9\nname: 'a'", b"name: 'a' # caf\xe9 \"", b"name: 'a' parameters { key: '#' value {} } # \xff"],
    ids=["first", "after", "hash-in-a-string"],
)
def test_a_comment_may_be_in_any_encoding(content):
    expected = text_format.Parse(re.sub(rb"[\x80-\xff]", b"?", content).decode(), model_config_pb2.ModelConfig())
    assert scan_config(decode_config(content)).message == expected


def test_a_string_may_not():
    with pytest.raises(UnicodeDecodeError):
        decode_config(b"name: '#caf\xe9'")
