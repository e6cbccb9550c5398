"""YAML that somebody wrote: plain values as PyYAML reads them, or one sentence with the line of the fault."""

import os
import re
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from prep_triton.errors import SpecError
from prep_triton.spec.yaml_text import LARGEST_BYTES, load_document, parse_document

CONFIGS = sorted((Path(__file__).parents[3] / "configs").glob("*.yaml"))
# 10**9 values in 300 bytes, by mappings, by lists and by merge keys.
BOMB = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9)
)
MERGES = "a0: &a0 {k: 1}\n" + "".join(
    f"a{n}: &a{n} {{k{n}: 1, <<: [{', '.join([f'*a{n - 1}'] * 10)}]}}\n" for n in range(1, 9)
)
FAULTS = {
    "impossible date": ("a: 1\nb: !!timestamp 2020-13-45", 2, "could not determine a constructor"),
    "int": ('a: 1\nb: !!int "abc"', 2, "this is no int"),
    "float": ('a: !!float "abc"', 1, "this is no float"),
    "bool": ('a: !!bool "abc"', 1, "this is no bool"),
    "5000 digits": ("a:\n  - " + "9" * 5000, 2, "this is no int"),
    "an empty number": ("a: !!int ''", 1, "this is no int"),
    "nested lists": ("a: " + "[" * 900 + "]" * 900, 1, "nested more than 50 deep"),
    "nested mappings": ("".join(f"{' ' * n}a:\n" for n in range(900)), 50, "nested more than 50 deep"),
    "aliases": (BOMB, 5, "more than 100,000 values"),
    "merge keys": (MERGES, 6, "more than 100,000 values"),
    "an alias inside itself": ("a: 1\nb: &b [*b]", 2, "the alias *b stands inside what it names"),
    "an unknown alias": ("a: *b", 1, "undefined alias"),
    "an object of Python": ("a: 1\nb: !!python/object/apply:os.system [ls]", 2, "could not determine a constructor"),
    "a list as a key": ("a: 1\n? [b]\n: 2", 2, "found unhashable key"),
    "a key twice": ("a: 1\nb:\n  c: 1\n  c: 2", 4, "key 'c' is given twice"),
    "NUL": ("a: 1\nb: \0", 2, "special characters are not allowed"),
    "two documents": ("a: 1\n---\nb: 2", 2, "but found another document"),
    "a tab": ("a:\n\tb: 1", 2, "cannot start any token"),
}


@pytest.mark.parametrize(("text", "line", "problem"), FAULTS.values(), ids=FAULTS)
def test_a_fault_is_a_sentence_with_its_line(text: str, line: int, problem: str):
    started = time.process_time()
    with pytest.raises(SpecError) as caught:
        parse_document(text, where="n.yaml")
    assert caught.value.message.startswith(f"n.yaml:{line}:")
    assert problem in caught.value.message
    assert re.fullmatch(rf"n\.yaml:{line}:\d+", caught.value.place or "")
    assert time.process_time() - started < 2


@pytest.mark.parametrize("date", ["2020-13-45", "2020-01-02", "2001-12-14t21:59:43.10-05:00"])
def test_a_date_is_text(date: str):
    assert parse_document(f"a: {date}", where="n.yaml").value == {"a": date}


def test_aliases_and_merge_keys_that_stand_for_little_are_read():
    text = "a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: [*a, *a]"
    assert parse_document(text, where="n.yaml").value == yaml.safe_load(text)


def test_an_anchor_that_merges_another_one_and_is_merged_is_read_at_any_depth():
    text = "x: &x {p: 1}\ny: {deep: {deeper: &y {<<: *x, p: 2}}}\nz: {<<: *y}"
    assert parse_document(text, where="n.yaml").value == yaml.safe_load(text)


PLACES = """\
models:
  - model: a
    variants:
      - {runtime: x, gpus: [t4, l4]}
      - &second
        runtime: y
        serving:
          warmup: true
  - <<: *second
    model: b
"""


