"""Tables: on a terminal of any width, and in a pipe."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prep_triton.cli.output import Output
from prep_triton.cli.table import join_with_tabs, lay_out
from rich.console import Console

COLUMNS = ("=stage", "=artifact", "=state", "#time", "numbers")
ROWS = [
    ("publish", "20261123T215013Z-0d47b131db42", "published", "3.3 s", "5 files, 90.4 MiB uploaded"),
    ("verify", "minilm-onnx-fp32", "passed", "", "16 answers, cosine to PyTorch 1.000000; p50 5.7 ms"),
]


def test_at_80_columns_only_the_numbers_wrap_and_between_words():
    assert lay_out(COLUMNS, ROWS, 80) == [
        "stage    artifact                       state       time  numbers",
        "───────  ─────────────────────────────  ─────────  ─────  ──────────────────────",
        "publish  20261123T215013Z-0d47b131db42  published  3.3 s  5 files, 90.4 MiB",
        "                                                          uploaded",
        "verify   minilm-onnx-fp32               passed            16 answers, cosine to",
        "                                                          PyTorch 1.000000; p50",
        "                                                          5.7 ms",
    ]


def test_at_200_columns_a_row_is_a_line():
    assert len(lay_out(COLUMNS, ROWS, 200)) == 2 + len(ROWS)


def test_where_the_columns_do_not_fit_a_row_is_its_names_and_a_paragraph():
    assert lay_out(COLUMNS, ROWS, 50) == [
        "publish  20261123T215013Z-0d47b131db42  published",
        "    time: 3.3 s; numbers: 5 files, 90.4 MiB",
        "    uploaded",
        "verify   minilm-onnx-fp32               passed",
        "    numbers: 16 answers, cosine to PyTorch",
        "    1.000000; p50 5.7 ms",
    ]


def test_a_row_that_would_be_tall_is_a_paragraph():
    rows = [("verify", "minilm", "passed", "", " ".join(["word"] * 60))]
    assert lay_out(COLUMNS, rows, 60)[0] == "verify  minilm  passed"


def test_a_column_without_a_value_is_left_out_of_a_terminal_and_stays_in_a_pipe():
    rows = [("t4", "", "7.5"), ("l4", "", "8.9")]
    assert lay_out(("=gpu", "note", "#capability"), rows, 80)[0] == "gpu  capability"
    assert join_with_tabs(("=gpu", "note", "#capability"), rows) == ["gpu\tnote\tcapability", "t4\t\t7.5", "l4\t\t8.9"]


@given(st.lists(st.tuples(*[st.text("ab-世 ", max_size=40)] * 5), min_size=1, max_size=3), st.integers(20, 120))
def test_no_word_is_ever_broken_or_lost(rows: list[tuple[str, ...]], width: int):
    shown = " ".join(lay_out(COLUMNS, rows, width)).replace(";", " ").split()
    assert [word for row in rows for cell in row for word in cell.split() if word not in shown] == []


@pytest.mark.parametrize(
    ("is_terminal", "lines"),
    [
        (False, ["name\twhat", "a\tb c", "longer\td"]),
        (True, ["name    what", "──────  ────", "a       b c", "longer  d"]),
    ],
)
def test_a_pipe_gets_tabs_and_no_padding(is_terminal: bool, lines: list[str]):
    out, stream = Output(as_json=False, verbose=0), io.StringIO()
    out.out = Console(file=stream, width=80, force_terminal=is_terminal, color_system=None, soft_wrap=True)
    out.table("", ("=name", "what"), [("a", "b c"), ("longer", "d")])
    assert stream.getvalue().splitlines() == lines