@pytest.mark.parametrize(
    ("path", "at_key", "position"),
    [
        ((), False, (1, 1)),
        (("models",), False, (1, 1)),
        (("models", 0), False, (2, 5)),
        (("models", 0, "model"), False, (2, 12)),
        (("models", 0, "model"), True, (2, 5)),
        (("models", 0, "variants", 0, "gpus"), False, (4, 28)),
        (("models", 0, "variants", 0, "gpus", 1), False, (4, 33)),
        (("models", 0, "variants", 1, "serving"), False, (7, 9)),
        (("models", 0, "variants", 1, "serving", "warmup"), False, (8, 19)),
        (("models", 1, "model"), False, (10, 12)),
        (("models", 1, "runtime"), False, (6, 18)),  # where it was written, which is not where it was merged
        (("models", 7, "model"), False, (1, 1)),
        (("models", 1, "absent"), False, (9, 5)),
    ],
)
def test_every_value_has_its_place(path, at_key, position):
    document = parse_document(PLACES, where="n.yaml")
    assert document.position_of(path, at_key=at_key) == position
    assert document.place_of(path, at_key=at_key) == "n.yaml:{}:{}".format(*position)


def test_an_empty_document_has_a_first_line():
    assert parse_document("", where="n.yaml").place_of(("models",)) == "n.yaml:1:1"


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[3] / "configs").glob("*.yaml")), ids=lambda path: path.name
)
def test_every_config_is_read_as_pyyaml_reads_it(path: Path):
    assert load_document(path).value == yaml.safe_load(path.read_text())


@given(st.text(max_size=80) | st.text(st.sampled_from("[]{}&*!?|>-:#,'\" \nab1<%@"), max_size=60))
def test_any_text_is_a_value_or_a_sentence(text: str):
    try:
        parse_document(text, where="n.yaml")
    except SpecError as err:
        assert re.match(r"n\.yaml:\d+:\d+: ", err.message)


def test_a_large_value_is_read_in_time():
    started = time.process_time()
    assert len(parse_document("a: " + "x" * 2_000_000, where="n.yaml").value["a"]) == 2_000_000
    assert time.process_time() - started < 5


@pytest.mark.parametrize("name", ["/dev/zero", "/proc/self/mem", "/", "a\0b"])
def test_what_is_no_file_of_settings_is_refused(name: str):
    with pytest.raises(SpecError, match=r"cannot be read|more than 16 MiB"):
        load_document(Path(name))


def test_a_file_that_is_no_utf8_has_the_line_of_the_byte(tmp_path: Path):
    path = tmp_path / "n.yaml"
    path.write_bytes(b"a: 1\nb: caf\xe9\n")
    with pytest.raises(SpecError, match=r"n\.yaml:2: it cannot be read, byte 0xe9 is not UTF-8"):
        load_document(path)
    path.write_bytes(b"#" * (LARGEST_BYTES + 1))
    with pytest.raises(SpecError, match="more than 16 MiB"):
        load_document(path)


@pytest.mark.parametrize(
    ("text", "value"),
    [("010", 10), ("08", 8), ("1:30", "1:30"), ("0x1F", 31), ("1_000", 1000), ("-5", -5), ("+7", 7), ("0b11", "0b11")],
)
def test_a_number_is_what_it_looks_like(text: str, value: object):
    assert parse_document(f"a: {text}\n", where="x").value == {"a": value}


@pytest.mark.parametrize("text", ["!!binary aGk=", "!!set {a}", "!!omap [a: 1]", "!!pairs [a: 1]", "!!python/name:x"])
def test_a_tag_of_no_plain_value_is_refused(text: str):
    with pytest.raises(SpecError, match="tag"):
        parse_document(f"a: {text}\n", where="x")


def test_a_pipe_that_nobody_writes_to_is_empty(tmp_path: Path):
    os.mkfifo(tmp_path / "p.yaml")
    assert load_document(tmp_path / "p.yaml").value is None
